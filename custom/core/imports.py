# SPDX-License-Identifier: Apache-2.0
"""Which modules of this package a configuration needs: those that it names and all that these import, directly or not."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = "custom"


def modules_of(*configurations: Any) -> set[str]:
    """Return the names of the modules, imports inside functions included.

    Args:
        *configurations: nested objects; every string in them that holds dotted names of this package counts.
    """
    names = {name for text in _strings(configurations) for name in re.findall(rf"\b{_PACKAGE}(?:\.\w+)+", text)}
    modules: set[str] = set()
    waiting = [module for name in names for module in _on_the_way(name)]
    while waiting:
        module = waiting.pop()
        if module not in modules:
            modules.add(module)
            waiting += [
                part for name in _imported(module) if name.split(".")[0] == _PACKAGE for part in _on_the_way(name)
            ]
    return modules


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def module_file(module: str) -> Path | None:
    """Return the file of a module of this package, or None."""
    base = _ROOT.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _on_the_way(name: str) -> list[str]:
    """Return the modules that importing a dotted name runs: every package on the way and the module itself."""
    parts = name.split(".")
    prefixes = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return [prefix for prefix in prefixes if module_file(prefix) is not None]


@cache
def syntax_tree(module: str) -> ast.Module:
    """Return the parsed source of a module of this package."""
    path = module_file(module)
    assert path is not None
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imported(module: str) -> tuple[str, ...]:
    """Return the dotted names of everything that a module of this package imports, wherever in it.

    A package that reads its ``__path__`` imports the modules that lie in its folder.
    """
    path = module_file(module)
    assert path is not None
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found: list[str] = []
    for node in ast.walk(syntax_tree(module)):
        if isinstance(node, ast.Name) and node.id == "__path__":
            found += [f"{module}.{own.stem}" for own in sorted(path.parent.glob("[!_]*.py"))]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = [*base, *([node.module] if node.module else [])]
            found += [".".join([*stem, alias.name]) for alias in node.names]
    return tuple(found)


def foreign_imports(modules: set[str]) -> set[str]:
    """Return the top-level names of all other packages that ``modules`` import."""
    return {name.split(".")[0] for module in modules for name in _imported(module)} - {_PACKAGE}

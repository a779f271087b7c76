# SPDX-License-Identifier: Apache-2.0
"""The arrows of CONTRIBUTING.md, read off the imports."""

import ast
import sys
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "custom").rglob("*.py"))
LEAVES = {"volumes", "noise", "scoring", "postprocessing", "metrics", "models", "detection"}
COMMON = {"core"}


def _imports(path: Path) -> set[str]:
    """Absolute dotted names of everything a module imports."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                names.add(node.module or "")
                continue
            base = package[: len(package) - node.level + 1]
            stem = [*base, *([node.module] if node.module else [])]
            names |= {".".join([*stem, alias.name]) for alias in node.names} if not node.module else {".".join(stem)}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows(path):
    own = path.relative_to(ROOT / "custom").parts[0].removesuffix(".py")
    for name in _imports(path):
        parts = name.split(".")
        assert parts[0] not in {"scripts", "tests", "bundles", "benchmarks"}, f"{path} imports {name}"
        if parts[0] == "custom" and own in LEAVES and len(parts) > 1:
            assert parts[1] in COMMON | {own, "__version__"}, f"the leaf {own} imports its sibling {name}"
        if parts[0] == "custom" and own not in {"custom"}:
            assert parts != ["custom"], f"{path} imports the package itself; use a relative import"


def test_every_imported_package_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [item for items in project["optional-dependencies"].values() for item in items]
    declared = {
        name.split(">")[0].split("<")[0].split("=")[0].split("[")[0].strip()
        for name in [*project["dependencies"], *extras]
    }
    modules = {
        "pytorch-ignite": "ignite",
        "pillow": "PIL",
        "scikit-image": "skimage",
        "scikit-learn": "sklearn",
        "dask-jobqueue": "dask_jobqueue",
    }
    known = {modules.get(name, name) for name in declared} | {"custom"}
    used = {name.split(".")[0] for path in MODULES for name in _imports(path)}
    assert used - known - set(sys.stdlib_module_names) == set()

# SPDX-License-Identifier: Apache-2.0
"""A real MONAI Label server, where there is one: ``UAD_LABEL_PYTHON`` names the Python of its environment."""

import os
import subprocess
import sys

import numpy as np
import pytest

from custom.core.errors import ConfigError
from custom.core.files import read_json
from custom.core.imports import modules_of
from custom.prediction.predictor import Predictor
from custom.release.freeze import freeze_bundle
from label.check import check_label_server, table
from label.environment import CONSTRAINTS, ENV_PYTHON, install_app, server_command, server_environment
from label.phantoms import MARKER_MM, METHODS, RADIUS_MM, write_marker_model, write_phantoms


def test_real_server(tmp_path) -> None:
    python = os.environ.get(ENV_PYTHON)
    if not python:
        pytest.skip(f"{ENV_PYTHON} does not name the Python of a MONAI Label environment")
    checks = check_label_server(python, tmp_path)
    assert all(check.passed for check in checks), "\n" + table(checks)


@pytest.mark.parametrize("method", METHODS)
def test_the_model_of_every_bundle_marks_the_marker(method, tmp_path) -> None:
    """What the check of a server expects of each release: the ball of the phantom, on the left, and nothing else."""
    scan = write_phantoms(tmp_path / "scans")["oblique"]
    release = freeze_bundle(write_marker_model(tmp_path / "run", method=method), tmp_path / "release")
    result = Predictor.load(release, device="cpu").predict(scan)
    places = np.argwhere(result.mask) @ result.affine[:3, :3].T + result.affine[:3, 3]
    assert np.linalg.norm(places.mean(axis=0) - MARKER_MM) < 1
    assert np.linalg.norm(places - MARKER_MM, axis=1).max() < RADIUS_MM + 3


IMPORT_WITHOUT_OTHERS = """
import importlib, importlib.abc, importlib.metadata, re, sys

pinned = {re.sub("[-_.]+", "-", name).lower() for name in sys.argv[1].split()}
def is_there(module):
    names = {re.sub("[-_.]+", "-", name).lower() for name in providers.get(module, [])}
    return not names or bool(names & pinned)

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if not is_there(name.split(".")[0]):
            raise ModuleNotFoundError(f"the server has no {name}", name=name)

providers = importlib.metadata.packages_distributions()
sys.meta_path.insert(0, Refuse())
for module in sys.argv[2:]:
    importlib.import_module(module)
"""


def test_a_release_imports_nothing_that_the_environment_of_the_server_lacks(repository) -> None:
    pins = [line.split("==")[0] for line in CONSTRAINTS.read_text().splitlines() if "==" in line]
    files = [*repository.glob("bundles/*/configs/inference.json"), repository / "custom/configs/inference.json"]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    named = {name for name in modules_of(*(read_json(path, "") for path in files)) if name in text}
    modules = sorted({*named, "custom.release.checked", "custom.release.joined"})  # what else they need, they import
    assert "custom.models.weights" in modules
    command = [sys.executable, "-c", IMPORT_WITHOUT_OTHERS, " ".join([*pins, "monailabel", "uad-brain-mri"]), *modules]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_server_listens_on_this_machine_only() -> None:
    command = server_command("python", "app", "studies", ["a", "b"], 8123)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    options = {command[n + 1]: command[n + 2] for n, part in enumerate(command) if part == "--conf"}
    assert options == {"models": "a,b", "zoo_source": "local", "sam2": "false", "skip_trainers": "true"}


def test_faults(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot be run"):
        server_environment(tmp_path / "python", tmp_path)
    (tmp_path / "apps" / "monaibundle").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no frozen bundle"):
        install_app("python", tmp_path, [tmp_path], {})

# SPDX-License-Identifier: Apache-2.0
"""Settings of the whole suite: this repository's ``custom``, one thread per process, no server, no network."""

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.pop("MLFLOW_TRACKING_URI", None)

import hypothesis
import pytest
import torch

import custom

pytest_plugins = ["tests.scan_fixtures"]

ROOT = Path(__file__).resolve().parents[1]
torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")  # a busy machine is no fault of the code


def pytest_configure() -> None:
    found = Path(custom.__file__).resolve()
    assert ROOT in found.parents, f"the tests of {ROOT} would test another package: {found}"


@pytest.fixture(scope="session")
def repository() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scans in the papers' layout; tests that need it are skipped without."""
    folder = os.environ.get("UAD_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("UAD_REAL_DATA does not point at a folder of real scans")
    return Path(folder)

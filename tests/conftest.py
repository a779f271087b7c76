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
# A busy machine is no fault of the code. Every run tries the same examples, so that a change that passes here passes
# elsewhere; `pytest --hypothesis-profile random` looks for new ones.
hypothesis.settings.register_profile("random", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile(
    "repeatable", hypothesis.settings.get_profile("random"), derandomize=True, database=None
)
hypothesis.settings.load_profile("repeatable")


SLOW = (  # modules that train, start other processes, or make large phantoms; `make test-fast` leaves them out
    *("bundles/", "benchmarks/", "release/", "synthetic/", "cli/test_main.py", "cli/test_names.py"),
    *("benchmark/test_run.py", "benchmark/test_engine.py", "benchmark/test_jobs.py", "benchmark/test_scripts.py"),
    *(
        "cohorts/test_gate_planted.py",
        "cohorts/test_gate.py",
        "cohorts/test_repair.py",
        "models/test_noise_scheduler.py",
    ),
    *("prediction/test_predictor.py", "prediction/test_formats.py", "prediction/test_dicom_out.py"),
    *("prediction/test_page.py", "prediction/test_no_side_effects.py", "preparation/test_raw_scans.py"),
    *(
        "runs/test_server.py",
        "runs/test_tracking.py",
        "runs/test_sync.py",
        "runs/test_failure.py",
        "runs/test_run_lock.py",
    ),
    *("training/test_distributed.py", "training/test_full_disk.py", "training/test_no_waiting.py"),
    *("training/test_checkpoint.py", "evaluation/test_shards.py"),
    *("prediction/test_picture_predictor.py", "prediction/test_reading.py", "prediction/test_watch.py"),
    *("prediction/test_patient_names.py", "cli/test_bids.py", "rawscans/", "test_notebook.py"),
    *("training/test_conditioned_processes.py", "models/test_shared_batch_norm.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = ROOT / "tests"
    for item in items:
        if tests in item.path.parents and item.path.relative_to(tests).as_posix().startswith(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)  # or one of two workers ends alone with one


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

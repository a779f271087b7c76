# SPDX-License-Identifier: Apache-2.0
"""A training that cannot start writes nothing: first the data, then the lock, then the files of the run."""

import shutil

import pytest
from monai.bundle import ConfigWorkflow

from custom.core.errors import UADError
from custom.core.foreseen import find_foreseen
from custom.runs.lock import RunLock


@pytest.fixture(autouse=True)
def _at_the_root(repository, monkeypatch):
    monkeypatch.chdir(repository)


@pytest.fixture(params=["ddpm_ssim_ens", "ae_baseline", "dae_baseline", "atlas_baseline", "threshold_baseline"])
def start(request, tiny_cohort, tmp_path):
    """Do what ``initialize`` of a bundle's train.json does; returns its error, or None."""

    def initialize(**overrides):
        settings = {"dataset_dir": str(tiny_cohort), "cache_dir": str(tmp_path / "cache"), "output_dir": str(tmp_path / "run"),
                    "dataset_name": "demo", "contrast": "t1", **overrides}  # fmt: skip
        if request.param not in ("atlas_baseline", "threshold_baseline"):
            settings |= {"tracking_uri": None, "batch_size": overrides.get("batch_size", 2)}
        workflow = ConfigWorkflow(
            config_file=f"bundles/{request.param}/configs/train.json",
            workflow_type="train",
            logging_file=False,
            **settings,
        )
        try:
            workflow.initialize()
        except Exception as error:
            found = find_foreseen(error)
            if found is None:
                raise
            return found
        workflow.parser.get_parsed_content("run_folder").lock.release()
        return None

    initialize.bundle = request.param
    return initialize


def test_wrong_data_folder_leaves_nothing_behind_that_refuses_the_corrected_command(start, tmp_path):
    error = start(dataset_dir=str(tmp_path / "nowhere"), contrast="t2", seed=1)
    assert "does not exist" in str(error)
    assert not (tmp_path / "run").exists()
    assert start() is None
    assert (tmp_path / "run" / "model.json").is_file()


def test_broken_scan_leaves_nothing_behind(start, tiny_cohort, tmp_path):
    broken = shutil.copytree(tiny_cohort, tmp_path / "cohort")
    (broken / "Train/demo/t1/H02_t1.nii.gz").write_bytes(b"no scan")
    assert "H02" in str(start(dataset_dir=str(broken)))
    assert not (tmp_path / "run").exists()


def test_batch_that_is_never_full_leaves_nothing_behind(start, tmp_path):
    if start.bundle in ("atlas_baseline", "threshold_baseline"):
        pytest.skip("no batches")
    assert "fill no batch of 50" in str(start(batch_size=50))
    assert not (tmp_path / "run").exists()


@pytest.mark.fault(
    103,
    "a training larger than the memory, found before its folder is begun",
    "refused with the `micro_batch_size` or batch that fits; nothing is left behind",
    "unrecorded",
)
def test_a_training_larger_than_the_memory_leaves_nothing_behind(start, tmp_path, monkeypatch):
    if start.bundle in ("atlas_baseline", "threshold_baseline"):
        pytest.skip("no network")
    monkeypatch.setattr("custom.training.forecast.free_bytes", lambda device: 100.0)
    error = start()
    assert "GiB are free; the small preset" in str(error)
    assert error.exit_code == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.fault(54)
def test_second_run_in_a_folder_changes_nothing_there(start, tmp_path):
    assert start(seed=1) is None
    with RunLock(tmp_path / "run"):
        before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
        assert "in use by another process" in str(start(seed=1))
        assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert isinstance(start(seed=2), UADError)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.name != ".lock"} == {
        path: data for path, data in before.items() if path.name != ".lock"
    }

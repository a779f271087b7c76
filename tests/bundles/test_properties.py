# SPDX-License-Identifier: Apache-2.0
"""MONAI's property check of the bundle contract, on a tiny cohort."""

import pytest
from monai.bundle import ConfigWorkflow

TINY = {
    "channels": [32, 32], "num_res_blocks": 1, "num_head_channels": 32, "resblock_updown": False, "batch_size": 2,
    "contrast": "t1", "dataset_name": "demo", "max_epochs": 1, "tracking_uri": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _at_the_root(repository, monkeypatch):
    monkeypatch.chdir(repository)


def test_training_has_every_property(tiny_cohort, tmp_path):
    configs = "bundles/ddpm_ssim_ens/configs"
    workflow = ConfigWorkflow(
        config_file=f"{configs}/train.json", workflow_type="train", meta_file=f"{configs}/metadata.json", logging_file=False,
        dataset_dir=str(tiny_cohort), cache_dir=str(tmp_path / "cache"), output_dir=str(tmp_path / "run"), **TINY,
    )  # fmt: skip
    workflow.initialize()
    assert workflow.check_properties() == []
    assert workflow.max_epochs == 1
    assert workflow.trainer.state.max_epochs == 1
    workflow.finalize()

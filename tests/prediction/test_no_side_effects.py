# SPDX-License-Identifier: Apache-2.0
"""A library call leaves the process as it found it: set-up of a process belongs to the command line."""

import logging
import os
import random
import signal
import sys
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch

from custom.prediction.predictor import Predictor, predict_batch
from tests.model_fixtures import blurring_model


def _state() -> dict[str, object]:
    loggers = [
        "",
        *(name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("ignite", "monai", "custom")),
    ]
    return {
        "Python's generator": hash(random.getstate()),
        "NumPy's generator": np.random.get_state()[1].tobytes(),  # noqa: NPY002
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "excepthook": sys.excepthook,
        "deterministic mode": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": torch.is_grad_enabled(),
        "number format": torch.get_default_dtype(),
        "warnings": list(warnings.filters),
        "loggers": {
            name: (
                logging.getLogger(name).level,
                list(logging.getLogger(name).handlers),
                logging.getLogger(name).disabled,
            )
            for name in loggers
        },
        "environment": dict(os.environ),
        "signals": {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)},
        "folder": os.getcwd(),
        "module path": list(sys.path),
    }


@pytest.mark.parametrize("entry", ["predictor", "batch"])
def test_a_prediction_from_python_leaves_the_process_as_it_was(entry, tmp_path):
    model = blurring_model(tmp_path / "run")
    image = np.zeros((40, 48, 30), np.float32)
    image[8:32, 8:40, 4:26] = np.random.default_rng(0).uniform(50, 100, (24, 32, 22))
    nib.save(nib.Nifti1Image(image, np.diag([4.0, 4.0, 5.0, 1.0])), tmp_path / "scan.nii.gz")

    def predict(place: str) -> None:
        if entry == "predictor":
            Predictor.load(model).predict(tmp_path / "scan.nii.gz")
        else:
            predict_batch(model, tmp_path / "scan.nii.gz", tmp_path / place, report=False)

    predict("first")  # imports what it needs; a library that is imported may set up itself
    before = _state()
    predict("second")
    after = _state()
    assert {name for name in before if before[name] != after[name]} == set()

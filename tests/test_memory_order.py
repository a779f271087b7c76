# SPDX-License-Identifier: Apache-2.0
"""Maps as files give them (Fortran order), slices of larger arrays, turned axes: the values decide, not the strides."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from custom import metrics, postprocessing
from custom.metrics import ScoreHistogram

RNG = np.random.default_rng(0)
SHAPE = (14, 15, 12)
MASK = np.pad(np.ones((10, 11, 10), bool), 2)[:, :, 1:-1]
MAP = (RNG.random(SHAPE) * MASK).astype(np.float32)
TRUTH = MAP > 0.8
IMAGE = RNG.random(SHAPE).astype(np.float32)
SCORES = {
    name: score
    for name, score in json.loads(Path("custom/configs/scoring.json").read_text(encoding="utf-8")).items()
    if not score["_target_"].endswith("HealthyRelative")  # needs statistics of healthy scans: tests/scoring
}

ORDERS = {
    "fortran": lambda a: np.asfortranarray(a),
    "turned": lambda a: np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1),
    "part": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
}


def tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor with the strides of ``array`` (torch knows no negative ones)."""
    strides = [abs(s) // array.itemsize for s in array.strides]
    if any(s < 0 for s in array.strides):
        return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 1, 0))).permute(2, 1, 0)
    found = torch.from_numpy(array)
    assert list(found.stride()) == strides
    return found


def five(t: torch.Tensor) -> torch.Tensor:
    return t[None, None]


CALLS = {
    "median_filter": lambda m, t, k, i: postprocessing.median_filter(tensor(m), 3),
    "erode_mask_axial": lambda m, t, k, i: postprocessing.erode_mask_axial(tensor(k), 2),
    "remove_small_components": lambda m, t, k, i: postprocessing.remove_small_components(tensor(t), 4),
    "binarise": lambda m, t, k, i: postprocessing.in_mm().binarise(tensor(m), 0.6, (2.0, 2.0, 2.0)),
    "postprocessing": lambda m, t, k, i: postprocessing.in_mm().prepare(tensor(m), tensor(k), (2.0, 2.0, 2.0)),
    "confusion_counts": lambda m, t, k, i: metrics.confusion_counts(m > 0.5, t),
    "lesion_counts": lambda m, t, k, i: metrics.lesion_counts(m > 0.5, t, (2.0, 2.0, 2.0)),
    "histogram": lambda m, t, k, i: _histogram(m, t, k),
    "best_dice_threshold": lambda m, t, k, i: metrics.best_dice_threshold([m], [t]),
    "reconstruction_metrics": lambda m, t, k, i: metrics.reconstruction_metrics(i, m, k),
    "l1_ratio": lambda m, t, k, i: metrics.l1_ratio(i, m, t, k),
    "scan_score": lambda m, t, k, i: metrics.scan_score(m, k),
}


def _histogram(m: np.ndarray, t: np.ndarray, k: np.ndarray) -> tuple[float, list[int]]:
    histogram = ScoreHistogram()
    histogram.update(m, t, k)
    return histogram.auroc(), histogram.above().tolist()


def same(first: object, second: object) -> None:
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", CALLS)
def test_post_processing_and_metrics(name, order) -> None:
    expected = CALLS[name](MAP, TRUTH, MASK, IMAGE)
    same(expected, CALLS[name](*(ORDERS[order](a) for a in (MAP, TRUTH, MASK, IMAGE))))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", SCORES)
def test_scores(name, order) -> None:
    score = ConfigParser({"score": SCORES[name]}).get_parsed_content("score")
    expected = score(five(tensor(IMAGE)), five(tensor(MAP)))
    found = score(five(tensor(ORDERS[order](IMAGE))), five(tensor(ORDERS[order](MAP))))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)

# SPDX-License-Identifier: Apache-2.0
"""Heads are refused, brains are not: on phantoms always, on real scans where there are some."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from custom.core.errors import DataError
from custom.preparation.skull import refuse_skull, skull_signs

pytestmark = [
    pytest.mark.fault(
        27, "skull present", "refused with the remedy; stripping itself is left to tools made for it", "foreseen"
    ),
]

SPACING = np.array([4.0, 4.0, 4.0])


def head_around(brain: np.ndarray) -> np.ndarray:
    """A dark skull of 8 mm and a bright scalp of 8 mm around the brain."""
    padded = np.pad(brain, 6)
    depth = ndimage.distance_transform_edt(padded == 0) * 4
    return np.where(padded > 0, padded, np.where(depth <= 9, 12, np.where(depth <= 18, 180, 0))).astype(np.float32)


def test_brain_passes(brain) -> None:
    assert not skull_signs(brain, SPACING).skull_on
    refuse_skull(brain, SPACING, "a")


def test_head_is_refused_with_the_remedy(brain) -> None:
    with pytest.raises(DataError, match=r"a: .*skull.*SynthStrip.*--mask") as caught:
        refuse_skull(head_around(brain), SPACING, "a")
    assert caught.value.exit_code == 4


def test_noisy_background_is_refused(brain) -> None:
    head = head_around(brain)
    noise = np.abs(np.random.default_rng(0).normal(0, 12, head.shape)).astype(np.float32)
    assert skull_signs(head + noise, SPACING).skull_on


def test_part_of_a_head_is_refused(brain) -> None:
    head = head_around(brain)
    assert skull_signs(head[:, :, 22:40], SPACING).skull_on


def test_depth_and_volume_of_a_ball() -> None:
    index = np.stack(np.meshgrid(*[np.arange(60)] * 3, indexing="ij"), axis=-1)
    ball = ((((index - 29.5) * 3) ** 2).sum(-1) < 60**2).astype(np.float32)
    signs = skull_signs(ball, np.array([3.0, 3.0, 3.0]))
    assert signs.volume_ml == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.1)
    assert signs.depth_mm == pytest.approx(60, abs=4)


def test_real_scans(real_data) -> None:
    def signs(path) -> bool:
        image = nib.load(path)
        array = np.asarray(image.dataobj, dtype=np.float32)
        return skull_signs(array, np.array(image.header.get_zooms(), dtype=float)).skull_on

    raw, prepared = sorted(real_data.glob("raw/*.nii.gz")), sorted(real_data.glob("Test/*/[tf]*/*.nii.gz"))
    assert raw
    assert prepared
    assert all(signs(path) for path in raw)
    assert not any(signs(path) for path in prepared)

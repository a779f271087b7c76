# SPDX-License-Identifier: Apache-2.0
"""Slice, turn, scale and intensities of a picture from a healthy reference: known places are found again."""

import numpy as np
import pytest
from scipy import ndimage

from custom.core.errors import ConfigError, DataError
from custom.preparation.picture_brain import bright_brain
from custom.preparation.picture_place import healthy_picture, place_picture, scaled_like_healthy
from custom.preparation.quality import build_reference

GRID = (96, 96, 40)


def _brain(seed):
    """A volume whose slices differ: an egg with two dark lobes at the back, less so higher up, blunt end at the back."""
    x, y, z = np.meshgrid(*(np.arange(n, dtype=float) for n in GRID), indexing="ij")
    width = 30 * np.sqrt(np.clip(1 - ((z - 18) / 30) ** 2, 0.05, 1))
    u, v = (x - 47) / width, (y - 47) / (1.25 * width)
    mask = (u / (1 - 0.35 * v)) ** 2 + v**2 < 1
    lobe = np.exp(-(((np.abs(u) - 0.35) / 0.15) ** 2) - ((v - z / 60 + 0.7) / 0.2) ** 2)
    image = np.clip(0.75 - 0.5 * lobe + 0.1 * u + 0.02 * np.random.default_rng(seed).standard_normal(GRID), 0.05, 1)
    return image * mask, mask


VOLUMES = [_brain(seed) for seed in range(4)]
REFERENCE = build_reference(VOLUMES[:3])


def _seen(z, zoom=3.0, gain=200.0):
    """A slice as a picture: front up, the patient's right on the left, of any brightness."""
    picture = ndimage.zoom(VOLUMES[3][0][::-1, ::-1, z], zoom, order=1, grid_mode=True, mode="nearest") * gain
    return np.pad(picture, ((20, 5), (7, 30)))


def _place(picture, **kwargs):
    return place_picture(picture, [bright_brain(picture)], REFERENCE, GRID, **kwargs)


@pytest.mark.parametrize("z", [6, 18, 30])
def test_slice_and_scale_are_found(z):
    place = _place(_seen(z))
    assert abs(place.height - z) <= 4
    assert place.frame.scale == pytest.approx(1 / 3, rel=0.08)
    assert place.turn == 2
    assert place.dice > 0.9
    assert place.correlation > 0.8


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_turned_and_mirrored_pictures_give_the_same_slice(quarter_turns, mirror):
    picture = _seen(18)
    turned = np.rot90(picture[::-1] if mirror else picture, quarter_turns)
    expected, place = _place(picture), _place(np.ascontiguousarray(turned))
    np.testing.assert_allclose(place.upright(turned), expected.upright(picture))
    assert place.height == expected.height
    np.testing.assert_array_equal(place.as_seen(place.upright(turned)), turned)


@pytest.mark.parametrize("z", [6, 18, 34])
def test_intensities_are_those_of_the_scan_whatever_the_slice(z):
    place = _place(_seen(z))
    image, brain = VOLUMES[3][0][:, :, z], VOLUMES[3][1][:, :, z]
    scaled, (low, high) = scaled_like_healthy(7 * image + 100, brain, healthy_picture(REFERENCE), place.height)
    inside = ndimage.binary_erosion(brain, iterations=3)
    assert np.abs(np.median(scaled[inside] - image[inside])) < 0.06
    assert low < high
    assert not scaled[~brain].any()
    assert (scaled.min(), scaled.max() <= 1) == (0, True)


def test_what_cannot_be_placed_is_one_sentence():
    with pytest.raises(DataError, match="no brain was found"):
        place_picture(np.zeros((40, 40)), [np.zeros((40, 40), bool)], REFERENCE, GRID)
    with pytest.raises(ConfigError, match="does not know what a healthy brain looks like"):
        healthy_picture(None)
    with pytest.raises(DataError, match="one brightness"):
        scaled_like_healthy(np.ones((96, 96)), np.ones((96, 96), bool), healthy_picture(REFERENCE), 18)

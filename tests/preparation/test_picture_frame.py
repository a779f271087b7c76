# SPDX-License-Identifier: Apache-2.0
"""From pixels to the grid and back: places to a fraction of a pixel, boxes after the round trip, what is no head."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom.core.errors import DataError
from custom.detection import Boxes, MapToBoxes, overlap
from custom.preparation.picture_frame import PictureFrame, brain_frame, head_mask, scaled_to_unit


def _ellipse(shape, centre, radii):
    x, y = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1


def _head(shape=(480, 400), centre=(240, 200), radii=(130, 170), level=0.2, text=True):
    picture = np.where(_ellipse(shape, centre, radii), 0.5, 0.02) * level
    picture += 0.02 * level * np.random.default_rng(0).random(shape)
    if text:
        picture[4:40, 4:12] = level
    return picture


@settings(deadline=None, max_examples=30)
@given(st.floats(0.1, 0.9), st.floats(30, 300), st.floats(30, 300))
def test_a_straight_line_is_where_it_should_be(scale, x, y):
    """A linear ramp is reproduced exactly by linear interpolation: any shift of half a pixel would be seen."""
    frame = PictureFrame(scale, (x, y))
    ramp = np.add.outer(np.arange(350.0), 0.5 * np.arange(350.0)) + 1000
    found = frame.to_grid(ramp)
    i, j = np.meshgrid(np.arange(96), np.arange(96), indexing="ij")
    px, py = (i - 47.5) / scale + x, (j - 47.2) / scale + y
    margin = 4 / scale
    inside = (px > margin) & (px < 349 - margin) & (py > margin) & (py < 349 - margin)
    np.testing.assert_allclose(found[inside], (px + 0.5 * py + 1000)[inside], atol=0.05)
    back = frame.to_picture(i + 0.5 * j, (350, 350))
    u, v = (np.arange(350) - x) * scale + 47.5, (np.arange(350) - y) * scale + 47.2
    known = np.logical_and.outer((u >= 0) & (u <= 95), (v >= 0) & (v <= 95))
    np.testing.assert_allclose(back[known], np.add.outer(u, 0.5 * v)[known], atol=1e-6)
    assert not back[np.logical_or.outer((u < -1) | (u > 96), (v < -1) | (v > 96))].any()


@pytest.mark.parametrize("shape", [(480, 480), (512, 400), (91, 109), (400, 512)])
def test_boxes_survive_the_round_trip(shape):
    rng = np.random.default_rng(1)
    radii = (0.3 * min(shape), 0.38 * min(shape))
    frame, _ = brain_frame(_ellipse(shape, (shape[0] / 2, shape[1] / 2), radii))
    for _ in range(20):
        w, h = rng.uniform(0.1, 0.25, 2) * min(shape)
        x, y = (rng.uniform(0.3, 0.7) * n - edge / 2 for n, edge in zip(shape, (w, h), strict=True))
        picture = np.zeros(shape)
        picture[int(x) : int(x + w), int(y) : int(y + h)] = 1
        expected = Boxes([[int(x), int(y), int(x + w), int(y + h)]])
        found = MapToBoxes()(frame.to_picture(frame.to_grid(picture), shape), threshold=0.5)
        assert overlap(found, expected).max() > 0.75


def test_head_is_found_among_text_and_noise_at_any_brightness():
    for level in (0.05, 1.0, 4000.0):
        head = head_mask(_head(level=level))
        truth = _ellipse((480, 400), (240, 200), (130, 170))
        assert (head & truth).sum() > 0.98 * truth.sum()
        assert not head[:40, :12].any()


def test_brain_lies_where_training_brains_lie():
    head = head_mask(_head())
    frame, brain = brain_frame(head)
    assert brain.sum() < head.sum()
    on_grid = frame.to_grid(brain.astype(float)) > 0.5
    places = [np.flatnonzero(on_grid.any(axis=1 - axis)) for axis in range(2)]
    assert [len(p) for p in places] == pytest.approx([62.5, 82], abs=3)
    assert [(p[0] + p[-1]) / 2 for p in places] == pytest.approx([47.5, 47.2], abs=1)
    assert brain_frame(head, is_brain=True)[0].scale < frame.scale


@pytest.mark.parametrize("turn", [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: np.rot90(a), lambda a: a.T])
def test_turned_pictures_have_turned_frames(turn):
    head = _ellipse((300, 260), (140, 120), (80, 100))
    frame, brain = brain_frame(head)
    turned_frame, turned_brain = brain_frame(np.ascontiguousarray(turn(head)))
    assert turned_frame.scale == pytest.approx(frame.scale)
    assert np.array_equal(turned_brain, turn(brain))


def test_intensities_are_scaled_within_the_brain():
    picture, brain = _head(), _ellipse((480, 400), (240, 200), (110, 150))
    scaled = scaled_to_unit(picture, brain)
    assert (scaled.min(), scaled.max()) == (0, 1)
    assert not scaled[~brain].any()
    np.testing.assert_allclose(scaled_to_unit(7 * picture + 3, brain), scaled)


def test_what_is_no_head_is_one_sentence():
    with pytest.raises(DataError, match="one brightness"):
        head_mask(np.full((50, 50), 0.3))
    with pytest.raises(DataError, match="no head"):
        head_mask(np.pad(np.ones((4, 4)), 100))
    with pytest.raises(DataError, match=r"\[X, Y\]"):
        head_mask(np.zeros((5, 5, 3)))
    with pytest.raises(DataError, match="one brightness"):
        scaled_to_unit(np.ones((5, 5)), np.ones((5, 5), bool))

# SPDX-License-Identifier: Apache-2.0
"""From pixels to the grid and back: places to a fraction of a pixel, boxes after the round trip."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom.detection import Boxes, MapToBoxes, overlap
from custom.preparation.picture_frame import PictureFrame, smaller


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
    frame = PictureFrame(32.5 / radii[0], (shape[0] / 2, shape[1] / 2))
    for _ in range(20):
        w, h = rng.uniform(0.1, 0.25, 2) * min(shape)
        x, y = (rng.uniform(0.3, 0.7) * n - edge / 2 for n, edge in zip(shape, (w, h), strict=True))
        picture = np.zeros(shape)
        picture[int(x) : int(x + w), int(y) : int(y + h)] = 1
        expected = Boxes([[int(x), int(y), int(x + w), int(y + h)]])
        found = MapToBoxes()(frame.to_picture(frame.to_grid(picture), shape), threshold=0.5)
        assert overlap(found, expected).max() > 0.75


@pytest.mark.parametrize("shape", [(90, 60), (91, 61), (92, 62), (89, 59)])
def test_smaller_pictures_have_the_same_middle(shape):
    """A linear ramp keeps its values at the places that the enlarged frame names."""
    ramp = np.add.outer(np.arange(shape[0], dtype=float), 0.5 * np.arange(shape[1]))
    small = smaller(ramp, 3)
    frame = PictureFrame(0.5, (12.0, 8.0))
    large = frame.enlarged(3, small.shape, shape)
    assert large.scale == pytest.approx(0.5 / 3)
    x, y = large.centre_px
    assert x + 0.5 * y == pytest.approx(small[12, 8], abs=1.5)  # half a pixel where the edges had to be padded unevenly

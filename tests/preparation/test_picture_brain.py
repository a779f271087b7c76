# SPDX-License-Identifier: Apache-2.0
"""Head and brain in pictures: among text, page margins and noise, at any brightness; what is no head is one sentence."""

import numpy as np
import pytest
from scipy import ndimage

from custom.core.errors import DataError
from custom.preparation.picture_brain import brain_within, bright_brain, head_mask, panels

SHAPE, CENTRE = (240, 200), (120, 100)


def _ellipse(shape, centre, radii):
    x, y = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1


HEAD, SKULL, BRAIN = (_ellipse(SHAPE, CENTRE, radii) for radii in ((65, 85), (59, 79), (54, 74)))


def _dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def _picture(level=1.0, scalp=0.9, skull=0.05, brain=0.5):
    rng = np.random.default_rng(0)
    picture = np.select([BRAIN, SKULL, HEAD], [brain, skull, scalp], 0.02) + 0.03 * rng.random(SHAPE)
    picture[4:30, 4:10] = 1.0  # text
    return ndimage.gaussian_filter(picture, 1) * level


@pytest.mark.parametrize("level", [0.05, 1.0, 4000.0])
def test_head_is_found_among_text_and_noise_at_any_brightness(level):
    head = head_mask(_picture(level))
    assert _dice(head, HEAD) > 0.97
    assert not head[:30, :12].any()


@pytest.mark.parametrize("brain", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("skull", [0.02, 0.15])
def test_brain_lies_within_the_dark_ring(brain, skull):
    picture = _picture(brain=brain, skull=skull)
    assert _dice(brain_within(picture, head_mask(picture)), BRAIN) > 0.95


def test_ring_is_followed_where_the_brain_is_not_round():
    dent = BRAIN & ~_ellipse(SHAPE, (120, 30), (20, 16))
    picture = ndimage.gaussian_filter(np.select([dent, SKULL, HEAD], [0.6, 0.05, 0.9], 0.02), 1)
    assert _dice(bright_brain(picture), dent) > 0.97


def test_extracted_brain_is_the_bright_part():
    assert _dice(bright_brain(np.where(BRAIN, 0.5, 0.0)), BRAIN) > 0.97


def test_turned_pictures_have_turned_brains():
    picture = _picture()
    for turn in (lambda a: a[::-1], np.rot90, lambda a: a.T):
        turned = np.ascontiguousarray(turn(picture))
        assert np.array_equal(head_mask(turned), turn(head_mask(picture)))
        assert np.array_equal(bright_brain(turned), turn(bright_brain(picture)))


def test_white_margins_of_a_page_are_no_head():
    page = np.pad(_picture() / 1.1, 30, constant_values=1.0)
    assert _dice(head_mask(page), np.pad(HEAD, 30)) > 0.97


def test_panels_are_counted():
    assert panels(_picture()) == 1
    assert panels(np.concatenate([_picture(), _picture()])) == 2


def test_what_is_no_head_is_one_sentence():
    with pytest.raises(DataError, match="one brightness"):
        head_mask(np.full((50, 50), 0.3))
    with pytest.raises(DataError, match="no head"):
        head_mask(np.pad(np.ones((4, 4)), 100))
    with pytest.raises(DataError, match=r"\[X, Y\]"):
        head_mask(np.zeros((5, 5, 3)))

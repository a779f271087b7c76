# SPDX-License-Identifier: Apache-2.0
import dataclasses

import torch

from custom.corruption import ScannerVariation

NONE = ScannerVariation(
    log_gamma=(0.0, 0.0), gain=(1.0, 1.0), offset=(0.0, 0.0), bias=0.0, blur_share=0.0, noise_share=0.0,
    mirror_share=0.0, shift_px=0,
)  # fmt: skip


def _varied(slabs, **changes):
    return dataclasses.replace(NONE, **changes)(slabs[0], slabs[1], torch.Generator().manual_seed(0))


def test_with_everything_off_nothing_changes(slabs):
    images, brain = _varied(slabs)
    torch.testing.assert_close(images, slabs[0], atol=1e-6, rtol=0)
    assert torch.equal(brain, slabs[1])


def test_equal_seeds_give_equal_variation(slabs):
    one, two = (ScannerVariation()(slabs[0], slabs[1], torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


def test_each_part_does_what_it_says(slabs):
    images, brain = slabs[:2]
    mirrored, _ = _varied(slabs, mirror_share=1.0)
    torch.testing.assert_close(mirrored, images.flip(2), atol=1e-6, rtol=0)
    gamma, _ = _varied(slabs, log_gamma=(0.2, 0.2))
    torch.testing.assert_close(gamma, images ** torch.tensor(0.2).exp(), atol=1e-6, rtol=0)
    gained, _ = _varied(slabs, gain=(1.1, 1.1), offset=(0.02, 0.02))
    torch.testing.assert_close(gained, (images * 1.1 + 0.02).clamp(0, 1) * brain, atol=1e-6, rtol=0)
    field = (_varied(slabs, bias=0.2)[0] / images.clamp(min=1e-3))[brain]
    assert 0.79 < field.min() < field.max() < 1.21
    noisy = (_varied(slabs, noise_share=1.0, noise_sd=(0.03, 0.03))[0] - images)[brain]
    assert abs(noisy.std() - 0.03) < 2e-3
    blurred, _ = _varied(slabs, blur_share=1.0, blur_px=(0.8, 0.8))
    inner = (..., slice(24, 40), slice(24, 40))
    assert blurred[inner].std() < 0.6 * images[inner].std()
    assert abs(blurred[inner].mean() - images[inner].mean()) < 1e-3


def test_a_shift_moves_image_and_brain_together(slabs):
    images, brain = _varied(slabs, shift_px=2)
    found = set()
    for image, inside, before in zip(images, brain, slabs[0], strict=True):
        steps = [(r, c) for r in range(-2, 3) for c in range(-2, 3) if torch.equal(before.roll((r, c), (1, 2)), image)]
        assert len(steps) == 1
        found.add(steps[0])
        assert torch.equal(inside, slabs[1][0].roll(steps[0], (1, 2)))
    assert len(found) > 8

# SPDX-License-Identifier: Apache-2.0
import torch

from custom.corruption import LesionTextures


def _made(slabs, **settings):
    images, _, foreign, foreign_brain = slabs
    generator = torch.Generator().manual_seed(1)
    return LesionTextures(**settings)(images, foreign, foreign_brain, generator)


def test_a_foreign_patch_shows_the_other_brain_and_never_its_outside(slabs):
    target, additive = _made(slabs, weights=(1.0, 0.0, 0.0), gain=(1.0, 1.0), offset=(0.0, 0.0))
    assert (additive == 0).all()
    assert target.min() > 0.6  # the foreign brain has 0.8, its outside 0
    assert target.max() < 1.0


def test_a_random_intensity_has_its_level(slabs):
    target, additive = _made(slabs, weights=(0.0, 1.0, 0.0), texture_sd=(0.0, 0.0), grain_sd=(0.0, 0.0))
    assert (additive == 0).all()
    levels = target.flatten(2)
    assert (levels.std(dim=2) < 1e-6).all()
    assert levels[..., 0].min() < 0.1
    assert levels[..., 0].max() > 0.9


def test_an_additive_change_has_either_sign_and_its_size(slabs):
    _, additive = _made(slabs, weights=(0.0, 0.0, 1.0), bias=(0.2, 0.2), bias_variation=0.1)
    mean = additive.mean((2, 3, 4))
    torch.testing.assert_close(mean.abs(), torch.full_like(mean, 0.2), atol=1e-5, rtol=0)
    assert 0.2 < (mean > 0).float().mean() < 0.8


def test_the_weights_are_the_shares_of_the_kinds(slabs):
    images, _, foreign, foreign_brain = (part.repeat_interleave(40, 0)[..., :8, :8] for part in slabs)
    textures = LesionTextures(weights=(0.5, 0.2, 0.3))
    _, additive = textures(images, foreign, foreign_brain, torch.Generator().manual_seed(1))
    share = (additive.flatten(2) != 0).any(2).float().mean()
    assert abs(share - 0.3) < 0.04

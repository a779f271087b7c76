# SPDX-License-Identifier: Apache-2.0
import torch

from custom.corruption import BlobShapes


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _brain(batch, size=64):
    brain = torch.zeros(batch, 3, size, size, dtype=torch.bool)
    brain[..., 8:56, 8:56] = True
    return brain


def test_shapes_are_opacities_inside_the_brain():
    brain = _brain(16)
    opacity = BlobShapes()(brain, 2, _generator())
    assert opacity.shape == (16, 2, 3, 64, 64)
    assert opacity.min() >= 0
    assert opacity.max() <= 1
    assert (opacity[..., :8, :] == 0).all()
    middle = opacity[:, :, 1].amax((-1, -2))
    assert (middle > 0.5).float().mean() > 0.9  # nearly every shape reaches the slice that is restored


def test_the_radius_says_how_large_a_shape_is():
    smooth = {"count_weights": (1.0, 0.0, 0.0), "axis_spread": 0.0, "roughness": (0.0, 0.0), "edge_px": (0.05, 0.05)}
    brain = torch.ones(200, 1, 64, 64, dtype=torch.bool)
    found = {}
    for radius in (4.0, 8.0):
        opacity = BlobShapes(radius_px=(radius, radius), **smooth)(brain, 1, _generator())
        inside = (opacity[:, 0, 0] > 0.5).sum((1, 2)).float()
        found[radius] = inside.max()  # a circle cut through its middle that lies in the picture
        torch.testing.assert_close(inside.max(), torch.tensor(torch.pi * radius**2), rtol=0.12, atol=0)
    assert found[8.0] > 3.5 * found[4.0]


def test_the_centres_are_uniform_over_the_brain_of_the_middle_slice():
    brain = torch.zeros(2000, 3, 16, 16, dtype=torch.bool)
    brain[:, 1, 4:8, 2:10] = True
    brain[:, 0] = True
    tiny = BlobShapes(radius_px=(0.6, 0.6), count_weights=(1.0, 0.0, 0.0), axis_spread=0.0, roughness=(0.0, 0.0))
    opacity = tiny(brain, 1, _generator())[:, 0, 1]
    counts = (opacity == opacity.amax((1, 2), keepdim=True)).float().sum(0)
    inside = counts[4:8, 2:10]
    assert counts.sum() == inside.sum()
    assert inside.min() > 0.4 * inside.mean()
    assert inside.max() < 1.7 * inside.mean()


def test_a_slice_without_brain_stays_empty():
    brain = _brain(4)
    brain[2] = False
    opacity = BlobShapes()(brain, 2, _generator())
    assert (opacity[2] == 0).all()
    assert torch.isfinite(opacity).all()


def test_easy_shapes_are_large():
    brain = torch.ones(200, 1, 64, 64, dtype=torch.bool)
    shapes = BlobShapes(count_weights=(1.0, 0.0, 0.0))
    all_sizes, large = (
        (shapes(brain, 1, _generator(), least)[:, 0, 0] > 0.5).sum((1, 2)).float() for least in (None, 8.0)
    )
    assert all_sizes.quantile(0.2) < 40
    assert large.quantile(0.2) > 80

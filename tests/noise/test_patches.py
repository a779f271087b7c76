# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from custom.core.errors import ConfigError
from custom.models.noise_scheduler import NoiseDDPMScheduler
from custom.noise import GaussianNoise, GridPatches
from custom.reconstruction.partial_diffusion import PartialDiffusionInferer
from custom.training.inferer import DiffusionTrainingInferer
from custom.training.prepare_batch import DiffusionPrepareBatch


def _coverage(patches, height, width):
    count = torch.zeros(height, width, dtype=torch.long)
    for rows, columns in patches.boxes(height, width):
        count[rows, columns] += 1
    return count


def test_the_papers_grid_covers_every_pixel_once():
    patches = GridPatches(48)
    assert [(r.start, r.stop, c.start, c.stop) for r, c in patches.boxes(96, 96)] == [
        (0, 48, 0, 48), (0, 48, 48, 96), (48, 96, 0, 48), (48, 96, 48, 96),
    ]  # fmt: skip
    assert torch.equal(_coverage(patches, 96, 96), torch.ones(96, 96, dtype=torch.long))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_every_pixel_is_covered_and_no_box_leaves_the_slice(height, width, patch, stride):
    patches = GridPatches(patch, min(stride, patch))
    assert int(_coverage(patches, height, width).min()) >= 1
    for box, size in (
        (box, size) for pair in patches.boxes(height, width) for box, size in zip(pair, (height, width), strict=True)
    ):
        assert 0 <= box.start < box.stop <= size
        assert box.stop - box.start == min(patch, size)


def test_overlap_is_even():
    starts = [rows.start for rows, _ in GridPatches(48, 24).boxes(96, 48)]
    assert starts == [0, 24, 48]
    assert _coverage(GridPatches(48, 24), 96, 96)[30:60, 30:60].min() == 4


def test_each_sample_is_noised_in_one_box_drawn_uniformly():
    masks = GridPatches(4)(torch.empty(4000, 1, 8, 8), torch.Generator().manual_seed(0))
    assert masks.shape == (4000, 1, 8, 8)
    assert masks.dtype == torch.bool
    assert torch.equal(masks.sum(dim=(1, 2, 3)), torch.full((4000,), 16))
    corners = masks[:, 0, ::4, ::4].flatten(1)
    assert torch.equal(corners.sum(dim=1), torch.ones(4000, dtype=torch.long))
    deviation = (4000 * 0.25 * 0.75) ** 0.5
    assert (corners.sum(dim=0) - 1000).abs().max() < 4 * deviation


def _batch(rows):
    images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))[rows]
    return {
        "image": images,
        "mask": torch.ones_like(images),
        "epoch": torch.ones(len(rows)),
        "position": torch.tensor(rows),
    }


def test_processes_that_share_a_batch_draw_the_rows_of_one():
    prepare = DiffusionPrepareBatch(GaussianNoise(), 1000, patches=GridPatches(8), seed=3, batch_size=8)
    _, _, _, whole = prepare(_batch(list(range(8))))
    for rank in (0, 1):
        _, _, _, ours = prepare(_batch(list(range(rank, 8, 2))))
        assert torch.equal(ours["region"], whole["region"][rank::2])
    assert len({tuple(mask.flatten().tolist()) for mask in whole["region"]}) > 1


class _Blur(torch.nn.Module):
    """Stands for a network: every output pixel depends on its neighbourhood and on t."""

    def forward(self, x, timesteps):
        return torch.nn.functional.avg_pool2d(x, 3, 1, 1) * (1 + timesteps.float()[:, None, None, None] / 1000)


def _reconstruct(patches, volume, test_timesteps=500):
    noise = GaussianNoise()
    scheduler = NoiseDDPMScheduler(noise, 1000, "cosine_float64", "sample")
    return PartialDiffusionInferer(scheduler, noise, test_timesteps, 7, 4, patches=patches)(volume, _Blur(), ["a"])


def test_a_patch_as_large_as_the_slice_is_plain_diffusion():
    volume = torch.rand(1, 1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    plain = _reconstruct(None, volume)
    torch.testing.assert_close(_reconstruct(GridPatches(16), volume), plain)
    torch.testing.assert_close(_reconstruct(GridPatches(99), volume), plain)
    assert not torch.allclose(_reconstruct(GridPatches(8), volume), plain, atol=1e-3)


def test_overlapping_boxes_are_averaged_and_t_too():
    volume = torch.rand(1, 1, 12, 8, 2, generator=torch.Generator().manual_seed(0))
    one = _reconstruct(GridPatches(8), volume)  # rows 0-8 and 4-12
    two = [_reconstruct(_Only(rows), volume) for rows in (slice(0, 8), slice(4, 12))]
    expected = torch.cat([two[0][..., :4, :, :], (two[0] + two[1])[..., 4:8, :, :] / 2, two[1][..., 8:, :, :]], dim=2)
    torch.testing.assert_close(one, expected)
    single = [_reconstruct(GridPatches(8), volume, t) for t in (250, 500, 750)]
    torch.testing.assert_close(_reconstruct(GridPatches(8), volume, [250, 500, 750]), sum(single) / 3)


class _Only:
    def __init__(self, rows):
        self.rows = rows

    def boxes(self, height, width):
        return [(self.rows, slice(0, width))]


def test_training_sees_noise_and_loss_in_the_box_alone():
    scheduler = NoiseDDPMScheduler(GaussianNoise(), 1000, "cosine_float64", "sample")
    prepare = DiffusionPrepareBatch(GaussianNoise(), 1000, patches=GridPatches(8), seed=3, batch_size=8)
    images, target, _, arguments = prepare(_batch(list(range(8))))
    seen = []
    network = torch.nn.Module()
    network.forward = lambda x, timesteps: seen.append(x) or torch.full_like(x, 9.0)
    prediction = DiffusionTrainingInferer(scheduler)(images, network, **arguments)
    outside = ~arguments["region"]
    assert torch.equal(prediction[outside], target[outside])
    assert torch.equal(seen[0][outside], images[outside])
    assert (prediction[~outside] == 9).all()
    assert (seen[0] != images)[~outside].float().mean() > 0.9


@pytest.mark.parametrize(("patch", "stride"), [(0, None), (48, 49), (48, 0.5), (8, -1)])
def test_grids_with_gaps_are_refused(patch, stride):
    with pytest.raises(ConfigError, match="never be noised"):
        GridPatches(patch, stride)

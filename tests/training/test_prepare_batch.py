# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from custom.training.prepare_batch import DenoisingPrepareBatch, DiffusionPrepareBatch, ReconstructionPrepareBatch


def _noise(like, generator):
    return torch.randn(like.shape, generator=generator)


def _brighten(images, mask, generator):
    return images + torch.rand(len(images), generator=generator)[:, None, None, None] * (mask > 0)


def _batch(positions, epoch=3):
    positions = torch.as_tensor(positions)
    image = torch.rand(8, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    mask = (image > 0.3).to(torch.uint8)
    return {
        "image": image[positions % 8],
        "mask": mask[positions % 8],
        "position": positions,
        "epoch": torch.full((len(positions),), epoch),
    }


def _diffusion(**kwargs):
    return DiffusionPrepareBatch(
        noise=_noise, num_train_timesteps=1000, seed=1, batch_size=8, augmentation=_brighten, **kwargs
    )


def test_two_processes_draw_what_one_draws():
    whole = _diffusion()(_batch(range(8, 16)), "cpu")
    for rank in range(2):
        part = _diffusion()(_batch(range(8 + rank, 16, 2)), "cpu")
        torch.testing.assert_close(part[0], whole[0][rank::2], rtol=0, atol=0)
        for key in ("noise", "timesteps"):
            torch.testing.assert_close(part[3][key], whole[3][key][rank::2], rtol=0, atol=0)


def test_draws_depend_on_epoch_batch_seed_and_stage_only():
    first = _diffusion()(_batch(range(8)), "cpu")[3]["noise"]
    torch.rand(5)
    assert torch.equal(first, _diffusion()(_batch(range(8)), "cpu")[3]["noise"])
    assert not torch.equal(first, _diffusion()(_batch(range(8), epoch=4), "cpu")[3]["noise"])
    assert not torch.equal(first, _diffusion()(_batch(range(8, 16)), "cpu")[3]["noise"])
    assert not torch.equal(first, _diffusion(stage="validation")(_batch(range(8)), "cpu")[3]["noise"])


def test_images_are_scaled_and_targets_follow_the_prediction_type():
    images, target, args, kwargs = DiffusionPrepareBatch(_noise, 1000, seed=1, batch_size=8)(_batch(range(8)), "cpu")
    torch.testing.assert_close(images, _batch(range(8))["image"] * 2 - 1)
    assert torch.equal(target, images)
    assert args == ()
    _, target, _, kwargs = DiffusionPrepareBatch(_noise, 1000, "epsilon", seed=1, batch_size=8)(_batch(range(8)), "cpu")
    assert torch.equal(target, kwargs["noise"])


def test_timesteps_cover_the_range_uniformly():
    prepare = DiffusionPrepareBatch(_noise, 10, seed=1, batch_size=8)
    drawn = torch.cat([prepare(_batch(range(8 * k, 8 * k + 8)), "cpu")[3]["timesteps"] for k in range(250)])
    counts = torch.bincount(drawn, minlength=10)
    assert len(counts) == 10
    assert ((counts - 200).abs() < 5 * (200 * 0.9) ** 0.5).all()


def test_validation_grid_is_dealt_out_by_position():
    prepare = DiffusionPrepareBatch(_noise, 1000, timesteps=[100, 500, 900], seed=1, batch_size=8, stage="validation")
    assert prepare(_batch(range(8)), "cpu")[3]["timesteps"].tolist() == [99, 499, 899, 99, 499, 899, 99, 499]
    last = prepare(_batch(range(8, 13)), "cpu")
    assert len(last[0]) == 5


def test_denoising_corrupts_inside_the_brain_only():
    batch = _batch(range(8))
    corrupted, target, _, _ = DenoisingPrepareBatch(_noise, seed=1, batch_size=8)(batch, "cpu")
    outside = batch["mask"] == 0
    assert torch.equal(target, batch["image"])
    assert torch.equal(corrupted[outside], target[outside])
    assert (corrupted[~outside] != target[~outside]).float().mean() > 0.99


def test_dropout_is_seeded_per_step():
    prepare = ReconstructionPrepareBatch(seed=1, batch_size=8)
    prepare(_batch(range(8)), "cpu")
    first = torch.rand(3)
    torch.rand(100)
    prepare(_batch(range(8)), "cpu")
    assert torch.equal(first, torch.rand(3))


@pytest.mark.parametrize("augmentation", [None, _brighten])
def test_autoencoder_target_is_its_input(augmentation):
    images, target, _, _ = ReconstructionPrepareBatch(1, 8, augmentation)(_batch(range(8)), "cpu")
    assert images is target

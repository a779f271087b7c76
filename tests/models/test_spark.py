# SPDX-License-Identifier: Apache-2.0
"""SparK: published numbers of parameters, what the decoder is handed, masks, loss."""

from functools import partial

import pytest
import torch
from monai.networks.nets import ResNet

from custom.core.errors import ConfigError
from custom.models.cell_mask import CellMask
from custom.models.masked_loss import MaskedReconstructionLoss
from custom.models.masked_resnet import upsampled
from custom.models.spark import MaskedOutput, SparK

RESNET50 = {"block": "bottleneck", "layers": [3, 4, 6, 3], "block_inplanes": [64, 128, 256, 512]}
TINY = {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [16, 16, 16, 16]}
COMMON = {"spatial_dims": 2, "n_input_channels": 1, "bias_downsample": False}


def _spark(width=32, stem_stride=2, **kind):
    torch.manual_seed(0)
    return SparK(partial(ResNet, **kind or TINY, **COMMON, conv1_t_stride=stem_stride), decoder_width=width)


def _count(modules):
    return sum(p.numel() for m in modules for p in m.parameters())


def test_published_number_of_parameters():
    with torch.device("meta"):
        network = _spark(512, **RESNET50)
    assert _count([network.encoder]) == 23_501_760
    assert _count([network.stages, network.output]) == 10_304_913
    assert _count([network.projections]) == 4_146_112
    assert _count([network.norms, network.tokens]) == 11_520
    assert _count([network]) == 37_964_305


def test_masked_pixels_reach_neither_reconstruction_nor_gradient():
    network = _spark()
    active = CellMask(cells="any").drawn(torch.ones(4, 1, 96, 96), torch.Generator().manual_seed(0))
    images = torch.rand(4, 1, 96, 96)
    perturbed = torch.where(upsampled(active, images), images, images + 50).requires_grad_()
    output = network(perturbed, active)
    assert torch.equal(output.reconstruction, network(images, active).reconstruction)
    output.reconstruction.square().sum().backward()
    assert not perturbed.grad[~upsampled(active, images)].any()
    assert all(p.grad is not None and p.grad.any() for p in network.tokens)


def test_token_fills_the_masked_cells_alone():
    """Tokens of two networks that differ in nothing else are seen behind the densifying of masked cells only."""
    network = _spark().eval()
    active = torch.tensor([[[[True, False], [False, False]]]])
    features = torch.rand(1, 16, 2, 2)
    seen = []
    network.projections[0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    network._dense(0, features, active)
    with torch.no_grad():
        network.tokens[0].add_(1)
    network._dense(0, features, active)
    changed = (seen[0] != seen[1]).all(dim=1, keepdim=True)
    assert torch.equal(changed, ~active)


def test_finer_stem_has_one_stage_less_and_finer_cells():
    network = _spark(stem_stride=1)
    active = CellMask(cell_px=16).drawn(torch.ones(2, 1, 96, 96), torch.Generator().manual_seed(0))
    output = network(torch.rand(2, 1, 96, 96), active)
    assert output.reconstruction.shape == (2, 1, 96, 96)
    assert output.features.shape[-2:] == (6, 6)
    assert len(network.stages) == 4


def test_wrong_sizes_are_one_sentence():
    with pytest.raises(ConfigError, match="take a multiple of 32"):
        _spark(width=48)
    with pytest.raises(ConfigError, match="pad them to 96 x 96"):
        _spark()(torch.rand(1, 1, 80, 96), torch.ones(1, 1, 3, 3, dtype=torch.bool))
    with pytest.raises(ConfigError, match="max-pool"):
        _spark(**TINY, no_max_pool=True)


def _toy(pix_norm=False, active=((True, False), (False, False)), **switches):
    images = (torch.arange(64 * 64) / 4095).reshape(1, 1, 64, 64)
    output = MaskedOutput(torch.zeros_like(images), torch.tensor([[active]]), torch.zeros(0))
    return MaskedReconstructionLoss(pix_norm, **switches)(output, images).item()


def test_golden_values_of_the_loss():
    """Evaluated once from the formulas of SparK and cDDPM."""
    assert _toy() == pytest.approx(0.4173788, abs=1e-6)
    assert _toy(pix_norm=True) == pytest.approx(0.9989755, abs=1e-6)
    assert _toy(active=((True, True), (True, True))) == 0


def test_loss_is_a_mean_over_masked_cells_by_loops():
    generator = torch.Generator().manual_seed(3)
    reconstruction, target = torch.rand(2, 3, 1, 64, 96, generator=generator)
    active = torch.rand(3, 1, 2, 3, generator=generator) < 0.4
    cells = [
        (reconstruction[b, 0, 32 * i : 32 * i + 32, 32 * j : 32 * j + 32],
         target[b, 0, 32 * i : 32 * i + 32, 32 * j : 32 * j + 32])
        for b in range(3) for i in range(2) for j in range(3) if not active[b, 0, i, j]
    ]  # fmt: skip
    output = MaskedOutput(reconstruction, active, torch.zeros(0))
    squared = torch.stack([(a - b).square().mean() for a, b in cells]).mean()
    absolute = torch.stack([(a - b).abs().mean() for a, b in cells]).mean()
    torch.testing.assert_close(MaskedReconstructionLoss()(output, target), squared)
    torch.testing.assert_close(MaskedReconstructionLoss(l1=True)(output, target), absolute)


def test_other_outputs_are_refused():
    with pytest.raises(ConfigError, match="needs the output of SparK"):
        MaskedReconstructionLoss()(torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64))


@pytest.mark.parametrize(
    ("size", "cell_px", "ratio", "kept"),
    [(96, 32, 0.65, 3), (96, 16, 0.65, 13), (224, 32, 0.6, 20), (96, 32, 0.99, 1), (96, 32, 0, 9)],
)
def test_visible_cells_are_counted_as_published(size, cell_px, ratio, kept):
    mask = CellMask(mask_ratio=ratio, cell_px=cell_px, cells="any")
    active = mask.drawn(torch.zeros(5, 1, size, size), torch.Generator().manual_seed(0))
    assert active.sum((1, 2, 3)).tolist() == [kept] * 5


def test_visible_cells_hold_brain_where_there_are_enough():
    brain = torch.zeros(200, 1, 96, 96)
    brain[:100, :, 32:64] = 1  # three cells of nine
    brain[100:, :, 32:64, 32:64] = 1  # one of nine
    generator = torch.Generator().manual_seed(0)
    active = CellMask(cells="brain").drawn(brain, generator)
    assert active[:100, 0, 1].all()
    assert active[100:, 0, 1, 1].all()
    assert (active.sum((1, 2, 3)) == 3).all()
    assert active[100:].float().mean(0).min() > 0  # the other two are chosen among all the rest
    anywhere = CellMask(cells="any").drawn(brain, generator).float().mean(0)
    assert anywhere.min() > 0.2
    assert anywhere.max() < 0.47


def test_masks_of_a_batch_differ_and_come_from_the_generator():
    draw = [CellMask().drawn(torch.ones(6, 1, 96, 96), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert len({tuple(row.flatten().tolist()) for row in draw[0]}) > 1


@pytest.mark.parametrize("wrong", [{"mask_ratio": 1.0}, {"mask_ratio": -0.1}, {"cell_px": 0}, {"cells": "skull"}])
def test_wrong_masks_are_refused(wrong):
    with pytest.raises(ConfigError, match="mask_ratio in"):
        CellMask(**wrong)
    with pytest.raises(ConfigError, match="cannot be divided into cells of 32"):
        CellMask().drawn(torch.ones(1, 1, 80, 96), torch.Generator())

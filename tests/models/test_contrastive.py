# SPDX-License-Identifier: Apache-2.0
"""epsilon-InfoNCE against closed form, cross-entropy and MONAI's loss; the two views; collapse."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from monai.losses import ContrastiveLoss as MonaiContrastiveLoss
from monai.networks.nets import ResNet

from custom.core.errors import ConfigError
from custom.models.contrastive import ContrastiveEncoder, ContrastiveLoss, masked_loss, spread
from custom.models.epsilon_infonce import EpsilonInfoNCE, feature_spread
from custom.models.masked_loss import MaskedReconstructionLoss
from custom.models.spark import SparK

EYE = torch.eye(2, dtype=torch.float64)
TURNED = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
ONES = torch.ones(32, 5, dtype=torch.float64)


def _angles(*degrees):
    radians = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


@pytest.mark.parametrize(
    ("one", "other", "temperature", "epsilon", "expected"),
    [
        (EYE, EYE, 0.07, 0.5, -0.4999979395),
        (EYE, EYE, 1, 0.5, 0.2943767694),
        (EYE, TURNED, 0.07, 0.5, 1.1958536563),
        (EYE, TURNED, 0.5, 0.5, 0.4216551570),
        (EYE, TURNED, 0.5, 0, 0.6680402017),
        (ONES, ONES, 0.07, 0.5, 4.1368695963),
        (ONES[:4], ONES[:4], 0.07, 0.5, 1.8880586537),
        (_angles(0, 120, 240), _angles(10, 130, 250), 0.2, 0.5, -0.4953935374),
        (_angles(0, 90), _angles(180, 270), 0.07, 0.5, 14.9788616558),
    ],
)
def test_golden_values(one, other, temperature, epsilon, expected):
    """Closed form and naive loops agree on these to 1e-10; vectors need not be normalised by the caller."""
    loss = EpsilonInfoNCE(temperature, epsilon)
    assert loss(one, other).item() == pytest.approx(expected, abs=1e-9)
    assert loss(3 * one, 0.1 * other).item() == pytest.approx(expected, abs=1e-9)


def _features(batch=6, length=9, seed=0):
    return torch.randn(2, batch, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_loops_with_groups():
    one, other = _features()
    groups = torch.tensor([0, 0, 1, 2, 2, 3])
    z = [F.normalize(row, dim=0) for row in [*one, *other]]
    total = 0.0
    for i in range(12):
        positive = float(z[i] @ z[(i + 6) % 12]) / 0.2
        others = [j for j in range(12) if groups[j % 6] != groups[i % 6]]
        terms = [math.exp(positive - 0.3)] + [math.exp(float(z[i] @ z[j]) / 0.2) for j in others]
        total += math.log(sum(terms)) - positive
    assert EpsilonInfoNCE(0.2, 0.3)(one, other, groups).item() == pytest.approx(total / 12, abs=1e-10)


def test_without_margin_it_is_cross_entropy_and_monais_loss():
    one, other = _features()
    found = EpsilonInfoNCE(0.5, 0)(one, other)
    z = F.normalize(torch.cat([one, other]), dim=1)
    logits = (z @ z.T / 0.5).fill_diagonal_(-torch.inf)
    torch.testing.assert_close(found, F.cross_entropy(logits, torch.arange(12).roll(6)))
    torch.testing.assert_close(found.float(), MonaiContrastiveLoss(0.5)(one.float(), other.float()))


def test_views_and_order_may_be_exchanged_but_not_partners():
    one, other = _features()
    loss, order = EpsilonInfoNCE(), torch.tensor([3, 1, 0, 5, 2, 4])
    torch.testing.assert_close(loss(one, other), loss(other, one))
    torch.testing.assert_close(loss(one, other), loss(one[order], other[order]))
    near = one + 0.1 * other
    assert loss(one, near.roll(1, 0)) > loss(one, near) + 1


def test_small_temperature_stays_finite_in_single_precision():
    one, other = (_angles(0, 90).float(), _angles(180, 270).float())
    one.requires_grad_()
    loss = EpsilonInfoNCE(0.001, 0.5)(one, other)
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(one.grad).all()


def test_wrong_settings_and_single_slices_are_refused():
    with pytest.raises(ConfigError, match="batch_size must be at least 2"):
        EpsilonInfoNCE()(torch.ones(1, 3), torch.ones(1, 3))
    for wrong in ({"temperature": 0}, {"epsilon": -1}):
        with pytest.raises(ConfigError, match="temperature > 0"):
            EpsilonInfoNCE(**wrong)


def test_spread_falls_to_zero_in_a_collapse():
    features = _features(batch=500)[0]
    values = [feature_spread(t * features + (1 - t) * 50).item() for t in (1, 0.9, 0.5, 0)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.99
    assert values[-1] < 1e-3


ACTIVE = torch.tensor([[[[True, False, False], [False, True, False], [False, False, True]]]]).repeat(4, 1, 1, 1)


ENCODER = partial(ResNet, "basic", [1, 1, 1, 1], [16, 16, 16, 16], spatial_dims=2, n_input_channels=1, conv1_t_stride=2)
ALONE = partial(ENCODER, feed_forward=False)
SPARK = partial(SparK, ENCODER, 32)


@pytest.fixture(autouse=True)
def _equal_weights():
    torch.manual_seed(0)


@pytest.mark.parametrize(("view", "cells"), [("dense", 9), ("masked", 3)])
def test_published_original_view_shows_three_cells_and_ours_all(view, cells):
    network = ContrastiveEncoder(SPARK, original_view=view, pool="active")
    seen = []
    network._pooled = lambda features, active: seen.append((features != 0).any(dim=1).sum((1, 2))) or features
    network(torch.rand(4, 1, 96, 96), ACTIVE)
    assert seen[0].tolist() == [cells] * 4  # the clean view
    assert seen[1].tolist() == [3] * 4


def test_pooling_over_active_cells_or_all():
    images = torch.rand(4, 1, 96, 96)
    network, other = ContrastiveEncoder(ALONE).eval(), ContrastiveEncoder(ALONE, pool="all").eval()
    other.load_state_dict(network.state_dict())
    active, everywhere = network(images, ACTIVE), other(images, ACTIVE)
    torch.testing.assert_close(active.other, 3 * everywhere.other)  # 9 cells, 3 active
    torch.testing.assert_close(active.one, everywhere.one)
    torch.testing.assert_close(active.one, network.encoder(images), atol=1e-5, rtol=1e-4)


def test_augmented_view_is_seen_by_the_second_branch_alone():
    network = ContrastiveEncoder(ALONE).eval()
    images = torch.rand(4, 1, 96, 96)
    plain, augmented = network(images, ACTIVE), network(images, ACTIVE, view=images.flip(2))
    assert torch.equal(plain.one, augmented.one)
    assert not torch.allclose(plain.other, augmented.other)


def test_loss_is_the_sum_and_reaches_all_parameters():
    network = ContrastiveEncoder(SPARK, projection_dim=5)
    reconstruction, contrast = MaskedReconstructionLoss(), EpsilonInfoNCE()
    images = torch.rand(4, 1, 96, 96)
    output = network(images, ACTIVE, groups=torch.tensor([0, 0, 1, 2]))
    loss = ContrastiveLoss(reconstruction, contrast, weight=0.25)(output, images)
    expected = masked_loss(output, images, reconstruction) + 0.25 * contrast(output.one, output.other, output.groups)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
    assert 0 < spread(output) < 1


def test_encoder_alone_has_contrast_alone():
    output = ContrastiveEncoder(ALONE)(torch.rand(4, 1, 96, 96), ACTIVE)
    contrast = EpsilonInfoNCE()
    loss = ContrastiveLoss(MaskedReconstructionLoss(), contrast, weight=1)(output, torch.zeros(1))
    assert loss == contrast(output.one, output.other)
    with pytest.raises(ConfigError, match="without reconstruction"):
        masked_loss(output, torch.zeros(1), MaskedReconstructionLoss())


def test_wrong_views_and_outputs_are_refused():
    with pytest.raises(ConfigError, match="original_view"):
        ContrastiveEncoder(ALONE, original_view="erased")
    with pytest.raises(ConfigError, match="needs the output of ContrastiveEncoder"):
        ContrastiveLoss(MaskedReconstructionLoss(), EpsilonInfoNCE())(torch.zeros(1), torch.zeros(1))

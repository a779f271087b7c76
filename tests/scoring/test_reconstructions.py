# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from custom.core.errors import ConfigError, DataError
from custom.scoring import (
    MahalanobisDistance,
    Product,
    Reconstructions,
    RestorationResidual,
    SSIMEnsemble,
    l1,
    l2,
    mask_probability,
)


def _case(n=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(8, 9, 5, generator=generator, dtype=dtype)
    return image, torch.rand(n, 8, 9, 5, generator=generator, dtype=dtype)


@pytest.mark.parametrize("score", [l1, l2, SSIMEnsemble((0.5, 1.1))])
def test_scores_of_pairs_take_the_mean(score):
    image, volumes = _case()
    assert torch.equal(score(image, Reconstructions(volumes)), score(image, volumes.mean(0)))
    assert torch.equal(score(image, Reconstructions(volumes[:1])), score(image, volumes[0]))


def test_channels_are_taken_apart():
    _, volumes = _case()
    with_mask = Reconstructions.from_channels(volumes, has_mask_channel=True)
    assert torch.equal(with_mask.volumes, volumes[:2])
    assert torch.equal(with_mask.required_mask, volumes[2])
    without = Reconstructions.from_channels(volumes)
    assert without.mask_probability is None
    with pytest.raises(ConfigError, match="needs the mask"):
        mask_probability(volumes[0], without)
    with pytest.raises(DataError, match="n >= 1"):
        Reconstructions(volumes[:0])


def test_restoration_residuals_by_hand():
    image, volumes = _case()
    change = [volume - image for volume in volumes]
    expected = {
        "any": sum(c.abs() for c in change) / 3,
        "dark": sum(c.clamp(min=0) for c in change) / 3,
        "bright": sum((-c).clamp(min=0) for c in change) / 3,
    }
    for direction, value in expected.items():
        torch.testing.assert_close(RestorationResidual(direction)(image, Reconstructions(volumes)), value)
    torch.testing.assert_close(RestorationResidual()(image, volumes[0]), l1(image, volumes[0]))
    with pytest.raises(ConfigError, match="direction"):
        RestorationResidual("up")


def test_a_product_composes_with_the_mask():
    image, volumes = _case()
    given = Reconstructions(volumes, volumes[0])
    torch.testing.assert_close(Product([l1, mask_probability])(image, given), l1(image, given) * volumes[0])


@pytest.mark.parametrize(("n", "variance"), [(2, 1e-3), (3, 1e-2), (7, 1e-3)])
def test_mahalanobis_equals_the_dense_formula(n, variance):
    image, volumes = _case(n, torch.float64)
    found = MahalanobisDistance(variance)(image, Reconstructions(volumes))
    for z in range(image.shape[-1]):
        draws = volumes[..., z].reshape(n, -1)
        covariance = torch.cov(draws.T) + variance * torch.eye(draws.shape[1], dtype=torch.float64)
        difference = image[..., z].reshape(-1) - draws.mean(0)
        dense = (difference * torch.linalg.solve(covariance, difference)).abs()
        torch.testing.assert_close(found[..., z].reshape(-1), dense, atol=1e-8, rtol=1e-8)


def test_mahalanobis_in_single_precision_and_its_needs():
    image, volumes = _case(4, torch.float64)
    exact = MahalanobisDistance(1e-2)(image, Reconstructions(volumes))
    single = MahalanobisDistance(1e-2)(image.float(), Reconstructions(volumes.float()))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=1e-3)
    with pytest.raises(DataError, match="2 or more"):
        MahalanobisDistance()(image, volumes[0])
    with pytest.raises(ConfigError, match="positive"):
        MahalanobisDistance(0.0)


def test_a_varying_place_counts_less_than_a_steady_one():
    """Two pixels differ by the same amount; the reconstructions disagree about one of them."""
    volumes = torch.full((5, 2, 1, 1), 0.5)
    volumes[:, 0] += torch.linspace(-0.2, 0.2, 5).view(5, 1, 1)
    score = MahalanobisDistance(1e-3)(torch.full((2, 1, 1), 0.7), Reconstructions(volumes))
    assert score[1] > 5 * score[0]

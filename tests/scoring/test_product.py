# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from custom.core.errors import ConfigError
from custom.scoring import Product, SSIMEnsemble, l1, l2


def test_product_of_ensemble_and_residual_is_the_product_of_the_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    image, reconstruction = (torch.rand(2, 1, 7, 8, 9, generator=generator) for _ in range(2))
    ensemble = SSIMEnsemble([0.5, 0.9])
    product = Product([ensemble, l1])(image, reconstruction)
    assert torch.equal(product, ensemble(image, reconstruction) * (image - reconstruction).abs())
    assert float(product.min()) >= 0
    assert torch.equal(Product([ensemble, l1])(image[1, 0], reconstruction[1, 0]), product[1, 0])


def test_one_and_three_factors() -> None:
    image, reconstruction = torch.full((2, 2, 2), 0.5), torch.zeros(2, 2, 2)
    assert torch.equal(Product([l1])(image, reconstruction), torch.full((2, 2, 2), 0.5))
    assert torch.equal(Product([l1, l2, l1])(image, reconstruction), torch.full((2, 2, 2), 0.5**4))


def test_no_factor_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one score"):
        Product([])

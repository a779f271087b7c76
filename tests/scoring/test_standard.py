# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
import torch

from custom.core.errors import ConfigError
from custom.scoring import StandardScore


def test_residual_in_deviations_with_a_floor():
    deviation = torch.tensor([[[0.2, 0.0]]])
    score = StandardScore(0.05).bind(SimpleNamespace(deviation=deviation))
    image, mean = torch.tensor([[[0.9, 0.1]]]), torch.tensor([[[0.5, 0.0]]])
    torch.testing.assert_close(score(image, mean), torch.tensor([[[2.0, 2.0]]]))
    torch.testing.assert_close(score(mean, image), score(image, mean))
    assert torch.equal(score(image[None, None], mean[None, None])[0, 0], score(image, mean))
    assert torch.equal(deviation, torch.tensor([[[0.2, 0.0]]]))  # the atlas itself stays as it was


def test_healthy_scans_have_unit_second_moment():
    scans = torch.randn(4000, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.5
    score = StandardScore(0.05).bind(SimpleNamespace(deviation=scans.std(dim=0)))
    moment = torch.stack([score(scan, scans.mean(dim=0)) for scan in scans[:500]]).square().mean()
    assert abs(float(moment) - 1) < 0.05


@pytest.mark.parametrize("floor", [0.0, -1.0, float("nan")])
def test_floor_must_be_positive(floor):
    with pytest.raises(ConfigError, match="minimum_deviation"):
        StandardScore(floor)

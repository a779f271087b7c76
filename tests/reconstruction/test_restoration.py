# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from custom.core.errors import ConfigError
from custom.models.restoration_network import RestorationNetwork
from custom.reconstruction.anomaly import AnomalyInferer
from custom.reconstruction.cached import CachedReconstruction
from custom.reconstruction.restoration import RestorationInferer
from custom.scoring import RestorationResidual, mask_probability


class _Recorder(nn.Module):
    """Residual = severity x mean of the slab; logit = height."""

    neighbours = 1

    def forward(self, slabs, severity, heights):
        rows = (len(slabs), 1, *slabs.shape[2:])
        residual = severity.view(-1, 1, 1, 1) * slabs.mean(1, keepdim=True)
        return torch.cat([residual, heights.view(-1, 1, 1, 1).float().expand(rows)], dim=1)


def _volumes(batch=1):
    return torch.rand(batch, 1, 32, 32, 6, generator=torch.Generator().manual_seed(0))


def test_restorations_per_severity_and_a_mask():
    volumes = _volumes(2)
    found = RestorationInferer((0.5, 1.0), slice_batch_size=4)(volumes, _Recorder())
    assert found.shape == (2, 3, 32, 32, 6)
    padded = torch.cat([volumes[..., :1], volumes, volumes[..., -1:]], dim=-1)[:, 0]
    mean = (padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]) / 3
    for channel, severity in enumerate((0.5, 1.0)):
        torch.testing.assert_close(found[:, channel], volumes[:, 0] + severity * mean)
    torch.testing.assert_close(found[:, 2], torch.arange(6.0).sigmoid().expand(2, 32, 32, 6))


def test_the_batch_of_slices_changes_nothing_but_rounding():
    torch.manual_seed(0)
    network = RestorationNetwork((32, 32, 6), channels=(8, 16, 16), groups=4).eval()
    one, all_at_once = (RestorationInferer((0.4, 0.9), slice_batch_size=n)(_volumes(), network) for n in (1, 6))
    torch.testing.assert_close(one, all_at_once, atol=1e-5, rtol=1e-4)


def test_cache_and_anomaly_inferer_carry_all_channels(tmp_path):
    cached = CachedReconstruction(RestorationInferer((0.5, 1.0), slice_batch_size=4), tmp_path, {"a": 1})
    assert cached.has_mask_channel
    first, second = (cached(_volumes(), _Recorder(), ["case"]) for _ in range(2))
    assert torch.equal(first, second)

    class _Same:
        def prepare(self, anomaly_map, mask, spacing_mm):
            return anomaly_map

    inputs = torch.cat([_volumes(), torch.ones(1, 1, 32, 32, 6)], dim=1)
    for score in (RestorationResidual("dark"), mask_probability):
        found = AnomalyInferer(cached, score, _Same(), return_reconstruction=True)(inputs, _Recorder())
        assert found.shape == (1, 2, 32, 32, 6)
        torch.testing.assert_close(found[0, 1], first[0, :2].mean(0))
    torch.testing.assert_close(found[0, 0], first[0, 2])


def test_severities_must_make_sense():
    with pytest.raises(ConfigError, match="severities must lie"):
        RestorationInferer((0.0, 0.5), slice_batch_size=1)

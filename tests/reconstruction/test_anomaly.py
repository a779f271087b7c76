# SPDX-License-Identifier: Apache-2.0
"""The inferer is the chain written out, keeps nothing, and treats every scan alike in any batch."""

import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import DiffusionModelUNet

from custom.core.errors import DataError
from custom.models.noise_scheduler import NoiseDDPMScheduler
from custom.noise import GaussianNoise
from custom.postprocessing import PostProcessing
from custom.reconstruction.anomaly import AnomalyInferer
from custom.reconstruction.partial_diffusion import PartialDiffusionInferer
from custom.scoring import l1

pytestmark = [
    pytest.mark.fault(62),
]

SHAPE = (32, 32, 4)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    net = DiffusionModelUNet(2, 1, 1, (1,), (32,), (False,), norm_num_groups=32, num_head_channels=32)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)  # a fresh one returns zeros whatever it sees
    return net.eval()


@pytest.fixture
def parts() -> tuple:
    noise = GaussianNoise()
    scheduler = NoiseDDPMScheduler(noise, 100, "cosine", "sample")
    chain = PostProcessing(("mask", "erosion"), erosion_iterations=2)
    return PartialDiffusionInferer(scheduler, noise, test_timesteps=50, seed=7, slice_batch_size=4), chain


def scans(count: int) -> torch.Tensor:
    images = torch.rand(count, 1, *SHAPE, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(count, 1, *SHAPE)
    masks[:, :, 4:28, 6:26] = 1
    return torch.cat([images * masks, masks], dim=1)


def test_is_the_chain_written_out(network, parts) -> None:
    reconstruction, chain = parts
    inputs = scans(1)
    found = AnomalyInferer(reconstruction, l1, chain, return_reconstruction=True)(inputs, network)
    image = inputs[0, 0]
    healthy = reconstruction(image[None, None], network, ["scan"])[0, 0]
    expected = torch.zeros(SHAPE)
    expected[6:26, 8:24] = (image - healthy).abs()[6:26, 8:24]
    assert torch.equal(found[0, 0], expected)
    assert torch.equal(found[0, 1], healthy)


def test_batch_and_order_change_nothing(network, parts) -> None:
    inferer = AnomalyInferer(parts[0], l1, parts[1])
    inputs = scans(3)
    together = inferer(inputs, network)
    for index in (2, 0, 1):
        assert torch.allclose(inferer(inputs[index : index + 1], network)[0], together[index], atol=1e-6)


def test_noise_key_counts(network, parts) -> None:
    maps = [AnomalyInferer(parts[0], l1, parts[1], noise_key=key)(scans(1), network) for key in ("scan", "scan", "b")]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])


def test_metadata_stays(network, parts) -> None:
    inputs = MetaTensor(scans(1)[0], affine=torch.diag(torch.tensor([2.0, 2, 2, 1])), meta={"case": "x"})[None]
    found = AnomalyInferer(parts[0], l1, parts[1])(inputs, network)
    assert isinstance(found, MetaTensor)
    assert found.shape == (1, 1, *SHAPE)
    assert found.meta["case"] == "x"


def test_scan_without_mask_channel_is_refused(network, parts) -> None:
    with pytest.raises(DataError, match="image and brain mask"):
        AnomalyInferer(parts[0], l1, parts[1])(scans(1)[:, :1], network)

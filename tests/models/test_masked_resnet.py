# SPDX-License-Identifier: Apache-2.0
"""The walk over a ResNet with masked cells, against the network itself: dense, cropped, perturbed."""

import copy

import pytest
import torch
from monai.networks.nets import ResNet
from torch import nn

from custom.core.errors import ConfigError
from custom.models.masked_resnet import masked_features, masked_norm, total_stride, upsampled

KINDS = {
    "basic": {"block": "basic", "layers": [2, 1, 1, 1], "block_inplanes": [16, 16, 16, 16]},
    "bottleneck": {"block": "bottleneck", "layers": [1, 2, 1, 1], "block_inplanes": [16, 16, 16, 16]},
    "padded shortcut": {
        "block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [16, 16, 16, 16], "shortcut_type": "A",
    },
}  # fmt: skip


@pytest.fixture(params=KINDS)
def encoder(request):
    torch.manual_seed(0)
    network = ResNet(
        **KINDS[request.param], spatial_dims=2, n_input_channels=1, conv1_t_stride=2, bias_downsample=False,
        feed_forward=False,
    )  # fmt: skip
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # an untrained one would hide wrong parameters and statistics
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


def _stock_features(network, x):
    x = network.maxpool(network.act(network.bn1(network.conv1(x))))
    features = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = layer(x)
        features.append(x)
    return features


ACTIVE = torch.tensor([[[[True, False, False], [False, True, False], [False, False, False]]],
                       [[[False, False, True], [True, True, False], [False, False, False]]]])  # fmt: skip


def test_all_active_is_the_ordinary_network(encoder):
    images = torch.rand(2, 1, 96, 96)
    twin = copy.deepcopy(encoder)
    for training in (False, True):
        encoder.train(training)
        twin.train(training)
        found = masked_features(encoder, images, torch.ones(2, 1, 3, 3, dtype=torch.bool))
        for one, other in zip(found, _stock_features(twin, images), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for name, value in encoder.state_dict().items():  # the running statistics were learned alike
        torch.testing.assert_close(value, twin.state_dict()[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_masked_pixels_change_nothing(encoder, training):
    encoder.train(training)
    images = torch.rand(2, 1, 96, 96)
    twin = copy.deepcopy(encoder)
    perturbed = torch.where(upsampled(ACTIVE, images), images, 100 * images).requires_grad_()
    for one, other in zip(
        masked_features(encoder, images, ACTIVE), masked_features(twin, perturbed, ACTIVE), strict=True
    ):
        assert torch.equal(one, other)
        assert not (one * ~upsampled(ACTIVE, one)).any()
        assert (one * upsampled(ACTIVE, one)).any()
    sum(f.square().sum() for f in masked_features(twin, perturbed, ACTIVE)).backward()
    assert not perturbed.grad[~upsampled(ACTIVE, images)].any()
    assert perturbed.grad[upsampled(ACTIVE, images)].any()


@pytest.mark.parametrize("training", [False, True])
def test_isolated_cell_is_the_ordinary_network_on_its_crop(encoder, training):
    encoder.train(training)
    twin = copy.deepcopy(encoder)
    images = torch.rand(2, 1, 96, 96)
    active = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    active[:, 0, 1, 2] = True
    expected = _stock_features(twin, images[..., 32:64, 64:96])
    for found, crop in zip(masked_features(encoder, images, active), expected, strict=True):
        edge = found.shape[-1] // 3
        torch.testing.assert_close(found[..., edge : 2 * edge, 2 * edge :], crop, rtol=1e-4, atol=1e-4)


def test_norm_is_batch_norm_over_the_gathered_positions():
    torch.manual_seed(1)
    x = torch.randn(2, 5, 6, 6, dtype=torch.float64)
    found_norm, rows_norm = nn.BatchNorm2d(5).double(), nn.BatchNorm1d(5).double()
    chosen = upsampled(ACTIVE, x)[:, 0]
    found = masked_norm(found_norm, x, ACTIVE)
    expected = rows_norm(torch.stack([x[b, :, i, j] for b, i, j in chosen.nonzero().tolist()]))
    assert torch.equal(torch.stack([found[b, :, i, j] for b, i, j in chosen.nonzero().tolist()]), expected)
    assert torch.equal(found_norm.running_mean, rows_norm.running_mean)
    assert torch.equal(found_norm.running_var, rows_norm.running_var)
    assert found_norm.num_batches_tracked == 1
    assert not found.permute(0, 2, 3, 1)[~chosen].any()


def test_mask_finer_than_the_encoder_is_refused(encoder):
    with pytest.raises(ConfigError, match="6 x 6 cells does not fit a feature map of 3 x 3"):
        masked_features(encoder, torch.rand(1, 1, 96, 96), torch.ones(1, 1, 6, 6, dtype=torch.bool))


def test_total_stride_is_what_the_network_does(encoder):
    assert 96 // total_stride(encoder) == _stock_features(encoder, torch.rand(2, 1, 96, 96))[-1].shape[-1]

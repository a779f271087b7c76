# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from custom.core.errors import ConfigError
from custom.models.kascenas_unet import KascenasUNet, WeightStandardizedConv2d, groups_of

SMALL = (8, 16, 32)


def test_parameter_count_of_the_paper():
    # 7,701,825: summed by hand over the layers of github.com/AntanasKascenas/DenoisingAE, one channel in and out
    assert sum(parameter.numel() for parameter in KascenasUNet().parameters()) == 7_701_825


def test_filters_are_standardised_analytically():
    convolution = WeightStandardizedConv2d(1, 1, kernel_size=(1, 3), bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([3.0, 5.0, 7.0]).reshape(1, 1, 1, 3))  # mean 5, unbiased deviation 2
    torch.testing.assert_close(
        convolution.standardized_weight().flatten(), torch.tensor([-1.0, 0.0, 1.0]), rtol=1e-5, atol=1e-6
    )
    row = torch.tensor([[[[1.0, 4.0, 9.0, 16.0]]]])
    torch.testing.assert_close(convolution(row).flatten(), torch.tensor([8.0, 12.0]), rtol=1e-5, atol=0)


def test_every_filter_of_the_network_has_mean_0_and_deviation_1():
    torch.manual_seed(0)
    modules = KascenasUNet(channels=SMALL).modules()
    filters = [m.standardized_weight() for m in modules if isinstance(m, WeightStandardizedConv2d)]
    assert len(filters) == 2 * 5
    for weight in filters:
        rows = weight.flatten(1)
        torch.testing.assert_close(rows.mean(1), torch.zeros(len(rows)), atol=1e-5, rtol=0)
        torch.testing.assert_close(rows.std(1), torch.ones(len(rows)), atol=1e-3, rtol=0)


def test_output_is_invariant_to_shift_and_scale_of_a_filter():
    torch.manual_seed(0)
    net, x = KascenasUNet(channels=(4, 8)).eval(), torch.rand(1, 1, 8, 8)
    before = net(x)
    with torch.no_grad():
        net.down[0][0].weight.mul_(3.0).add_(0.7)
    torch.testing.assert_close(net(x), before, rtol=1e-3, atol=1e-4)


def test_constant_filters_do_not_divide_by_zero():
    convolution = WeightStandardizedConv2d(2, 1, kernel_size=3, bias=False)
    nn.init.constant_(convolution.weight, 0.3)
    assert convolution(torch.rand(1, 2, 5, 5)).abs().max() < 1e-1


def test_block_against_its_definition():
    torch.manual_seed(0)
    block, x = KascenasUNet(channels=(8, 16)).down[1], torch.rand(2, 8, 6, 6)
    expected = x
    for convolution, norm in ((block[0], block[2]), (block[3], block[5])):
        weight = convolution.weight - convolution.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.flatten(1).std(1).reshape(-1, 1, 1, 1) + 1e-5)
        expected = F.conv2d(F.pad(expected, (1, 1, 1, 1), mode="reflect"), weight, convolution.bias)
        expected = F.group_norm(expected * expected.sigmoid(), 4, norm.weight, norm.bias)
    torch.testing.assert_close(block(x), expected)


def test_pooling_averages_and_skips_come_before_the_upsampled_channels():
    torch.manual_seed(0)
    net, x = KascenasUNet(channels=(8, 16)), torch.rand(1, 1, 8, 8)
    top = net.down[0](x)
    pooled = top.reshape(1, 8, 4, 2, 4, 2).mean((3, 5))
    up = F.conv_transpose2d(net.down[1](pooled), net.upsample[0].deconv.weight, net.upsample[0].deconv.bias, stride=2)
    torch.testing.assert_close(net(x), net.output(net.up[0](torch.cat([top, up], 1))))


def test_groups_per_level():
    groups = [module.num_groups for module in KascenasUNet().down.modules() if isinstance(module, nn.GroupNorm)]
    assert groups == [8, 8, 16, 16, 16, 16, 32, 32]
    assert all(channels % groups_of(channels) == 0 for channels in range(1, 200))


@pytest.mark.parametrize(
    ("shape", "channels"), [((2, 1, 16, 24), SMALL), ((1, 3, 8, 8), SMALL), ((1, 1, 4, 6), (6, 10))]
)
def test_shape_is_kept(shape, channels):
    assert KascenasUNet(shape[1], 2, channels)(torch.rand(shape)).shape == (shape[0], 2, *shape[2:])


@pytest.mark.parametrize("size", [(16, 18), (15, 16), (4, 16)])
def test_sizes_that_cannot_be_halved_are_refused(size):
    with pytest.raises(ConfigError, match="multiples of 4"):
        KascenasUNet(channels=SMALL)(torch.rand(1, 1, *size))


def test_one_level_is_refused():
    with pytest.raises(ConfigError, match="two or more"):
        KascenasUNet(channels=(8,))


def test_overfits_one_batch_of_denoising():
    torch.manual_seed(0)
    net = KascenasUNet(channels=(8, 16))
    clean = torch.rand(2, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    noisy = clean + 0.2 * torch.randn_like(clean)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        loss = F.mse_loss(net(noisy), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * F.mse_loss(noisy, clean).item()

# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from custom.core.errors import ConfigError
from custom.models.baur_autoencoder import BaurAutoencoder, VariationalOutput


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _small(**kwargs) -> BaurAutoencoder:
    torch.manual_seed(0)
    return BaurAutoencoder(**{"image_size": 32, "latent_size": 8, "min_channels": 4, "max_channels": 16} | kwargs)


@pytest.mark.parametrize(("edge", "levels"), [(96, 3), (128, 4)])
@pytest.mark.parametrize("variational", [False, True])
def test_parameter_count_is_the_sum_over_the_papers_layers(edge, levels, variational):
    down = [1] + [min(128, 32 * 2**i) for i in range(levels)]
    up = [128] + [max(32, 128 // 2**i) for i in range(levels)]
    features = 16 * (edge // 2**levels) ** 2
    convolutions = sum(25 * a * b + b + 2 * b for path in (down, up) for a, b in pairwise(path))
    dense = (1 + variational) * (features * 128 + 128) + (128 * features + features)
    bottleneck = (128 * 16 + 16) + dense + (16 * 128 + 128)
    expected = convolutions + bottleneck + 2 * 128 + (32 + 1)
    assert _count(BaurAutoencoder(edge, variational=variational)) == expected


def test_parameter_counts_of_the_documentation():
    assert _count(BaurAutoencoder(96)) == 1_520_529
    assert _count(BaurAutoencoder(128)) == 1_627_249
    assert _count(BaurAutoencoder(96, variational=True)) == 1_520_529 + 295_040


@pytest.mark.parametrize("size", [16, 32, 64, (32, 48), (96, 80)])
def test_shape_is_kept(size):
    height, width = (size, size) if isinstance(size, int) else size
    slices = torch.rand(2, 1, height, width)
    assert _small(image_size=size).eval()(slices).shape == slices.shape


@pytest.mark.parametrize("size", [8, 15, (64, 33), (32, 32, 32)])
def test_impossible_sizes_are_refused_with_a_remedy(size):
    with pytest.raises(ConfigError, match="multiples of"):
        BaurAutoencoder(size)


def test_slices_of_another_size_are_refused():
    with pytest.raises(ConfigError, match="resample"):
        _small()(torch.rand(1, 1, 32, 48))


def _tensorflow_same(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The padding of TensorFlow's "same" as its documentation defines it, for odd kernels and stride 2."""
    size, kernel = x.shape[-1], weight.shape[-1]
    total = max((-(-size // 2) - 1) * 2 + kernel - size, 0)
    before = total // 2
    return F.conv2d(F.pad(x, [before, total - before] * 2), weight, stride=2)


def test_padding_is_tensorflows_same_on_mirrored_images():
    convolution = _small().encoder[1].conv
    x = torch.rand(1, 4, 16, 16)
    weight = convolution.weight.detach()
    ours = F.conv2d(x, weight, None, convolution.stride, convolution.padding)
    theirs = _tensorflow_same(x.flip(2, 3), weight.flip(2, 3)).flip(2, 3)
    torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(ours, _tensorflow_same(x, weight))  # unmirrored they differ


def test_transposed_padding_is_tensorflows_same_on_mirrored_images():
    convolution = _small().decoder[2].conv
    weight = convolution.weight.detach()
    x = torch.rand(1, weight.shape[0], 8, 8)
    ours = convolution(x) - convolution.bias[:, None, None]
    # TensorFlow defines conv2d_transpose as the gradient of conv2d with respect to its input.
    zeros = torch.zeros(1, weight.shape[1], 16, 16, requires_grad=True)
    theirs = torch.autograd.grad(_tensorflow_same(zeros, weight.flip(2, 3)), zeros, x.flip(2, 3))[0].flip(2, 3)
    torch.testing.assert_close(ours, theirs)


def test_leaky_slope_and_order_of_the_layers():
    names = [type(layer).__name__ for layer in _small().modules() if not list(layer.children())]
    unit = ["BatchNorm2d", "LeakyReLU"]
    bottleneck = ["Conv2d", "Linear", "Linear", "Dropout", "Unflatten", "Conv2d"]
    decoder = ["BatchNorm2d", "ReLU", *(["ConvTranspose2d", *unit] * 2), "Conv2d"]
    assert names == [*(["Conv2d", *unit] * 2), *bottleneck, *decoder]
    assert {layer.negative_slope for layer in _small().modules() if isinstance(layer, nn.LeakyReLU)} == {0.3}


def test_everything_passes_through_the_latent_vector():
    net = _small(latent_size=3).eval().double()
    jacobian = torch.func.jacrev(lambda x: net(x[None])[0].flatten())(torch.rand(1, 32, 32, dtype=torch.float64))
    assert torch.linalg.matrix_rank(jacobian.reshape(1024, 1024), rtol=1e-9) == 3


def test_dropout_only_in_training():
    net, slices = _small(), torch.rand(2, 1, 32, 32)
    assert torch.equal(net.eval()(slices), net(slices))
    net.train()
    assert not torch.equal(net(slices), net(slices))


@pytest.mark.parametrize(("variational", "shapes"), [(False, [(2, 8), (2, 64)]), (True, [(2, 64)])])
def test_dropout_follows_the_dense_layers(variational, shapes):
    net, seen = _small(variational=variational), []
    net.dropout.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    net(torch.rand(2, 1, 32, 32))
    assert seen == shapes  # z, except of the variational network, and the dense layer back to 1 x 8 x 8


def test_variational_evaluation_decodes_the_mean():
    net, slices = _small(variational=True, dropout=0.0).eval(), torch.rand(2, 1, 32, 32)
    plain = net(slices)
    assert torch.is_tensor(plain)
    torch.testing.assert_close(plain, net.decode(net.to_latent(net.squeeze(net.encoder(slices)).flatten(1))))
    assert torch.equal(plain, net(slices))


def test_variational_samples_have_the_predicted_mean_and_deviation(monkeypatch):
    net = _small(variational=True, latent_size=2, dropout=0.0)
    with torch.no_grad():
        net.to_latent.weight.zero_(), net.to_log_sigma.weight.zero_()
        net.to_latent.bias.copy_(torch.tensor([1.0, -2.0]))
        net.to_log_sigma.bias.copy_(torch.tensor([0.5, 3.0]).log())
    seen = []
    monkeypatch.setattr(net, "decode", lambda z: seen.append(z.detach()) or z)
    output = net(torch.rand(1, 1, 32, 32).expand(4000, -1, -1, -1), torch.Generator().manual_seed(1))
    assert isinstance(output, VariationalOutput)
    assert output.mu.shape == output.log_sigma.shape == (4000, 2)
    torch.testing.assert_close(seen[0].mean(0), torch.tensor([1.0, -2.0]), atol=0.2, rtol=0)
    torch.testing.assert_close(seen[0].std(0), torch.tensor([0.5, 3.0]), rtol=0.05, atol=0)


def test_sampling_is_a_function_of_the_generator():
    net, slices = _small(variational=True, dropout=0.0), torch.rand(2, 1, 32, 32)
    first, again, other = (net(slices, torch.Generator().manual_seed(seed)).reconstruction for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_overfits_one_batch():
    net = _small(latent_size=16, dropout=0.0)
    slices = torch.rand(2, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = F.l1_loss(net(slices), slices)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]

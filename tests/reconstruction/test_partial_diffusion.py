# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch
from monai.networks.nets import DiffusionModelUNet

from custom.core.errors import ConfigError, DataError
from custom.models.noise_scheduler import NoiseDDPMScheduler
from custom.noise import GaussianNoise, SimplexNoise
from custom.reconstruction.partial_diffusion import PartialDiffusionInferer
from custom.reconstruction.slicewise import SlicewiseReconstruction

pytestmark = [
    pytest.mark.fault(62, "order or company of cases", "changes no map", "foreseen"),
]

SIMPLEX = SimplexNoise(3, 0.8, 8, normalize=True, per_sample=True, random_origin=True)


def _scheduler(prediction_type="sample", noise=SIMPLEX):
    return NoiseDDPMScheduler(noise, 1000, "cosine_float64", prediction_type)


def _inferer(test_timesteps=500, scheduler=None, noise=SIMPLEX, slice_batch_size=4, **kwargs):
    return PartialDiffusionInferer(scheduler or _scheduler(), noise, test_timesteps, 7, slice_batch_size, **kwargs)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = DiffusionModelUNet(
        spatial_dims=2, in_channels=1, out_channels=1, channels=(8, 8), num_res_blocks=1, norm_num_groups=4,
        attention_levels=(False, False), num_head_channels=8,
    ).eval()  # fmt: skip
    torch.nn.init.normal_(network.out[-1].conv.weight, std=0.1)  # a fresh network's last layer is zero
    return network


@pytest.fixture
def volumes():
    return torch.rand(3, 1, 16, 16, 6, generator=torch.Generator().manual_seed(0))


class _KnowsTheClean(torch.nn.Module):
    """Returns x0 whatever the noise: the perfect network of the one-step test."""

    def __init__(self, clean):
        super().__init__()
        self.clean = clean
        self.seen = []

    def forward(self, x, timesteps):
        self.seen.append((x.clone(), timesteps.clone()))
        return self.clean[sum(len(s) for s, _ in self.seen[:-1]) % len(self.clean) :][: len(x)]


def test_perfect_network_gives_the_image_back(volumes):
    clean = volumes[0, 0].permute(2, 0, 1)[:, None] * 2 - 1
    network = _KnowsTheClean(clean)
    torch.testing.assert_close(_inferer()(volumes[:1], network, ["a"]), volumes[:1])
    noisy = torch.cat([x for x, _ in network.seen])
    assert {int(t) for _, steps in network.seen for t in steps} == {499}  # test_timesteps 500 is index 499
    residual = (noisy - 0.702740 * clean) / 0.711447  # the schedule's values at 499
    from custom.core.seeding import generator_for

    expected = replace(SIMPLEX, samples_per_origin=1)(clean, generator_for(7, "reconstruction", "a", 500))
    torch.testing.assert_close(residual, expected, rtol=0, atol=1e-4)


def test_order_and_company_never_change_a_map(network, volumes):
    whole = _inferer()(volumes, network, ["a", "b", "c"])
    turned = _inferer()(volumes.flip(0), network, ["c", "b", "a"]).flip(0)
    alone = _inferer()(volumes[1:2], network, ["b"])
    assert torch.equal(whole, turned)
    assert torch.equal(whole[1:2], alone)


def test_batch_size_changes_rounding_only(network, volumes):
    small, large = (_inferer(slice_batch_size=n)(volumes[:1], network, ["a"]) for n in (1, 6))
    torch.testing.assert_close(small, large, rtol=0, atol=1e-5)


def test_noise_depends_on_case_and_seed(network, volumes):
    first = _inferer()(volumes[:1], network, ["a"])
    assert not torch.equal(first, _inferer()(volumes[:1], network, ["b"]))
    other_seed = PartialDiffusionInferer(_scheduler(), SIMPLEX, 500, 8, 4)
    assert not torch.equal(first, other_seed(volumes[:1], network, ["a"]))


def test_several_t_are_averaged(network, volumes):
    single = [_inferer(t)(volumes[:1], network, ["a"]) for t in (250, 500, 750)]
    torch.testing.assert_close(_inferer([250, 500, 750])(volumes[:1], network, ["a"]), sum(single) / 3)


def test_shared_noise_is_shared_across_micro_batches(volumes):
    shared = SimplexNoise(3, 0.8, 8, normalize=False, per_sample=False, random_origin=False)
    network = _KnowsTheClean(torch.zeros(6, 1, 16, 16))
    _inferer(noise=shared, slice_batch_size=2)(torch.full_like(volumes[:1], 0.5), network, ["a"])
    noisy = torch.cat([x for x, _ in network.seen])
    assert torch.equal(noisy, noisy[:1].expand_as(noisy))
    assert noisy.std() > 0.01


@pytest.mark.parametrize("chain_steps", [1, 5])
def test_chain_with_a_perfect_network_ends_at_the_image(volumes, chain_steps):
    network = _KnowsTheClean(volumes[0, 0].permute(2, 0, 1)[:, None] * 2 - 1)
    result = _inferer(chain_steps=chain_steps, noise=GaussianNoise())(volumes[:1], network, ["a"])
    torch.testing.assert_close(result, volumes[:1])
    assert len({int(t) for _, steps in network.seen for t in steps}) == chain_steps


class _Quarters:
    def boxes(self, height, width):
        return [
            (slice(y, y + height // 2), slice(x, x + width // 2)) for y in (0, height // 2) for x in (0, width // 2)
        ]


def test_patches_see_noise_inside_their_box_only(volumes):
    clean = volumes[0, 0].permute(2, 0, 1)[:, None] * 2 - 1
    network = _KnowsTheClean(clean)
    result = _inferer(patches=_Quarters(), slice_batch_size=6)(volumes[:1], network, ["a"])
    torch.testing.assert_close(result, volumes[:1])
    assert len(network.seen) == 4
    for (noisy, _), (rows, columns) in zip(network.seen, _Quarters().boxes(16, 16), strict=True):
        changed = (noisy != clean).any(dim=0)[0]
        outside = torch.ones(16, 16, dtype=torch.bool)
        outside[rows, columns] = False
        assert not changed[outside].any()
        assert changed[rows, columns].all()


def test_epsilon_prediction_inverts_the_forward_process(volumes):
    noise = GaussianNoise()
    scheduler = _scheduler("epsilon", noise)
    clean = volumes[0, 0].permute(2, 0, 1)[:, None] * 2 - 1

    class KnowsTheNoise(torch.nn.Module):
        def forward(self, x, timesteps):
            return (x - 0.702740 * clean) / 0.711447

    result = _inferer(scheduler=scheduler, noise=noise, slice_batch_size=6)(volumes[:1], KnowsTheNoise(), ["a"])
    torch.testing.assert_close(result, volumes[:1], rtol=0, atol=1e-4)


def test_faults(volumes):
    with pytest.raises(ConfigError, match="outside 1"):
        _inferer(0)
    with pytest.raises(ConfigError, match="cannot be combined"):
        _inferer(patches=_Quarters(), chain_steps=3)
    with pytest.raises(DataError, match="B, 1, X, Y, Z"):
        SlicewiseReconstruction(2)(volumes[0], torch.nn.Identity(), ["a"])


def test_autoencoder_goes_slice_by_slice(volumes):
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    result = SlicewiseReconstruction(4)(volumes, network, ["a", "b", "c"])
    with torch.no_grad():
        expected = torch.stack([network(volumes[1, :, :, :, z][None])[0] for z in range(6)], dim=-1)
    torch.testing.assert_close(result[1], expected)


class _SmallMemory(torch.nn.Module):
    """Does not bear more than ``most`` slices at a time."""

    def __init__(self, network, most):
        super().__init__()
        self.network, self.most, self.seen = network, most, []

    def forward(self, x, timesteps):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate much")
        return self.network(x, timesteps=timesteps)


@pytest.mark.fault(
    58,
    "GPU out of memory",
    "inference and evaluation halve the slices of a pass and go on, maps are the same; training, and a GPU too small for one slice: a sentence with the settings. No silent change to the CPU, which takes hours instead of minutes",
    "foreseen",
)
def test_full_memory_halves_the_batch_and_gives_the_same_map(network, volumes, caplog):
    expected = _inferer(slice_batch_size=1)(volumes, network, "abc")
    small, inferer = _SmallMemory(network, 1), _inferer(slice_batch_size=6)
    torch.testing.assert_close(inferer(volumes, small, "abc"), expected)
    assert small.seen == [6, 3, *[1] * 18]  # found once, kept for the next volumes
    assert "6 slices do not fit" in caplog.text


def test_memory_for_not_even_one_slice_is_an_error(network, volumes):
    with pytest.raises(torch.cuda.OutOfMemoryError):
        _inferer()(volumes, _SmallMemory(network, 0), "abc")


def test_within_a_scan_every_pixel_has_variance_1():
    """Variance of a pixel over gradients, given the origins of 50 slices: from the operator, no sampling."""
    from custom.noise._opensimplex import BANK_SIZE, ensemble_std, operator

    noise = SimplexNoise(6, 0.8, 64, normalize=True, per_sample=True, random_origin=True)
    matrices = operator(6, 0.8, 64, 1 / ensemble_std(6, 0.8), 96, 96, True, torch.device("cpu"))
    variances = torch.stack([14.5 * weight.square().sum(1) for weight in matrices.weight])
    assert (variances < 0.5).sum(1).min() > 90  # of a single origin
    spread = []
    for own in (_inferer(noise=noise).noise, noise):
        groups = torch.arange(50) // own.samples_per_origin % BANK_SIZE
        spread.append(variances[groups].mean(0).min().item())
    assert spread[0] > 0.98
    assert spread[1] < 0.9


def test_draws_are_averaged_and_named(network, volumes):
    """Three draws are the mean of three reconstructions whose noise has the names of the draws; the first is that of one."""
    from custom.core.seeding import generator_for

    clean = volumes[0, 0].permute(2, 0, 1)[:, None] * 2 - 1
    tested = _inferer(draws=3)
    found = tested(volumes[:1], network, ["a"])
    single = []
    for names in ((), ("draw", 1), ("draw", 2)):
        noise = tested.noise(clean, generator_for(7, "reconstruction", "a", 500, *names))
        noisy = tested._noised(clean, noise, 499)
        single.append((tested._one_step(network, noisy, 499) + 1) / 2)
    expected = torch.stack(single).mean(0)[:, 0].permute(1, 2, 0)
    torch.testing.assert_close(found[0, 0], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(_inferer()(volumes[:1], network, ["a"])[0, 0], single[0][:, 0].permute(1, 2, 0))
    other = _inferer(first_draw=2)(volumes[:1], network, ["a"])[0, 0]
    torch.testing.assert_close(other, single[2][:, 0].permute(1, 2, 0))


@pytest.mark.parametrize(("slices", "near", "far"), [(1, 0.0, 0.0), (8, 0.98, 0.0), (None, 1.0, 1.0)])
def test_noise_along_the_slices(slices, near, far):
    """Correlation of neighbours and of slices that lie 24 apart; the variance is 1 everywhere."""
    tested = _inferer(noise=GaussianNoise(), coherence_slices=slices)
    fields = tested._fields(torch.zeros(40, 1, 64, 64), torch.Generator().manual_seed(0)).flatten(1)
    assert fields.var(1).mean().item() == pytest.approx(1, abs=0.03)
    assert fields.var(1).min().item() > 0.9
    correlation = torch.corrcoef(fields)
    assert correlation.diagonal(1).mean().item() == pytest.approx(near, abs=0.02)
    assert correlation.diagonal(24).mean().item() == pytest.approx(far, abs=0.02)


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"coherence_slices": 0}, {"first_draw": -1}])
def test_impossible_numbers_of_draws_and_slices_are_refused(wrong):
    with pytest.raises(ConfigError, match="1 or more"):
        _inferer(**wrong)


def test_draws_are_averaged(network, volumes):
    one_by_one = [_inferer(first_draw=number)(volumes[:1], network, ["a"]) for number in range(3)]
    torch.testing.assert_close(torch.stack(one_by_one).mean(0), _inferer(draws=3)(volumes[:1], network, ["a"]))
    assert not torch.allclose(one_by_one[0], one_by_one[1])

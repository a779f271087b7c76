# SPDX-License-Identifier: Apache-2.0
"""Simplex noise against a scalar oracle, the public package ``opensimplex``, closed forms and sampled statistics."""

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from custom.core.errors import ConfigError
from custom.noise import SimplexNoise, isbi2024
from custom.noise._opensimplex import BANK_SIZE, OCTAVE_VARIANCE, ensemble_std, operator, permutations

CPU = torch.device("cpu")


def _load(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "oracles" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"oracle_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle = _load("opensimplex")


def corrected(**changes: object) -> SimplexNoise:
    settings = {
        "octaves": 6,
        "persistence": 0.8,
        "wavelength_px": 64,
        "normalize": True,
        "per_sample": True,
        "random_origin": True,
    }
    return SimplexNoise(**(settings | changes))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_oracle_gives_the_value_that_the_documentation_of_opensimplex_prints() -> None:
    # docstring of opensimplex.noise2 (PyPI, 0.4.5.1, default seed 3)
    assert oracle.noise2(0.5, 0.5, oracle.permutation(3)) == pytest.approx(-0.43906247097569345, abs=1e-12)


def test_the_oracle_agrees_with_the_public_package() -> None:
    package = pytest.importorskip("opensimplex")
    rng = np.random.default_rng(0)
    for seed in (0, -7, 9_999_999_999):
        public, table = package.OpenSimplex(seed), oracle.permutation(seed)
        for x, y in rng.uniform(-300, 300, (100, 2)):
            assert oracle.noise2(x, y, table) == pytest.approx(public.noise2(x, y), abs=1e-9)


@pytest.mark.parametrize("seed", [0, 3, -7, 2**40 + 1, -(2**63), 2**63 - 32])
def test_permutations_are_the_published_shuffle(seed: int) -> None:
    table = permutations([1, seed])[1].tolist()
    assert table == oracle.permutation(seed)
    assert sorted(table) == list(range(256))


@pytest.mark.parametrize(
    ("octaves", "persistence", "wavelength_px"), [(6, 0.8, 64), (1, 0.5, 10), (4, 0.5, 37.5), (3, 1.1, 1.7)]
)
def test_published_lattice_matches_the_oracle(octaves: int, persistence: float, wavelength_px: float) -> None:
    noise = SimplexNoise(octaves, persistence, wavelength_px, normalize=False, per_sample=True, random_origin=False)
    seeds = [11, -5_000_000_000]
    fields = noise.from_seeds(seeds, torch.empty(2, 1, 64, 96))
    rng = np.random.default_rng(1)
    for seed, field in zip(seeds, fields[:, 0], strict=True):
        table = oracle.permutation(seed)
        inside = zip(rng.integers(0, 64, 60), rng.integers(0, 96, 60), strict=True)
        for y, x in [(0, 0), (63, 95), (0, 95), (63, 0), *inside]:
            expected = oracle.fractal(int(x), int(y), table, octaves, persistence, wavelength_px)
            assert field[y, x].item() == pytest.approx(expected, abs=1e-5)


def test_published_lattice_matches_the_public_package_everywhere() -> None:
    package = pytest.importorskip("opensimplex")
    field = isbi2024().from_seeds([42], torch.empty(1, 1, 96, 96))[0, 0]
    public = package.OpenSimplex(42)
    pixels = np.arange(96.0)
    expected = sum(0.8**k * public.noise2array(pixels * 2**k / 64, pixels * 2**k / 64) for k in range(6))
    np.testing.assert_allclose(field.numpy(), expected, atol=1e-5)


def test_preset_has_the_statistics_measured_on_the_released_generator() -> None:
    # spec: 400 fields of 96 x 96 of the released code: std 0.591, std of the field means 0.215, n(0, 0) = 0
    noise, like, source = isbi2024(), torch.empty(2, 1, 96, 96), generator(0)
    fields = torch.cat([noise(like, source)[:1] for _ in range(400)])
    assert fields.std().item() == pytest.approx(0.591, rel=0.03)
    assert fields.mean((1, 2, 3)).std().item() == pytest.approx(0.215, rel=0.15)
    assert (fields[:, 0, 0, 0] == 0).all()
    pixelwise = fields.std(0)
    assert pixelwise.min() < 0.3
    assert pixelwise.max() > 0.7


def test_preset_repeats_one_field_over_the_batch_and_the_next_call_draws_another() -> None:
    noise, source = isbi2024(), generator(3)
    first, second = noise(torch.empty(5, 1, 32, 32), source), noise(torch.empty(5, 1, 32, 32), source)
    assert torch.equal(first, first[:1].expand_as(first))
    assert not torch.allclose(first, second)


def test_ensemble_std_is_the_integral_over_the_unit_cell() -> None:
    matrix = operator(1, 1.0, 40.0, 1.0, 400, 400, False, CPU)
    numeric = 14.5 * matrix.weight[0].double().square().sum() / matrix.weight[0].shape[0]
    assert numeric.item() == pytest.approx(OCTAVE_VARIANCE, rel=0.01)
    assert math.sqrt(OCTAVE_VARIANCE) == pytest.approx(0.37, abs=0.005)  # released code, measured
    assert ensemble_std(6, 0.8) == pytest.approx(0.593, abs=0.002)


@pytest.mark.parametrize(("height", "width", "wavelength_px"), [(96, 96, 64), (64, 96, 64), (50, 33, 17.3)])
def test_every_pixel_has_the_same_variance_over_the_bank(height: int, width: int, wavelength_px: float) -> None:
    # Independent gradients with E[g gᵀ] = 14.5 I: the variance of a pixel is 14.5 times its row's squared norm.
    matrices = operator(6, 0.8, wavelength_px, 1 / ensemble_std(6, 0.8), height, width, True, CPU)
    variances = torch.stack([14.5 * weight.square().sum(1) for weight in matrices.weight])
    assert len(variances) == BANK_SIZE
    assert (variances.mean(0) - 1).abs().max() < 2e-3
    assert variances[0].std() > 0.1  # a single origin alone would not do


def test_corrected_noise_has_mean_0_and_variance_1_in_every_pixel() -> None:
    noise, source = corrected(samples_per_origin=4), generator(5)
    fields = torch.cat([noise(torch.empty(400, 1, 48, 48), source) for _ in range(5)])[:, 0]
    assert fields.mean().item() == pytest.approx(0, abs=0.03)
    assert fields.square().mean().item() == pytest.approx(1, abs=0.03)
    pixelwise = fields.square().mean(0)  # standard error 0.03 for 2000 fields
    assert (pixelwise - 1).abs().max() < 0.17
    assert fields[:, 0, 0].std() > 0.9


def test_the_default_of_the_bundles_is_as_strong_as_the_released_generator_and_in_every_pixel() -> None:
    root = Path(__file__).parents[2]
    training = json.loads((root / "bundles/ddpm_ssim_ens/configs/train.json").read_text(encoding="utf-8"))
    file, name = training["noise"].lstrip("%").split("::")
    settings = json.loads((root / file).read_text(encoding="utf-8"))[name]
    assert settings.pop("_target_") == "custom.noise.SimplexNoise"
    noise, like = SimplexNoise(**settings), torch.empty(26, 1, 96, 96)
    fields = torch.cat([noise(like, generator(seed)) for seed in range(50)])
    assert fields.std().item() == pytest.approx(0.592, abs=0.01)
    released = torch.cat([isbi2024()(like[:1], generator(seed)) for seed in range(300)])
    assert fields.std().item() == pytest.approx(released.std().item(), abs=0.02)
    assert fields.std(0).min() > 0.5  # that of the released one is 0 in a corner


def test_corrected_noise_is_isotropic() -> None:
    fields = corrected()(torch.empty(1000, 1, 48, 48), generator(6))[:, 0]
    for lag in (1, 4, 12):
        along = (fields[:, lag:, :] * fields[:, :-lag, :]).mean()
        across = (fields[:, :, lag:] * fields[:, :, :-lag]).mean()
        assert along.item() == pytest.approx(across.item(), abs=0.02)
        assert along > 0.05


def test_samples_are_uncorrelated_and_fixed_by_the_seed_and_their_place_alone() -> None:
    noise = corrected(samples_per_origin=8)
    fields = noise(torch.empty(50, 1, 64, 96), generator(7))
    assert fields.shape == (50, 1, 64, 96)
    assert fields.dtype == torch.float32
    assert torch.equal(fields, noise(torch.empty(50, 1, 64, 96), generator(7)))
    torch.testing.assert_close(noise(torch.empty(3, 1, 64, 96), generator(7)), fields[:3], rtol=0, atol=1e-5)
    torch.testing.assert_close(noise(torch.empty(1, 1, 64, 96), generator(7)), fields[:1], rtol=0, atol=1e-5)
    assert not torch.allclose(noise(torch.empty(50, 1, 64, 96), generator(8)), fields)
    correlation = torch.corrcoef(fields.flatten(1)) - torch.eye(50)
    assert correlation.abs().max() < 0.9
    assert correlation.mean().abs() < 0.03


def test_one_shared_corrected_field_and_the_type_of_like_does_not_matter() -> None:
    shared = corrected(per_sample=False)(torch.empty(4, 1, 32, 32, dtype=torch.float16), generator(0))
    assert shared.dtype == torch.float32
    assert torch.equal(shared, shared[:1].expand_as(shared))
    torch.testing.assert_close(shared[:1], corrected()(torch.empty(1, 1, 32, 32), generator(0)))


def test_without_generator_the_global_one_is_used() -> None:
    torch.manual_seed(1)
    first = corrected()(torch.empty(2, 1, 32, 32))
    torch.manual_seed(1)
    assert torch.equal(first, corrected()(torch.empty(2, 1, 32, 32)))


def test_faults_are_named() -> None:
    with pytest.raises(ConfigError, match="octaves=0"):
        corrected(octaves=0)
    with pytest.raises(ConfigError, match=r"\(2, 3, 8, 8\)"):
        corrected()(torch.empty(2, 3, 8, 8))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("make", [corrected, isbi2024])
def test_same_fields_on_a_gpu_for_a_cpu_generator(make: object) -> None:
    host, device = torch.empty(50, 1, 96, 96), torch.empty(50, 1, 96, 96, device="cuda")
    torch.testing.assert_close(make()(device, generator(2)).cpu(), make()(host, generator(2)), rtol=0, atol=1e-5)
    assert make()(device, torch.Generator("cuda").manual_seed(0)).device.type == "cuda"

# SPDX-License-Identifier: Apache-2.0
import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom.core.errors import ConfigError
from custom.scoring import SSIM, SigmaSweep, SSIMEnsemble, ssim_map
from tests.oracles.dense_ssim import dense_ssim_ensemble

SIGMAS = [0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7]


def volumes(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(shape, generator=generator, dtype=dtype)
    return image, 0.6 * image + 0.4 * torch.rand(shape, generator=generator, dtype=dtype)


def similarities(sigmas: Sequence[float], image: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    return torch.stack([ssim_map(image, reconstruction, sigma) for sigma in sigmas])


@pytest.fixture(scope="module")
def golden_pair() -> tuple[torch.Tensor, torch.Tensor]:
    i, j, k = torch.meshgrid(*[torch.arange(16)] * 3, indexing="ij")
    return ((7 * i + 3 * j + 5 * k) % 11).double() / 10, ((5 * i + 7 * j + 3 * k) % 13).double() / 12


def test_golden_values_of_the_published_method(golden_pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Provenance: values obtained by running the function that the paper's authors released, in float64."""
    maps = similarities(SIGMAS, *golden_pair)
    means = [0.137062, 0.020719, 0.004488, 0.004315, 0.004422, 0.004491, 0.004524, 0.004537]
    assert maps.mean(dim=(1, 2, 3)).tolist() == pytest.approx(means, abs=1e-6)
    assert float(maps[0, 0, 0, 0]) == pytest.approx(0.843355, abs=1e-6)
    assert float(maps[0, 8, 8, 8]) == pytest.approx(-0.315092, abs=1e-6)
    score = SSIMEnsemble(SIGMAS)(*golden_pair)
    assert float(score.mean()) == pytest.approx(1.006517, abs=1e-6)
    assert float(score[0, 0, 0]) == pytest.approx(0.597285, abs=1e-6)
    assert float(score[8, 8, 8]) == pytest.approx(1.241038, abs=1e-6)
    assert float(score.max()) == pytest.approx(1.484313, abs=1e-6)
    assert float(SSIMEnsemble(SIGMAS, weighting="mean")(*golden_pair).mean()) == pytest.approx(0.976930, abs=1e-6)


def test_equals_dense_convolutions_and_an_explicit_softmax() -> None:
    image, reconstruction = volumes(1, 26, 15, 14, dtype=torch.float64)
    expected = dense_ssim_ensemble(image, reconstruction, SIGMAS)
    torch.testing.assert_close(SSIMEnsemble(SIGMAS)(image, reconstruction), expected, rtol=0, atol=1e-10)
    single = SSIMEnsemble(SIGMAS)(image.float(), reconstruction.float())
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_sweep_gives_exactly_what_the_single_scores_give(spatial_dims: int) -> None:
    image, reconstruction = volumes(2, 2, 1, 13, 12, 11)
    options = {"data_range": 1.0, "spatial_dims": spatial_dims, "k1": 0.02, "k2": 0.05}
    sweep = SigmaSweep(SSIMEnsemble(SIGMAS, **options))(image, reconstruction)
    assert list(sweep) == [*(f"ssim_{sigma}" for sigma in SIGMAS), "ssim_mean", "ssim_ens"]
    for sigma in SIGMAS:
        assert torch.equal(sweep[f"ssim_{sigma}"], SSIM(sigma, **options)(image, reconstruction))
    for weighting, name in (("mean", "ssim_mean"), ("softmax", "ssim_ens")):
        assert torch.equal(sweep[name], SSIMEnsemble(SIGMAS, weighting, **options)(image, reconstruction))


def test_one_sigma_is_plain_ssim() -> None:
    image, reconstruction = volumes(4, 9, 9, 9)
    torch.testing.assert_close(
        SSIMEnsemble([0.9])(image, reconstruction), SSIM(0.9)(image, reconstruction), rtol=0, atol=1e-6
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["softmax", "mean"]), st.sampled_from([2, 3]))
def test_score_properties(seed: int, weighting: str, spatial_dims: int) -> None:
    image, reconstruction = volumes(seed, 3, 1, 8, 9, 7)
    ensemble = SSIMEnsemble([0.3, 0.9, 1.7], weighting, spatial_dims=spatial_dims)
    scores = ensemble(image, reconstruction)
    assert scores.shape == image.shape
    assert 0 <= float(scores.min()) <= float(scores.max()) <= 2 + 1e-4
    assert float(ensemble(image, image).max()) <= 1e-4
    assert torch.equal(ensemble(image[[1, 2, 0]], reconstruction[[1, 2, 0]]), scores[[1, 2, 0]])
    assert torch.equal(ensemble(image[0, 0], reconstruction[0, 0]), scores[0, 0])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_softmax_tilts_towards_the_dissimilar_by_at_most_e_squared(seed: int) -> None:
    image, reconstruction = volumes(seed, 8, 8, 8)
    ensemble = SSIMEnsemble([0.3, 0.9, 1.7])
    scores, maps = SigmaSweep(ensemble)(image, reconstruction), similarities(ensemble.sigmas, image, reconstruction)
    assert bool((scores["ssim_ens"] >= scores["ssim_mean"] - 1e-5).all())
    assert bool((scores["ssim_ens"] <= 1 - maps.amin(dim=0) + 1e-5).all())
    weights = torch.softmax(-maps, dim=0)
    assert float((weights.amax(dim=0) / weights.amin(dim=0)).max()) <= math.exp(2) * (1 + 1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"sigmas": []}, "sigma > 0"), ({"sigmas": [0.5, -1]}, "-1"), ({"sigmas": [0.5], "weighting": "max"}, "max")],
)
def test_impossible_settings_are_refused(arguments: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SSIMEnsemble(**arguments)

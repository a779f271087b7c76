# SPDX-License-Identifier: Apache-2.0
"""The scheduler against MONAI's own, closed forms of the posterior and networks that know the answer."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from monai.networks.schedulers import DDPMScheduler

from custom.core.errors import ConfigError
from custom.models.noise_scheduler import NoiseDDPMScheduler, anoddpm

TYPES = ["sample", "epsilon", "v_prediction"]


def gaussian(like: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    return torch.randn(like.shape, generator=generator)


def scheduler(prediction_type: str = "sample", **changes: object) -> NoiseDDPMScheduler:
    settings = {"num_train_timesteps": 1000, "schedule": "cosine_float64", "noise": gaussian}
    return NoiseDDPMScheduler(prediction_type=prediction_type, **(settings | changes))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perfect(prediction_type: str, clean: torch.Tensor, noisy: torch.Tensor, alpha_bar: float) -> torch.Tensor:
    """Output of a network that knows x_0, from the definitions of the three targets."""
    noise = (noisy - alpha_bar**0.5 * clean) / (1 - alpha_bar) ** 0.5
    velocity = alpha_bar**0.5 * noise - (1 - alpha_bar) ** 0.5 * clean
    return {"sample": clean, "epsilon": noise, "v_prediction": velocity}[prediction_type]


def test_cosine_schedule_has_the_values_of_the_released_code() -> None:
    # Behrendt et al., ISBI 2024: s = 0.008, T = 1000, beta clipped to 0.999, float64
    alpha_bar = scheduler().alphas_cumprod
    assert alpha_bar.dtype == torch.float32
    for index, value in {249: 0.847012, 499: 0.493844, 749: 0.144272}.items():
        assert alpha_bar[index].item() == pytest.approx(value, abs=5e-7)
    assert alpha_bar[999].item() == pytest.approx(2.43e-9, rel=2e-3)
    assert scheduler().betas[999].item() == pytest.approx(0.999)
    assert alpha_bar[499].sqrt().item() == pytest.approx(0.702740, abs=5e-7)
    assert (1 - alpha_bar[499]).sqrt().item() == pytest.approx(0.711447, abs=5e-7)


def test_cosine_schedule_follows_the_formula_and_is_close_to_monais() -> None:
    ours, monai = scheduler(), DDPMScheduler(1000, schedule="cosine")
    for t in (0, 10, 333, 800):

        def f(step: int) -> float:
            return math.cos((step / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

        assert ours.alphas_cumprod[t].item() == pytest.approx(f(t + 1) / f(0), rel=1e-6)
        assert ours.betas[t].item() == pytest.approx(1 - f(t + 1) / f(t), rel=1e-6)
    torch.testing.assert_close(ours.alphas_cumprod, monai.alphas_cumprod, rtol=1e-4, atol=0)


@pytest.mark.parametrize("schedule", ["linear_beta", "scaled_linear_beta", "cosine", "cosine_float64"])
@pytest.mark.parametrize("prediction_type", TYPES)
@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large"])
def test_full_chain_equals_monai_for_gaussian_noise(schedule: str, prediction_type: str, variance_type: str) -> None:
    settings = {"schedule": schedule, "prediction_type": prediction_type, "variance_type": variance_type}
    ours, monai = scheduler(**settings), DDPMScheduler(1000, clip_sample=False, **settings)
    sample, output = torch.randn(2, 2, 1, 8, 8, generator=generator(3))
    for t in (999, 500, 7, 1):
        got, clean = ours.step(output, t, sample, generator=generator(t))
        expected, expected_clean = monai.step(output, t, sample, generator=generator(t))
        # MONAI's single-precision coefficients are the coarser side; at t = 999 a tiny ᾱ makes x_0 huge
        scale = max(expected_clean.abs().max().item(), 1)
        torch.testing.assert_close(clean, expected_clean, rtol=5e-3, atol=1e-4 * scale)
        torch.testing.assert_close(got, expected, rtol=5e-3, atol=1e-4 * scale)


@pytest.mark.parametrize(("t", "num_steps"), [(499, 500), (499, 25), (199, 3)])
def test_mean_and_variance_of_a_step_are_the_gaussian_posterior(t: int, num_steps: int) -> None:
    # Bayes' rule for x_s ~ N(√ᾱ_s x_0, 1-ᾱ_s) and x_t | x_s ~ N(√(ᾱ_t/ᾱ_s) x_s, 1-ᾱ_t/ᾱ_s), by precisions.
    tested = scheduler(noise=lambda like, generator=None: torch.full_like(like, 2.0))
    silent = scheduler(noise=lambda like, generator=None: torch.zeros_like(like))
    chain = tested.partial_timesteps(t, num_steps)
    silent.partial_timesteps(t, num_steps)
    s = chain[1]
    a_t, a_s = (float(np.cumprod(1 - tested.betas.double().numpy())[i]) for i in (t, s))
    x_0, x_t = 0.3, -0.8
    ratio = a_t / a_s
    precision = 1 / (1 - a_s) + ratio / (1 - ratio)
    mean = (a_s**0.5 * x_0 / (1 - a_s) + ratio**0.5 * x_t / (1 - ratio)) / precision
    x_0_map, x_t_map = torch.full((1, 1, 2, 2), x_0), torch.full((1, 1, 2, 2), x_t)
    assert silent.step(x_0_map, t, x_t_map)[0][0, 0, 0, 0].item() == pytest.approx(mean, rel=1e-4)
    noisy = tested.step(x_0_map, t, x_t_map)[0][0, 0, 0, 0].item()
    assert noisy - mean == pytest.approx(2 / precision**0.5, rel=1e-3)


@pytest.mark.parametrize("prediction_type", TYPES)
def test_predict_clean_inverts_add_noise(prediction_type: str) -> None:
    tested = scheduler(prediction_type)
    clean, noise = torch.randn(2, 3, 1, 8, 8, generator=generator(1))
    steps = torch.tensor([0, 499, 900])
    noisy = tested.add_noise(clean, noise, steps)
    velocity = tested.get_velocity(clean, noise, steps)
    output = {"sample": clean, "epsilon": noise, "v_prediction": velocity}[prediction_type]
    torch.testing.assert_close(tested.predict_clean(output, steps, noisy), clean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tested.predict_clean(output[1:2], 499, noisy[1:2]), clean[1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prediction_type", TYPES)
@pytest.mark.parametrize("num_steps", [None, 50, 1])
def test_chain_with_a_perfect_network_recovers_the_image(prediction_type: str, num_steps: int | None) -> None:
    tested = scheduler(prediction_type)
    clean = torch.rand(2, 1, 8, 8, generator=generator(5)) * 2 - 1
    sample = tested.add_noise(clean, gaussian(clean, generator(6)), torch.tensor([249, 249]))
    source = generator(7)
    for t in tested.partial_timesteps(249, num_steps):
        alpha_bar = float(np.cumprod(1 - tested.betas.double().numpy())[t])
        output = perfect(prediction_type, clean, sample, alpha_bar)
        sample, predicted = tested.step(output, t, sample, generator=source)
        torch.testing.assert_close(predicted, clean, rtol=0, atol=1e-4)
    torch.testing.assert_close(sample, clean, rtol=0, atol=1e-4)


def test_chain_with_a_perfect_network_has_the_forward_process_marginals() -> None:
    tested, source = scheduler(), generator(8)
    clean = torch.full((1, 1, 200, 200), 0.7)
    sample = tested.add_noise(clean, gaussian(clean, source), torch.tensor([499]))
    chain = tested.partial_timesteps(499, 20)
    for t, following in pairwise(chain):
        sample, _ = tested.step(clean, t, sample, generator=source)
        alpha_bar = tested.alphas_cumprod[following].item()
        assert sample.mean().item() == pytest.approx(alpha_bar**0.5 * 0.7, abs=0.02)
        assert sample.std().item() == pytest.approx((1 - alpha_bar) ** 0.5, rel=0.03)


def test_step_uses_the_given_noise_with_sample_and_generator() -> None:
    seen = []

    def noise(like: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        seen.append((like, generator))
        return torch.ones_like(like)

    tested, source = scheduler(noise=noise), generator()
    sample = torch.zeros(2, 1, 4, 4)
    tested.step(sample, 500, sample, generator=source)
    assert seen[0][0] is sample
    assert seen[0][1] is source
    tested.step(sample, 0, sample, generator=source)
    assert len(seen) == 1  # the last step adds none


def test_one_half_precision_call_does_not_spoil_later_ones() -> None:
    tested = scheduler()
    images, steps = torch.rand(2, 1, 4, 4), torch.tensor([0, 999])
    before = tested.add_noise(images, images, steps)
    for dtype in (torch.float16, torch.bfloat16):
        assert tested.add_noise(images.to(dtype), images.to(dtype), steps).dtype == dtype
        assert tested.get_velocity(images.to(dtype), images.to(dtype), steps).dtype == dtype
    assert torch.equal(tested.half().add_noise(images, images, steps), before)
    assert tested.alphas_cumprod.dtype == torch.float32
    assert not tested.state_dict()


def test_clipping_is_off_unless_asked_for() -> None:
    output = torch.tensor([[[[-3.0, 0.5, 2.0]]]])
    assert torch.equal(scheduler().predict_clean(output, 10, output), output)
    clipped = scheduler(clip_sample=True).predict_clean(output, 10, output)
    assert torch.equal(clipped, torch.tensor([[[[-1.0, 0.5, 1.0]]]]))


def test_partial_timesteps_cover_the_way_to_zero() -> None:
    tested = scheduler()
    assert tested.partial_timesteps(4) == [4, 3, 2, 1, 0]
    assert tested.partial_timesteps(499, 1) == [499]
    steps = tested.partial_timesteps(499, 11)
    assert steps == tested.timesteps.tolist()
    assert (steps[0], steps[-1], len(set(steps))) == (499, 0, 11)
    for start, count in [(1000, 5), (-1, 1), (4, 6), (4, 0)]:
        with pytest.raises(ConfigError):
            tested.partial_timesteps(start, count)


def test_sparse_full_chain_steps_to_its_own_next_timestep() -> None:
    tested = scheduler(noise=lambda like, generator=None: torch.zeros_like(like))
    tested.set_timesteps(2)
    assert tested.timesteps.tolist() == [999, 0]
    ones = torch.ones(1, 1, 2, 2)
    sample, _ = tested.step(ones, 999, ones * 5)
    # from t = 999, where x_t tells nothing, straight to t = 0
    assert sample[0, 0, 0, 0].item() == pytest.approx(tested.alphas_cumprod[0].sqrt().item(), rel=1e-4)


def test_anoddpms_reverse_chain_by_an_independent_loop() -> None:
    """Wyatt et al., CVPRW 2022, in float64: x_0 from the predicted noise, clamped; variance β_t; no noise at t = 0."""
    rng, start = np.random.default_rng(0), 60
    steps = np.arange(1001) / 1000
    f = np.cos((steps + 0.008) / 1.008 * np.pi / 2) ** 2
    beta = np.minimum(1 - f[1:] / f[:-1], 0.999)
    abar = np.cumprod(1 - beta)
    draws = rng.standard_normal((start + 2, 2, 1, 6, 6))
    clean = rng.uniform(-1, 1, (2, 1, 6, 6))
    x = np.sqrt(abar[start]) * clean + np.sqrt(1 - abar[start]) * draws[-1]
    for t in range(start, -1, -1):
        predicted = 3 * np.tanh(2 * x + 0.01 * t)
        x_0 = np.clip((x - np.sqrt(1 - abar[t]) * predicted) / np.sqrt(abar[t]), -1, 1)
        before = abar[t - 1] if t else 1.0
        mean = (np.sqrt(before) * beta[t] * x_0 + np.sqrt(1 - beta[t]) * (1 - before) * x) / (1 - abar[t])
        x = mean + (np.sqrt(beta[t]) * draws[t] if t else 0)

    numbers = iter(range(start, 0, -1))
    tested = anoddpm(lambda like, generator=None: torch.from_numpy(draws[next(numbers)]).float())
    sample = tested.add_noise(
        torch.from_numpy(clean).float(), torch.from_numpy(draws[-1]).float(), torch.full((2,), start)
    )
    for t in tested.partial_timesteps(start):
        sample, _ = tested.step(3 * torch.tanh(2 * sample + 0.01 * t), t, sample)
    assert abs(sample.numpy() - x).max() < 1e-5


def test_learned_variances_are_refused() -> None:
    with pytest.raises(ConfigError, match="learned"):
        scheduler(variance_type="learned")

# SPDX-License-Identifier: Apache-2.0
"""DDPM scheduler whose noise is given to it, so that the reverse chain may draw simplex noise (AnoDDPM).

Follows MONAI's ``DDPMScheduler`` (Ho et al., NeurIPS 2020, arXiv 2006.11239); what differs, and why:

* ``step`` draws from ``noise`` instead of ``torch.randn`` (Wyatt et al., CVPRW 2022: the reverse chain uses the noise
  of the forward process), and goes to the *next timestep of the chain*, which need not be t-1: with ᾱ_s of the
  predecessor s, α = ᾱ_t / ᾱ_s and β = 1 - α enter eq. 7. MONAI always takes t-1.
* The chain may start anywhere: :meth:`NoiseDDPMScheduler.partial_timesteps`.
* ``schedule="cosine_float64"`` is the cosine schedule computed in double precision. MONAI's ``"cosine"`` has the same
  formula in single precision; its ᾱ is off by up to 6e-5 and its β by up to 1.4e-3 (relative, T = 1000).
* Coefficients are computed in double precision. ``add_noise`` and ``get_velocity`` compute in float32 and return the
  dtype of the samples; MONAI casts its table to the samples' dtype and keeps it, so that one half-precision call
  spoils all later ones.
* Predictions are not clipped unless asked for: Behrendt et al. clamp nowhere.

:func:`anoddpm` has the settings of AnoDDPM's reverse chain: variance β_t and x_0 clamped to [-1, 1] in every step.

Timesteps are indices 0 ... T-1; the papers' "t = 500" is index 499. Images in [-1, 1], any shape ``[B, ...]``.
The tables are plain tensors, not buffers: ``state_dict`` is empty, ``.to(device)`` moves nothing and is not needed
(tables follow the samples on first use and stay there), ``.half()`` cannot harm them.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from monai.networks.schedulers import DDPMScheduler
from monai.networks.schedulers.scheduler import NoiseSchedules
from torch import Tensor

from ..core.errors import ConfigError


@NoiseSchedules.add_def("cosine_float64", "Cosine schedule computed in double precision")
def cosine_float64(num_train_timesteps: int, s: float = 0.008, beta_max: float = 0.999) -> Tensor:
    """Return β_t = min(1 - f(t+1) / f(t), beta_max) with f(t) = cos²((t/T + s) / (1 + s) · π/2), float64 ``[T]``.

    Nichol and Dhariwal, ICML 2021 (arXiv 2102.09672), eq. 17; ``s`` and ``beta_max`` are the paper's values.
    """
    t = torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
    f = torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(0, beta_max)


class NoiseDDPMScheduler(DDPMScheduler):
    """DDPM scheduler with an arbitrary noise for the reverse chain.

    Args:
        noise: ``noise(like, generator) -> Tensor`` for ``step``: the noise of the forward process, of mean 0.
        num_train_timesteps: T.
        schedule: name of a schedule known to MONAI, or ``"cosine_float64"``.
        prediction_type: what the network predicts: ``"sample"`` (x_0), ``"epsilon"`` or ``"v_prediction"``.
        variance_type: ``"fixed_small"`` (β̃_t) or ``"fixed_large"`` (β_t), Ho et al., section 3.2.
        clip_sample: clamp the predicted x_0 to [-1, 1] within ``step`` and ``predict_clean``.
        **schedule_args: arguments of the schedule, for example ``beta_start`` and ``beta_end``.

    >>> def gaussian(like, generator):
    ...     return torch.randn(like.shape, generator=generator)
    >>> scheduler = NoiseDDPMScheduler(gaussian, num_train_timesteps=1000, schedule="cosine_float64", prediction_type="sample")
    >>> clean, draws = torch.zeros(2, 1, 8, 8), torch.Generator().manual_seed(0)
    >>> noisy = scheduler.add_noise(clean, gaussian(clean, draws), torch.tensor([499, 499]))
    >>> print(f"{scheduler.alphas_cumprod[499]:.2f}", torch.equal(scheduler.predict_clean(clean, 499, noisy), clean))
    0.49 True
    """

    betas: Tensor
    alphas: Tensor
    alphas_cumprod: Tensor

    def __init__(
        self,
        noise: Callable[..., Tensor],
        num_train_timesteps: int,
        schedule: str,
        prediction_type: str,
        variance_type: str = "fixed_small",
        clip_sample: bool = False,
        **schedule_args: Any,
    ) -> None:
        super().__init__(num_train_timesteps, schedule, variance_type, clip_sample, prediction_type, **schedule_args)
        if variance_type not in ("fixed_small", "fixed_large"):
            raise ConfigError(f"variance_type {variance_type!r} is not supported; use fixed_small or fixed_large.")
        self.noise = noise
        betas = self.betas
        exact = torch.cumprod(1 - betas.double(), dim=0)
        self._alphas_cumprod: list[float] = exact.tolist()
        self._roots = torch.stack([exact.sqrt(), (1 - exact).sqrt()]).float()
        self.betas, self.alphas, self.alphas_cumprod = betas.float(), (1 - betas).float(), exact.float()
        self._chain = list(range(num_train_timesteps - 1, -1, -1))

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return x_t = √ᾱ_t x_0 + √(1-ᾱ_t) n (eq. 4) for ``timesteps`` ``[B]``."""
        signal, spread = self._coefficients(timesteps, original_samples)
        noisy: Tensor = signal * original_samples + spread * noise
        return noisy.to(original_samples.dtype)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return v = √ᾱ_t n - √(1-ᾱ_t) x_0 (Salimans and Ho, ICLR 2022), the target of ``"v_prediction"``."""
        signal, spread = self._coefficients(timesteps, sample)
        velocity: Tensor = signal * noise - spread * sample
        return velocity.to(sample.dtype)

    def predict_clean(self, model_output: Tensor, timestep: int | Tensor, x_t: Tensor) -> Tensor:
        """Return the estimate of x_0 that the network's output for ``x_t`` stands for; one timestep, or one per sample ``[B]``."""
        signal, spread = self._coefficients(timestep, x_t)
        if self.prediction_type == "sample":
            clean = model_output
        elif self.prediction_type == "epsilon":
            clean = (x_t - spread * model_output) / signal
        else:
            clean = signal * x_t - spread * model_output
        return clean.clamp(*self.clip_sample_values) if self.clip_sample else clean

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Choose ``num_inference_steps`` evenly spaced timesteps from T-1 to 0 (the whole chain)."""
        super().set_timesteps(num_inference_steps, device)
        self._chain = self.timesteps.tolist()

    def partial_timesteps(self, t_start: int, num_steps: int | None = None) -> list[int]:
        """Choose and return the chain of AnoDDPM: ``num_steps`` evenly spaced indices from ``t_start`` down to 0.

        ``step`` follows this chain until another one is chosen. None takes every index; 1 predicts x_0 at once.
        """
        if not 0 <= t_start < self.num_train_timesteps:
            raise ConfigError(f"t_start {t_start} is outside 0 ... {self.num_train_timesteps - 1}.")
        count = t_start + 1 if num_steps is None else num_steps
        if not 1 <= count <= t_start + 1:
            raise ConfigError(f"{count} reverse steps from index {t_start} are impossible; choose 1 ... {t_start + 1}.")
        self._chain = [round(t_start * (1 - i / max(count - 1, 1))) for i in range(count)]
        self.num_inference_steps = count
        self.timesteps = torch.tensor(self._chain)
        return list(self._chain)

    def step(
        self, model_output: Tensor, timestep: int, sample: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return a sample of the predecessor timestep (of x_0 after the last one) and the predicted x_0.

        ``sample`` is x_t, of which the network gave ``model_output``; ``timestep`` is an index in the current chain.
        """
        t = int(timestep)
        clean = self.predict_clean(model_output, t, sample)
        previous = next((s for s in self._chain if s < t), None)
        if previous is None:
            return clean, clean
        now, then = self._alphas_cumprod[t], self._alphas_cumprod[previous]
        alpha = now / then
        mean = (math.sqrt(then) * (1 - alpha) * clean + math.sqrt(alpha) * (1 - then) * sample) / (1 - now)  # eq. 7
        variance = 1 - alpha if self.variance_type == "fixed_large" else (1 - then) / (1 - now) * (1 - alpha)
        return (mean + math.sqrt(variance) * self.noise(sample, generator)).to(sample.dtype), clean

    def _coefficients(self, timestep: int | Tensor, like: Tensor) -> tuple[Any, Any]:
        """Return √ᾱ and √(1-ᾱ), as numbers for one timestep and broadcastable to ``like`` for one per sample."""
        if not isinstance(timestep, Tensor):
            alpha = self._alphas_cumprod[timestep]
            return math.sqrt(alpha), math.sqrt(1 - alpha)
        if self._roots.device != like.device:
            self._roots = self._roots.to(like.device)
        roots = self._roots[:, timestep.to(like.device).reshape(-1)]
        signal, spread = roots.reshape(2, -1, *[1] * (like.ndim - 1))
        return signal, spread


def anoddpm(noise: Callable[..., Tensor], num_train_timesteps: int = 1000) -> NoiseDDPMScheduler:
    """Return the scheduler of AnoDDPM (Wyatt et al., CVPRW 2022, released code).

    The network predicts the noise, x_0 is clamped to [-1, 1] in every reverse step, the steps have variance β_t, and their
    noise is that of the forward process. Take every step: ``chain_steps`` equal to ``test_timesteps``.
    """
    return NoiseDDPMScheduler(noise, num_train_timesteps, "cosine_float64", "epsilon", "fixed_large", clip_sample=True)

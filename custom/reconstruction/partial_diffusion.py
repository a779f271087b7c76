# SPDX-License-Identifier: Apache-2.0
"""Pseudo-healthy reconstruction by partial diffusion: noise the scan to t_test, predict the clean image.

The papers' test (Behrendt et al., ISBI 2024; pDDPM, MIDL 2023) is one network pass from ``t_test = 500``, which is
index 499 of the schedule; several ``t`` may be averaged (250, 500, 750). ``chain_steps`` walks the reverse chain of
AnoDDPM (Wyatt et al., CVPRW 2022) instead. With ``patches`` every box is noised and predicted by itself while the
rest of the slice stays clean (pDDPM).

Deviation from the released code: the noise of a volume is seeded by ``(seed, case id, t)``, never by a global state.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.seeding import generator_for
from .slicewise import SlicewiseReconstruction


class PartialDiffusionInferer(SlicewiseReconstruction):
    """Reconstruct volumes with a diffusion network.

    Args:
        scheduler: :class:`~custom.models.noise_scheduler.NoiseDDPMScheduler` (``add_noise``, ``predict_clean``, ``step``).
        noise: ``noise(like, generator) -> Tensor``; called once per volume with all its slices, so a shared or an own
            field per slice is the noise's choice.
        t_test: steps of noise, 1 ... T; one number or several whose reconstructions are averaged.
        seed: seed of the run.
        slice_batch_size: slices per network pass.
        chain_steps: None for the one-step reconstruction; otherwise the number of reverse steps from ``t_test`` to 0.
        patches: optional object with ``boxes(height, width) -> list of (rows, columns) slices`` (pDDPM) and
            ``merge`` of overlapping boxes by averaging.
        precision: arithmetic of the network.
        channels_last: hand the slices over in NHWC order.
    """

    def __init__(
        self,
        scheduler: Any,
        noise: Callable[..., Tensor],
        t_test: int | Sequence[int],
        seed: int,
        slice_batch_size: int,
        chain_steps: int | None = None,
        patches: Any = None,
        precision: str = "fp32",
        channels_last: bool = False,
    ) -> None:
        super().__init__(slice_batch_size, precision, channels_last)
        self.scheduler = scheduler
        self.noise = noise
        self.t_test = (t_test,) if isinstance(t_test, int) else tuple(t_test)
        self.seed = seed
        self.chain_steps = chain_steps
        self.patches = patches
        for t in self.t_test:
            if not 1 <= t <= scheduler.num_train_timesteps:
                raise ConfigError(
                    f"t_test {t} is outside 1 ... {scheduler.num_train_timesteps}; 500 is the papers' value."
                )
        if patches is not None and chain_steps is not None:
            raise ConfigError("patches and chain_steps cannot be combined; set one of them to null.")

    def reconstruct(self, slices: Tensor, network: nn.Module, case_id: str) -> Tensor:
        """Return the mean over ``t_test`` of the reconstructions of ``slices`` ``[Z, 1, X, Y]`` in [0, 1]; not clamped."""
        clean = slices * 2 - 1
        total = torch.zeros_like(clean)
        for t in self.t_test:
            generator = generator_for(self.seed, "reconstruction", case_id, t)
            noise = self.noise(clean, generator)
            if self.patches is not None:
                total += self._patched(network, clean, noise, t - 1)
            elif self.chain_steps is not None:
                total += self._chain(network, clean, noise, t - 1, generator)
            else:
                total += self._one_step(network, self._noised(clean, noise, t - 1), t - 1)
        return (total / len(self.t_test) + 1) / 2

    def _noised(self, clean: Tensor, noise: Tensor, index: int) -> Tensor:
        steps = torch.full((len(clean),), index, device=clean.device, dtype=torch.long)
        noised: Tensor = self.scheduler.add_noise(original_samples=clean, noise=noise, timesteps=steps)
        return noised

    def _one_step(self, network: nn.Module, noisy: Tensor, index: int) -> Tensor:
        output = self._in_batches(network, noisy, index)
        predicted: Tensor = self.scheduler.predict_clean(output, index, noisy)
        return predicted

    def _chain(
        self, network: nn.Module, clean: Tensor, noise: Tensor, index: int, generator: torch.Generator
    ) -> Tensor:
        sample = self._noised(clean, noise, index)
        for step in self.scheduler.partial_timesteps(index, self.chain_steps):
            output = self._in_batches(network, sample, int(step))
            sample, _ = self.scheduler.step(output, int(step), sample, generator=generator)
        return sample

    def _patched(self, network: nn.Module, clean: Tensor, noise: Tensor, index: int) -> Tensor:
        noisy = self._noised(clean, noise, index)
        total, count = torch.zeros_like(clean), torch.zeros_like(clean[:1])
        for rows, columns in self.patches.boxes(*clean.shape[-2:]):
            partly = clean.clone()
            partly[..., rows, columns] = noisy[..., rows, columns]
            predicted = self._one_step(network, partly, index)
            total[..., rows, columns] += predicted[..., rows, columns]
            count[..., rows, columns] += 1
        return torch.where(count > 0, total / count.clamp(min=1), clean)

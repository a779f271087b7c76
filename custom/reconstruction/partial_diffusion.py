# SPDX-License-Identifier: Apache-2.0
"""Pseudo-healthy reconstruction by partial diffusion: noise the scan to timestep t, predict the clean image.

The papers' test (Behrendt et al., ISBI 2024; pDDPM, MIDL 2023) is one network pass from ``t = 500``, counted from 1 (the
network is given 499); several ``t`` may be averaged (250, 500, 750), and several draws of the noise. ``chain_steps`` walks the reverse chain of
AnoDDPM (Wyatt et al., CVPRW 2022) instead. With ``patches`` every box is noised and predicted by itself while the
rest of the slice stays clean (pDDPM).

Deviations from the released code: the noise of a volume is seeded by ``(seed, case id, t, draw)``, never by a global state,
and every slice has lattice origins of its own, so that all pixels of a scan are noised alike.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..core.seeding import generator_for
from ..noise import SimplexNoise
from .slicewise import SlicewiseReconstruction


class PartialDiffusionInferer(SlicewiseReconstruction):
    """Reconstruct volumes with a diffusion network.

    Args:
        scheduler: :class:`~custom.models.noise_scheduler.NoiseDDPMScheduler` (``add_noise``, ``predict_clean``, ``step``).
        noise: ``noise(like, generator) -> Tensor``; called once per volume with all its slices, so a shared or an own
            field per slice is the noise's choice.
        test_timesteps: steps of noise, 1 ... T; one number or several whose reconstructions are averaged.
        draws: independent draws of the noise whose reconstructions are averaged, for every t.
        first_draw: number of the first of them; other numbers are other noise, to see how much a result hangs on it.
        coherence_slices: how the noise goes along the slices of a scan. 1: an independent field for every slice; n: an
            independent field every n slices, and between them a mixture of two (cos and sin of an angle that grows evenly,
            so that the variance stays); None: one field for the whole scan.
        seed: seed of the run.
        slice_batch_size, precision, channels_last: see :class:`SlicewiseReconstruction`.
        chain_steps: None for the one-step reconstruction; otherwise the number of reverse steps from ``test_timesteps`` to 0.
        patches: optional object with ``boxes(height, width) -> list of (rows, columns) slices`` (pDDPM) and
            ``merge`` of overlapping boxes by averaging.
        conditioned: the network also sees the clean slices, as ``image`` in [0, 1] (cDDPM, Behrendt et al., arXiv 2312.04215).
        patch_stride_px: other distance between neighbouring boxes than that of ``patches``, so that they overlap.

    >>> from custom.models.noise_scheduler import NoiseDDPMScheduler
    >>> from custom.noise import GaussianNoise
    >>> class Guess(nn.Module):
    ...     def forward(self, noisy, timesteps):
    ...         return torch.zeros_like(noisy)
    >>> scheduler = NoiseDDPMScheduler(GaussianNoise(), 1000, schedule="cosine_float64", prediction_type="sample")
    >>> inferer = PartialDiffusionInferer(scheduler, GaussianNoise(), test_timesteps=500, seed=1, slice_batch_size=2)
    >>> inferer(torch.rand(1, 1, 8, 8, 4), Guess(), ["case1"]).unique()
    tensor([0.5000])
    """

    def __init__(
        self,
        scheduler: Any,
        noise: Callable[..., Tensor],
        test_timesteps: int | Sequence[int],
        seed: int,
        slice_batch_size: int | None,
        chain_steps: int | None = None,
        patches: Any = None,
        precision: str = "fp32",
        channels_last: bool = False,
        draws: int = 1,
        coherence_slices: int | None = 1,
        conditioned: bool = False,
        first_draw: int = 0,
        patch_stride_px: int | None = None,
    ) -> None:
        super().__init__(slice_batch_size, precision, channels_last)
        self.scheduler = scheduler
        self.noise = replace(noise, samples_per_origin=1) if isinstance(noise, SimplexNoise) else noise
        self.draws, self.first_draw, self.coherence_slices = draws, first_draw, coherence_slices
        self.test_timesteps = (test_timesteps,) if isinstance(test_timesteps, int) else tuple(test_timesteps)
        self.seed = seed
        self.chain_steps = chain_steps
        self.patches = patches
        if patch_stride_px is not None:
            if patches is None:
                raise ConfigError("patch_stride_px is for models that were trained with patches; leave it out.")
            self.patches = replace(patches, stride_px=patch_stride_px)
        self.conditioned = conditioned
        for t in self.test_timesteps:
            if not 1 <= t <= scheduler.num_train_timesteps:
                raise ConfigError(
                    f"test_timesteps {t} is outside 1 ... {scheduler.num_train_timesteps}; 500 is the papers' value."
                )
        if draws < 1 or first_draw < 0 or (coherence_slices is not None and coherence_slices < 1):
            raise ConfigError(
                f"draws {draws} and coherence_slices {coherence_slices} must be 1 or more (coherence_slices null: one field "
                f"for the whole scan), first_draw {first_draw} 0 or more."
            )
        if patches is not None and chain_steps is not None:
            raise ConfigError("patches and chain_steps cannot be combined; set one of them to null.")

    def reconstruct(self, slices: Tensor, network: nn.Module, case_id: str) -> Tensor:
        """Return the mean over timesteps and draws of the reconstructions of ``slices`` ``[Z, 1, X, Y]``, not clamped."""
        clean = slices * 2 - 1
        condition = {"image": slices} if self.conditioned else {}
        total = torch.zeros_like(clean)
        for t in self.test_timesteps:
            for number in range(self.first_draw, self.first_draw + self.draws):
                names = ("draw", number) if number else ()
                generator = generator_for(self.seed, "reconstruction", case_id, t, *names)
                noise = self._fields(clean, generator)
                if self.patches is not None:
                    total += self._patched(network, clean, noise, t - 1, **condition)
                elif self.chain_steps is not None:
                    total += self._chain(network, clean, noise, t - 1, generator, **condition)
                else:
                    total += self._one_step(network, self._noised(clean, noise, t - 1), t - 1, **condition)
        return (total / (len(self.test_timesteps) * self.draws) + 1) / 2

    def _fields(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        if self.coherence_slices == 1:
            return self.noise(clean, generator)
        if self.coherence_slices is None:
            return self.noise(clean[:1], generator).expand_as(clean)
        place = torch.arange(len(clean)) / self.coherence_slices
        below = place.long()
        knots = self.noise(clean[:1].expand(int(below[-1]) + 2, -1, -1, -1), generator)
        angle = ((place - below) * (math.pi / 2))[:, None, None, None].to(clean.device)
        below = below.to(clean.device)
        return angle.cos() * knots[below] + angle.sin() * knots[below + 1]

    def _noised(self, clean: Tensor, noise: Tensor, index: int) -> Tensor:
        steps = torch.full((len(clean),), index, device=clean.device, dtype=torch.long)
        noised: Tensor = self.scheduler.add_noise(original_samples=clean, noise=noise, timesteps=steps)
        return noised

    def _one_step(self, network: nn.Module, noisy: Tensor, index: int, **condition: Tensor) -> Tensor:
        output = self._in_batches(network, noisy, index, **condition)
        predicted: Tensor = self.scheduler.predict_clean(output, index, noisy)
        return predicted

    def _chain(
        self,
        network: nn.Module,
        clean: Tensor,
        noise: Tensor,
        index: int,
        generator: torch.Generator,
        **condition: Tensor,
    ) -> Tensor:
        sample = self._noised(clean, noise, index)
        for step in self.scheduler.partial_timesteps(index, self.chain_steps):
            output = self._in_batches(network, sample, int(step), **condition)
            sample, _ = self.scheduler.step(output, int(step), sample, generator=generator)
        return sample

    def _patched(self, network: nn.Module, clean: Tensor, noise: Tensor, index: int, **condition: Tensor) -> Tensor:
        noisy = self._noised(clean, noise, index)
        total, count = torch.zeros_like(clean), torch.zeros_like(clean[:1])
        for rows, columns in self.patches.boxes(*clean.shape[-2:]):
            partly = clean.clone()
            partly[..., rows, columns] = noisy[..., rows, columns]
            predicted = self._one_step(network, partly, index, **condition)
            total[..., rows, columns] += predicted[..., rows, columns]
            count[..., rows, columns] += 1
        return torch.where(count > 0, total / count.clamp(min=1), clean)

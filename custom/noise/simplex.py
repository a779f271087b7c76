# SPDX-License-Identifier: Apache-2.0
"""Fractal simplex noise for diffusion models (Wyatt et al., AnoDDPM, CVPRW 2022; Behrendt et al., ISBI 2024).

Two settings of one class:

* :func:`isbi2024`, the released generator of Behrendt et al.: OpenSimplex with the lattice origin at pixel (0, 0) in
  all octaves, one 256-permutation for all octaves, one field for the whole batch, not normalised. Its noise is 0 at
  pixel (0, 0), its standard deviation differs from pixel to pixel, and its overall one is about 0.59.
* ``per_sample, random_origin = True``, the default of the bundles: a field of its own for every sample, independent
  gradients for all vertices and octaves, and lattice origins from a bank of 13 that gives every pixel the same standard
  deviation, 0.59: that of the released generator on average, so that a timestep means as much noise as in the papers.

``normalize`` divides the fields by the closed-form standard deviation over the *ensemble* (gradients and origins), so
that every pixel has variance 1; then t = 340 has the signal-to-noise ratio of the papers' 500. A single field keeps its
own mean and spread: standardising each field would take its mean away, and slice-wide shifts would never be noised.

Deviations from AnoDDPM: 2-D noise, not a slice of 3-D noise. Shapes ``[B, 1, H, W]``, any H and W.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import ConfigError
from ..core.seeding import sent_to
from ._opensimplex import BANK_SIZE, Operator, ensemble_std, hashed_gradients, operator, permutations


@dataclass(frozen=True)
class SimplexNoise:
    """Callable ``noise(like, generator) -> Tensor`` of the shape of ``like``, float32, on its device.

    Randomness is drawn on the generator's device and moved once. With a CPU generator sample i's field depends on the
    generator's state and i only (with ``per_sample``), neither on the batch size nor on the device of ``like``; a CPU
    and a CUDA generator with the same seed give different fields.

    Args:
        octaves: number of octaves.
        persistence: amplitude ratio of successive octaves.
        wavelength_px: wavelength of the first octave in pixels; every further octave has half of it.
        normalize: divide by the ensemble's standard deviation.
        per_sample: an own field per sample; False: one field repeated over the batch.
        random_origin: random lattice origins and independent gradients; False: the published lattice, whose origin is
            pixel (0, 0) and whose gradients follow from a seed by a 256-permutation.
        samples_per_origin: neighbouring samples that share the lattice origins (never the gradients). The groups take
            the origins of the bank in turn, from a random one on. Over the 50 slices of a scan every pixel has a
            variance of at least 0.99 of the ensemble's with 1, which is taken at test; with 32, for one training batch, up to 224
            of 96 x 96 pixels have less than half of it in a batch, at other places in the next one. 32 costs one sparse product, 1 up to 13.

    >>> noise = SimplexNoise(2, 0.8, 16, normalize=True, per_sample=True, random_origin=True)
    >>> noise(torch.zeros(2, 1, 16, 16), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 1, 16, 16])
    """

    octaves: int
    persistence: float
    wavelength_px: float
    normalize: bool
    per_sample: bool
    random_origin: bool
    samples_per_origin: int = 32

    def __post_init__(self) -> None:
        if self.octaves < 1 or not (self.persistence > 0 and self.wavelength_px > 0) or self.samples_per_origin < 1:
            raise ConfigError(
                f"Simplex noise needs positive numbers, got octaves={self.octaves}, persistence={self.persistence}, "
                f"wavelength_px={self.wavelength_px}, samples_per_origin={self.samples_per_origin}."
            )

    @torch.no_grad()
    def __call__(self, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noise of the shape of ``like`` ``[B, 1, H, W]``."""
        if like.ndim != 4 or like.shape[1] != 1:
            raise ConfigError(f"Simplex noise is made for [B, 1, H, W], got {tuple(like.shape)}; pass 2-D slices.")
        source = like.device if generator is None else generator.device
        count = len(like) if self.per_sample else 1
        if self.random_origin:
            fields = self._random(count, like, source, generator)
        else:
            seeds = torch.randint(-(10**10), 10**10, (count,), generator=generator, device=source)
            fields = self.from_seeds(seeds.tolist(), like)
        return fields if self.per_sample else fields.repeat(len(like), 1, 1, 1)

    def from_seeds(self, seeds: Sequence[int], like: Tensor) -> Tensor:
        """Return the published lattice's fields ``[len(seeds), 1, H, W]`` for 64-bit OpenSimplex ``seeds``."""
        matrix = self._operator(like, bank=False)
        numbers = hashed_gradients(sent_to(permutations(seeds), like.device), matrix.vertices)
        groups = torch.split(numbers, self.samples_per_origin)
        return _images([_product(matrix.index[0], matrix.weight[0], part, matrix.gradients) for part in groups], like)

    def _random(self, count: int, like: Tensor, source: torch.device, generator: torch.Generator | None) -> Tensor:
        matrices = self._operator(like, bank=True)
        words = 1 + -(-matrices.num_vertices // 8)  # the first chooses the origins, the others hold a gradient per byte
        draws = torch.randint(-(2**63), 2**63 - 1, (count, words), generator=generator, device=source)
        first = draws[:1, 0] % BANK_SIZE
        draws = sent_to(draws, like.device)
        numbers = draws[:, 1:].contiguous().view(torch.uint8)[:, : matrices.num_vertices] & 7
        groups = torch.arange(count) // self.samples_per_origin % BANK_SIZE  # every further origin of the bank
        members = [torch.nonzero(groups == step).flatten() for step in range(int(groups.max()) + 1)]
        fields = []
        for step, rows in enumerate(members):
            entry = (first + step) % BANK_SIZE
            if source.type == "cpu":
                index, weight = matrices.index[int(entry)], matrices.weight[int(entry)]
            else:  # the choice stays on the device: no wait for the host
                entry = entry.to(like.device)
                index, weight = matrices.index.index_select(0, entry)[0], matrices.weight.index_select(0, entry)[0]
            part = numbers if len(members) == 1 else numbers[sent_to(rows, like.device)]
            fields.append(_product(index, weight, part, matrices.gradients))
        images = _images(fields, like)
        return images if len(members) == 1 else images[sent_to(torch.cat(members).argsort(), like.device)]

    def _operator(self, like: Tensor, bank: bool) -> Operator:
        height, width = like.shape[-2:]
        gain = 1 / ensemble_std(self.octaves, self.persistence) if self.normalize else 1.0
        return operator(self.octaves, self.persistence, self.wavelength_px, gain, height, width, bank, like.device)


def isbi2024() -> SimplexNoise:
    """Return the generator of Behrendt et al., ISBI 2024 (released code): std 0.59, one field a batch, n(0, 0) = 0."""
    return SimplexNoise(6, 0.8, 64, normalize=False, per_sample=False, random_origin=False)


def _product(index: Tensor, weight: Tensor, numbers: Tensor, gradients: Tensor) -> Tensor:
    """Return the fields ``[H * W, n]`` of the gradients that have these ``numbers`` ``[n, V]`` in the list ``[8, 2]``."""
    chosen = numbers.t().int().flatten()
    parts = [column.index_select(0, chosen).view(-1, len(numbers)) for column in gradients.t()]
    # A fresh table has stride 1 along the fields also for a single one; embedding_bag's fast path asks for it.
    table = torch.stack(parts, dim=1).flatten(0, 1)
    return F.embedding_bag(index, table, mode="sum", per_sample_weights=weight)


def _images(fields: list[Tensor], like: Tensor) -> Tensor:
    joined = fields[0].t() if len(fields) == 1 else torch.cat([part.t() for part in fields])
    return joined.reshape(-1, 1, *like.shape[-2:])

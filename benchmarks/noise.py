# SPDX-License-Identifier: Apache-2.0
"""Fractal simplex noise, an own field per sample: sparse operator against evaluating the lattice pixel by pixel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Candidate, Subject, peer
from custom.noise import SimplexNoise

OCTAVES, PERSISTENCE, WAVELENGTH_PX = 6, 0.8, 64


def subjects(batch: int = 32, size: int = 96) -> Sequence[Subject]:
    """Return the noise of a training batch ``[batch, 1, size, size]``."""
    like = torch.empty(batch, 1, size, size)
    seeds = list(range(batch))
    ours = SimplexNoise(OCTAVES, PERSISTENCE, WAVELENGTH_PX, normalize=True, per_sample=True, random_origin=True)
    published = SimplexNoise(OCTAVES, PERSISTENCE, WAVELENGTH_PX, normalize=False, per_sample=True, random_origin=False)
    generator = torch.Generator().manual_seed(0)

    def opensimplex(module: Any) -> Candidate:
        def run() -> np.ndarray[Any, Any]:
            fields = np.zeros((batch, 1, size, size))
            for sample, seed in enumerate(seeds):
                source = module.OpenSimplex(seed)
                for octave in range(OCTAVES):
                    axis = np.arange(size) * 2**octave / WAVELENGTH_PX
                    fields[sample, 0] += PERSISTENCE**octave * source.noise2array(axis, axis)
            return fields

        def deviation(result: Any, own: Any) -> float:
            return float(np.abs(result - published.from_seeds(seeds, like).numpy()).max())

        return Candidate(
            "opensimplex (numba)", run, deviation, 1e-5, "agreement: the published lattice for equal seeds (row below)"
        )

    return [
        Subject(
            f"Simplex noise, {batch} x {size} x {size}, {OCTAVES} octaves",
            [
                Candidate("ours: random origins, own field per sample", lambda: ours(like, generator)),
                peer("opensimplex", "opensimplex (numba)", opensimplex),
                Candidate("ours: published lattice from seeds", lambda: published.from_seeds(seeds, like)),
                Candidate("torch.randn, the floor", lambda: torch.randn(like.shape, generator=generator)),
            ],
            rounds=9,
            target="at least 30x the fastest public generator, at most 1.5x torch.randn",
        )
    ]

# SPDX-License-Identifier: Apache-2.0
"""Fractal 2-D OpenSimplex noise (Spencer 2014, version 1) as a sparse linear operator on a fixed pixel grid.

OpenSimplex noise at a point p is a sum over the vertices v of a triangular lattice with edge √2:

    S(p) = 1/47 Σ_v max(0, 2 - |p - v|²)⁴ · g_v · (p - v),      g_v one of eight integer gradients,

and fractal noise is n(x, y) = Σ_k persistence^k · S(x / λ_k, y / λ_k) with wavelengths λ_k = wavelength_px / 2^k. On a
fixed grid everything but the gradients is constant, so n = W g with a sparse W of 8 numbers per pixel and octave: the
kernel's radius equals the edge, and no point lies inside the kernels of more than four vertices (two gradient
components each). W is built once per grid; a field costs one sparse product.

Checked in ``tests/noise/test_simplex.py`` against a scalar evaluation in float64 and the package ``opensimplex``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

STRETCH = (1 / math.sqrt(3) - 1) / 2
SQUISH = (math.sqrt(3) - 1) / 2
NORM = 47.0
GRADIENTS = torch.tensor([[5, 2], [2, 5], [-5, 2], [-2, 5], [5, -2], [2, -5], [-5, -2], [-2, -5]], dtype=torch.float32)

# Vertices around a point of the unit cell whose kernel can reach it; at most four do.
_CANDIDATES = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1], [1, -1], [-1, 1], [2, 0], [0, 2]])
_REACHED = 4

# Origins of the bank: a 13-point Fibonacci lattice in the unit cell, shifted and visited in another order per octave.
# Averages of smooth functions over it equal the average over all origins (here: the variance of a pixel).
BANK_SIZE = 13
_FIBONACCI = 8
_SHIFT = (0.7548776662466927, 0.5698402909980532)

# Variance of S(p) over independent gradients and uniform p: E[S²] = (29/2)/47² · (π/√3) · ∫₀² (2-u)⁸ u du with
# u = |p - v|², 29/2 = E[g_x²] = E[g_y²] and √3 the area of the unit cell.
OCTAVE_VARIANCE = 29 / 2 / NORM**2 * math.pi / math.sqrt(3) * 1024 / 90


def ensemble_std(octaves: int, persistence: float) -> float:
    """Return the standard deviation of the fractal sum over independent gradients and uniform lattice origins."""
    return math.sqrt(OCTAVE_VARIANCE * sum(persistence ** (2 * k) for k in range(octaves)))


@dataclass(frozen=True)
class Operator:
    """A bank of sparse matrices W; gradient components 2v and 2v+1 belong to vertex v.

    Attributes:
        index: int32 ``[K, H * W, 8 * octaves]`` columns of the non-zeros.
        weight: float32, same shape.
        vertices: int64 ``[V, 2]`` lattice coordinates of the vertices of the first matrix (for permutation tables).
        gradients: the eight gradients ``[8, 2]``, on the same device.
        num_vertices: largest number of vertices of the K matrices.
    """

    index: Tensor
    weight: Tensor
    vertices: Tensor
    gradients: Tensor
    num_vertices: int


@lru_cache(maxsize=4)
def operator(
    octaves: int,
    persistence: float,
    wavelength_px: float,
    gain: float,
    height: int,
    width: int,
    bank: bool,
    device: torch.device,
) -> Operator:
    """Build (or recall) the operator for a grid of ``height`` rows (the published algorithm's y) and ``width`` columns.

    Without ``bank`` it has one matrix with the lattice origin at pixel (0, 0) in every octave, as published, else
    ``BANK_SIZE`` matrices with other origins. ``gain`` is a factor on the noise.
    """
    index, weight, vertices = [], [], []
    for entry in range(BANK_SIZE if bank else 1):
        first, parts = 0, []
        for octave in range(octaves):
            origin = _origin(entry, octave) if bank else (0.0, 0.0)
            columns, values, used = _octave(height, width, wavelength_px / 2**octave, origin)
            parts.append((columns + 2 * first, values * gain * persistence**octave, used))
            first += len(used)
        index.append(torch.cat([part[0] for part in parts], 1).to(torch.int32))
        weight.append(torch.cat([part[1] for part in parts], 1).to(torch.float32))
        vertices.append(torch.cat([part[2] for part in parts]))
    return Operator(
        torch.stack(index).to(device),
        torch.stack(weight).to(device),
        vertices[0].to(device),
        GRADIENTS.to(device),
        max(len(used) for used in vertices),
    )


def _origin(entry: int, octave: int) -> tuple[float, float]:
    place = entry * (octave % (BANK_SIZE - 1) + 1) % BANK_SIZE
    shift = [(octave + 1) * part for part in _SHIFT]
    return (place / BANK_SIZE + shift[0]) % 1, (place * _FIBONACCI / BANK_SIZE + shift[1]) % 1


def _octave(height: int, width: int, wavelength: float, origin: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return columns and values ``[H * W, 8]`` of one octave and its vertices ``[V, 2]``; ``origin`` in cell units."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    point = torch.stack([x, y], -1).reshape(-1, 1, 2) / wavelength
    skewed = point + point.sum(-1, keepdim=True) * STRETCH + torch.tensor(origin, dtype=torch.float64)
    vertex = skewed.floor().long() + _CANDIDATES
    offset = skewed - vertex
    offset = offset + offset.sum(-1, keepdim=True) * SQUISH
    reach, nearest = (2 - offset.square().sum(-1)).clamp(min=0).topk(_REACHED, dim=-1)
    nearest = nearest[..., None].expand(-1, -1, 2)
    values = reach[..., None] ** 4 * offset.gather(1, nearest) / NORM
    vertex = vertex.gather(1, nearest)

    low = vertex.amin((0, 1))
    span = int(vertex[..., 1].max() - low[1]) + 1
    code = (vertex[..., 0] - low[0]) * span + vertex[..., 1] - low[1]
    present = torch.zeros(int(code.max()) + 1, dtype=torch.bool)
    present[code.flatten()] = True
    number = present.cumsum(0)[code] - 1
    codes = present.nonzero()[:, 0]
    columns = torch.stack([2 * number, 2 * number + 1], -1).flatten(1)
    return columns, values.flatten(1), torch.stack([codes // span + low[0], codes % span + low[1]], -1)


def permutations(seeds: Sequence[int]) -> Tensor:
    """Return the published permutations ``[len(seeds), 256]``: a shuffle driven by a 64-bit congruential generator."""
    with np.errstate(over="ignore"):
        states = np.asarray(seeds, dtype=np.int64)[:, None] * _LCG_POWERS + _LCG_OFFSETS  # wraps modulo 2^64
        places = ((states + 31) % np.arange(256, 0, -1)).tolist()
    tables = []
    for row in places:
        source, table = list(range(256)), [0] * 256
        for position, place in zip(range(255, -1, -1), row, strict=True):
            table[position], source[place] = source[place], source[position]
        tables.append(table)
    return torch.tensor(tables)


def hashed_gradients(tables: Tensor, vertices: Tensor) -> Tensor:
    """Return the number 0 ... 7 of the gradient of every vertex, ``[N, V]``, by permutation ``tables`` ``[N, 256]``."""
    first = tables[:, vertices[:, 0] & 255]
    return (tables.gather(1, (first + vertices[:, 1]) & 255) & 14) >> 1


def _lcg(steps: int, discarded: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return a, b such that state i of the generator started from s is a[i] s + b[i] (modulo 2^64, as int64)."""
    factor, offset, powers, offsets = 1, 0, [], []
    for _ in range(discarded + steps):
        factor = factor * 6364136223846793005 % 2**64
        offset = (offset * 6364136223846793005 + 1442695040888963407) % 2**64
        powers.append(factor)
        offsets.append(offset)
    as_int64 = [np.array(values[discarded:], dtype=np.uint64).view(np.int64) for values in (powers, offsets)]
    return as_int64[0], as_int64[1]


_LCG_POWERS, _LCG_OFFSETS = _lcg(steps=256, discarded=3)

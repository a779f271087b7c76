# SPDX-License-Identifier: Apache-2.0
"""Slow scalar OpenSimplex noise (Spencer 2014, version 1, two dimensions) straight from its definition.

S(p) = 1/47 Σ_v max(0, 2 - |p - v|²)⁴ g_v · (p - v), summed over *all* lattice vertices around p in Python floats: no
case distinction, no selection of vertices, nothing vectorised. A lattice vertex with integer coordinates (i, j) lies
at (i, j) + (i + j) (√3 - 1)/2. Its gradient follows from a 256-permutation shuffled by a 64-bit congruential generator.
"""

import math

DIRECTIONS = [(5, 2), (2, 5), (-5, 2), (-2, 5), (5, -2), (2, -5), (-5, -2), (-2, -5)]


def _signed_64_bit(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


def permutation(seed: int) -> list[int]:
    def advance(state: int) -> int:
        return _signed_64_bit(state * 6364136223846793005 + 1442695040888963407)

    state = advance(advance(advance(seed)))
    remaining, shuffled = list(range(256)), {}
    for position in reversed(range(256)):
        state = advance(state)
        place = (state + 31) % (position + 1)
        shuffled[position] = remaining[place]
        remaining[place] = remaining[position]
    return [shuffled[position] for position in range(256)]


def noise2(x: float, y: float, table: list[int]) -> float:
    squish = (math.sqrt(3) - 1) / 2
    stretch = (1 / math.sqrt(3) - 1) / 2
    column, row = math.floor(x + (x + y) * stretch), math.floor(y + (x + y) * stretch)
    total = 0.0
    for i in range(column - 3, column + 5):
        for j in range(row - 3, row + 5):
            dx, dy = x - i - (i + j) * squish, y - j - (i + j) * squish
            reach = 2 - dx * dx - dy * dy
            if reach > 0:
                gx, gy = DIRECTIONS[(table[(table[i % 256] + j) % 256] % 16) // 2]
                total += reach**4 * (gx * dx + gy * dy)
    return total / 47


def fractal(x_px: int, y_px: int, table: list[int], octaves: int, persistence: float, wavelength_px: float) -> float:
    """One pixel of n(y, x) = Σ_k persistence^k S(x 2^k / wavelength, y 2^k / wavelength)."""
    return sum(
        persistence**k * noise2(x_px * 2**k / wavelength_px, y_px * 2**k / wavelength_px, table) for k in range(octaves)
    )

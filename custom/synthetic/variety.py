# SPDX-License-Identifier: Apache-2.0
"""How much the subjects and scanners of a synthetic cohort differ.

``DEMO`` is the demo cohort: realistic spreads around one scanner. ``WIDE`` is for training models that are to be used
on scanners nobody has seen (the idea of SynthSeg, Billot et al., Medical Image Analysis 2023, doi
10.1016/j.media.2023.102789): contrasts, coil fields, resolutions, noise levels, ventricles and brain edges from ranges
that are wider than life. The demo cohort's images do not depend on ``WIDE``.
"""

from dataclasses import dataclass

from ..core.errors import ConfigError

Range = tuple[float, float]


@dataclass(frozen=True)
class Variety:
    """Ranges are uniform unless a standard deviation (sd) is named.

    Attributes:
        scale: largest relative deviation of the head's size along each axis.
        rotation_deg: largest rotation about each axis.
        shift_mm: largest shift along each axis.
        ventricle_sd_mm: sd of the individual widening of the ventricles, beyond what age does.
        ventricle_max_mm: largest widening of the ventricles.
        edge_mm: how deep the brain mask cuts into the sub-arachnoid space.
        tissue_spread: factor on the sd of the tissues' brightness.
        bias_sd: sd of the logarithm of the coil field.
        noise: sd of the Rician noise, white matter = 1.
        in_plane_mm: sigma of the point spread within the slices.
        through_plane_factor: factor on the contrast's range of the sigma across the slices.
        any_slice_axis: slices are acquired along any of the three axes, not the axial one alone.

    >>> Variety(rotation_deg=8.0).rotation_deg / DEMO.rotation_deg
    4.0
    """

    scale: float = 0.015
    rotation_deg: float = 2.0
    shift_mm: float = 0.8
    ventricle_sd_mm: float = 0.6
    ventricle_max_mm: float = 3.2
    edge_mm: Range = (0.4, 1.6)
    tissue_spread: float = 1.0
    bias_sd: Range = (0.05, 0.05)
    noise: Range = (0.012, 0.03)
    in_plane_mm: Range = (0.3, 0.7)
    through_plane_factor: float = 1.0
    any_slice_axis: bool = False


DEMO = Variety()
WIDE = Variety(
    scale=0.03,
    rotation_deg=4.0,
    shift_mm=2.0,
    ventricle_sd_mm=1.5,
    ventricle_max_mm=6.0,
    edge_mm=(-0.3, 2.2),
    tissue_spread=2.5,
    bias_sd=(0.02, 0.15),
    noise=(0.005, 0.05),
    in_plane_mm=(0.3, 1.1),
    through_plane_factor=2.0,
    any_slice_axis=True,
)
VARIETIES = {"demo": DEMO, "wide": WIDE}


def variety(name: str) -> Variety:
    """Return the variety called ``name``.

    >>> variety("wide").ventricle_max_mm
    6.0
    """
    if name not in VARIETIES:
        raise ConfigError(f"no variety of synthetic subjects is called {name!r}; known: {', '.join(VARIETIES)}")
    return VARIETIES[name]

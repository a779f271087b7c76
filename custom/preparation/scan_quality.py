# SPDX-License-Identifier: Apache-2.0
"""Is this scan well prepared? Measures of extraction, registration and bias field, each with limits for a warning and a failure.

The limits stand well outside what four raw scans of one patient and the prepared scans of two public sets gave
(:data:`LIMITS`). A scan that fails stays out of cohorts; the page of its preparation shows why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .subject import Subject

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class _Limits:
    """What is measured, with its unit, and two ranges: outside the usual one is a warning, outside the possible a failure."""

    words: str
    usual: tuple[float, float]
    possible: tuple[float, float]

    def verdict(self, value: float) -> str:
        """Return "ok", "warn" or "fail"."""
        if not self.possible[0] <= value <= self.possible[1]:
            return FAIL
        return OK if self.usual[0] <= value <= self.usual[1] else WARN


_NO = float("inf")
LIMITS = {
    "brain_ml": _Limits("volume of the brain (ml)", (1000, 1800), (700, 2200)),
    "mask_overlap": _Limits("overlap with the template's mask (Dice)", (0.92, 1), (0.85, 1)),
    "smallest_stretch": _Limits("smallest stretch of the registration", (0.8, 1.15), (0.7, 1.3)),
    "largest_stretch": _Limits("largest stretch of the registration", (0.8, 1.15), (0.7, 1.3)),
    "pose_ratio": _Limits("fit against the head turned over (ratio)", (2.0, _NO), (1.5, _NO)),
    "cut_share": _Limits("share of the brain's surface at the edge of the scan", (0, 0.05), (0, 0.25)),
    "extractors_agree": _Limits("agreement of two brain extractors (Dice)", (0.95, 1), (0.90, 1)),
    "bias_log_sd": _Limits("spread of the bias field (log)", (0, 0.25), (0, _NO)),
}


@dataclass(frozen=True)
class Measure:
    """One measure of a scan: a key of :data:`LIMITS`, a value in the unit that :attr:`words` names, "ok", "warn" or "fail".

    >>> measure = Measure("brain_ml", 2500.0, LIMITS["brain_ml"].verdict(2500.0))
    >>> measure.verdict, measure.words, measure.expected
    ('fail', 'volume of the brain (ml)', '1000 to 1800')
    """

    name: str
    value: float
    verdict: str

    @property
    def words(self) -> str:
        """What is measured."""
        return LIMITS[self.name].words

    @property
    def expected(self) -> str:
        """The usual range in words."""
        low, high = LIMITS[self.name].usual
        return f"at least {low:g}" if high in (_NO, 1) and low > 0 else f"{low:g} to {high:g}"

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"value": round(self.value, 4), "verdict": self.verdict, "what": self.words, "usual": self.expected}


def measures(native: Subject, record: Mapping[str, Any], agreement: float | None = None) -> list[Measure]:
    """Return the measures of a scan before it moves, and of the record of the registered subject.

    ``agreement`` is the Dice coefficient of the masks of two extractors, where two ran.
    """
    voxel_ml = float(np.prod(native.spacing_mm)) / 1000
    values = {"brain_ml": float((native.brain > 0).sum()) * voxel_ml, "cut_share": cut_share(native.brain)}
    if agreement is not None:
        values["extractors_agree"] = agreement
    return _judged({**values, **_recorded(record)})


def recorded_measures(record: Mapping[str, Any]) -> list[Measure]:
    """Return the measures that a record alone gives: those of registration and bias field."""
    return _judged(_recorded(record))


def _recorded(record: Mapping[str, Any]) -> dict[str, float]:
    values: dict[str, float] = {}
    registration = record.get("registration", {})
    for name in ("mask_overlap", "pose_ratio"):
        if name in registration:
            values[name] = float(registration[name])
    if "stretch" in registration:
        values["largest_stretch"], values["smallest_stretch"] = (float(registration["stretch"][k]) for k in (0, 2))
    if "bias_field" in record:
        values["bias_log_sd"] = float(record["bias_field"]["log_sd"])
    return values


def _judged(values: Mapping[str, float]) -> list[Measure]:
    return [
        Measure(name, values[name], limits.verdict(values[name])) for name, limits in LIMITS.items() if name in values
    ]


def worst(found: list[Measure]) -> str:
    """Return the worst verdict."""
    verdicts = {measure.verdict for measure in found}
    return FAIL if FAIL in verdicts else WARN if WARN in verdicts else OK


def cut_share(mask: NDArray[Any]) -> float:
    """Return the share of a mask's surface voxels that lie on the edge of the array, the lowest slice excepted.

    The brain stem runs out of the scan below, which is no fault.
    """
    inside = np.asarray(mask) > 0
    surface = inside & ~ndimage.binary_erosion(inside)
    if not surface.any():
        return 0.0
    edge = np.zeros_like(surface)
    edge[[0, -1]] = edge[:, [0, -1]] = edge[:, :, -1] = True
    return float((surface & edge).sum()) / float(surface.sum())

# SPDX-License-Identifier: Apache-2.0
"""What the scores of a model mean: thresholds, healthy quantiles and the training scans' picture, as its evaluation found them.

They stand in the ``calibration`` section of ``model.json`` (:mod:`custom.runs.model_folder`). The healthy quantiles are
scores inside healthy brains: they give percentiles for pictures, and a threshold for any false-positive rate between
the smallest and the largest that was measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.description import build
from ..core.errors import ConfigError
from ..preparation.quality import usable_reference
from ..runs.model_folder import ModelFolder
from ..scoring import bound

_UNSET = (None, "", "null", "None")
_RATE_PREFIX = "healthy_fpr_"


@dataclass(frozen=True)
class Threshold:
    """A threshold and where it comes from, in words for the report."""

    value: float
    source: str


@dataclass(frozen=True)
class Calibration:
    """What a model's scores mean.

    Attributes:
        contrast: contrast of the training scans.
        score: name of the score that all numbers belong to.
        thresholds: by name, the default first; ``tuned/<data set>`` are those tuned on labelled scans.
        quantiles: rising pairs (probability, score) inside healthy brains.
        reference: see :func:`custom.preparation.quality.build_reference`.
        reconstruction: settings of the calibrated reconstructions (``t_test`` and the like).
        scoring: the score, not yet bound to a network (:func:`custom.scoring.bound`).
        postprocessing: the post-processing of the calibrated maps.
    """

    contrast: str
    score: str
    thresholds: Mapping[str, Threshold]
    quantiles: Sequence[tuple[float, float]]
    reference: Mapping[str, Any] | None = None
    reconstruction: Mapping[str, Any] = field(default_factory=dict)
    scoring: Any = None
    postprocessing: Any = None

    @classmethod
    def of(cls, model: ModelFolder, score: Any = None) -> "Calibration":
        """Return the calibration of a model; ``score`` is the score that maps are asked for, None the calibrated one.

        Raises:
            ConfigError: the model has none, it belongs to another score or grid, or names unknown parts.
        """
        found = model.calibration
        if found is None:
            raise ConfigError(
                f"the model in {model.folder} has no calibration, so there is no threshold. Run its evaluation with --promote "
                "True, or 'run promoting' for a finished one (it must not be a trial on a part of the scans)."
            )
        if score not in (*_UNSET, found["score"]):
            raise ConfigError(
                f"the thresholds of the model in {model.folder} belong to the score {found['score']}, not to {score}; leave "
                f"--score out, or evaluate the model with --primary {score} and promote that evaluation."
            )
        spacing = [float(model.build("preparation").spacing_mm)] * 3
        if found.get("spacing_mm") != spacing:
            raise ConfigError(
                f"the calibration of the model in {model.folder} was made on a grid of {found.get('spacing_mm')} mm, its "
                f"preparation gives {spacing} mm; evaluate the model again."
            )
        quantiles = found["healthy_quantiles"]
        return cls(
            model.contrast,
            str(found["score"]),
            {name: Threshold(float(one["value"]), str(one["source"])) for name, one in found["thresholds"].items()},
            [(float(p), float(q)) for p, q in zip(quantiles["levels"], quantiles["scores"], strict=True)],
            usable_reference(found.get("reference")),
            dict(found.get("reconstruction") or {}),
            build(found["scoring"]),
            build(found["postprocessing"]),
        )

    def bound_scoring(self, network: Any) -> Any:
        """Return ``score(image, reconstruction)`` with what it needs of the trained ``network``."""
        return bound(self.scoring, network)

    def threshold(self, sensitivity: Any = None, threshold: Any = None) -> Threshold:
        """Return the threshold to use.

        Args:
            sensitivity: name of a calibrated threshold, or a false-positive rate inside healthy brains such as 0.01; None
                is the first of the model. Of a list (a client's menu) the first entry counts.
            threshold: score that decides instead; None leaves the choice to ``sensitivity``.

        Raises:
            ConfigError: an unknown name, a rate outside those that were measured, or a threshold that no score can have.
        """
        if threshold not in _UNSET:
            return Threshold(_score(threshold), "given by the user")
        if isinstance(sensitivity, (list, tuple)):
            sensitivity = sensitivity[0] if sensitivity else None
        name = self.names[0] if sensitivity in _UNSET else str(sensitivity)
        if name in self.thresholds:
            return self.thresholds[name]
        rate = _rate(name)
        if rate is None:
            raise ConfigError(
                f"sensitivity {name!r} is unknown; choose {', '.join(self.names)} or a rate such as 0.02."
            )
        if (stored := self.thresholds.get(f"{_RATE_PREFIX}{rate:g}")) is not None:
            return stored
        lowest, highest = self.rates
        if not lowest <= rate <= highest:
            raise ConfigError(
                f"the rate {rate:g} was not measured: the calibration knows the scores that {lowest:g} to {highest:g} of the "
                "voxels of healthy brains exceed; choose a rate between them, or a score by --threshold."
            )
        levels, scores = np.array(self.quantiles, dtype=np.float64).T
        value = float(np.interp(1 - rate, levels, scores))
        share = 100 - float(self.percentile_of(np.array([value]))[0])  # less than asked for where many scores are equal
        return Threshold(value, f"exceeded by about {share:.3g} % of the voxels of healthy brains")

    @property
    def names(self) -> list[str]:
        """Names that ``sensitivity`` may take, the default first."""
        return list(self.thresholds)

    @property
    def rates(self) -> tuple[float, float]:
        """Smallest and largest false-positive rate that ``sensitivity`` may ask for."""
        if not self.quantiles:
            raise ConfigError(f"the calibration has no healthy quantiles; choose one of {', '.join(self.names)}.")
        return round(1 - self.quantiles[-1][0], 9), round(1 - self.quantiles[0][0], 9)

    def percentile_of(self, scores: NDArray[Any]) -> NDArray[np.float32]:
        """Return for each score the percentile (0 to 100) that it has inside healthy brains; ties take the upper end."""
        probability, score = np.array(self.quantiles, dtype=np.float64).T if self.quantiles else (np.zeros(0),) * 2
        if not len(score):
            raise ConfigError("the calibration has no healthy quantiles; run the evaluation of this model again.")
        upper = np.searchsorted(score, scores, side="right")
        exact = np.interp(scores, score, probability)
        tied = probability[np.maximum(upper - 1, 0)]
        return (100 * np.where(upper > 0, np.maximum(exact, tied), 0)).astype(np.float32)


def _score(threshold: Any) -> float:
    try:
        value = float(threshold)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ConfigError(f"the threshold {threshold!r} is no anomaly score: those are numbers of 0 or more.")
    return value


def _rate(name: str) -> float | None:
    try:
        value = float(name.removeprefix(_RATE_PREFIX))
    except ValueError:
        return None
    return value if math.isfinite(value) else None

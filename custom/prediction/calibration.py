# SPDX-License-Identifier: Apache-2.0
"""Thresholds, healthy percentiles and reference histogram of a trained model, as its evaluation wrote them.

``calibration.json`` beside the weights::

    {"contrast": "t1", "score": "ssim_ens",
     "thresholds": {"healthy_fpr_0.01": 0.41, "healthy_fpr_0.05": 0.33, "tuned": {"<data set>": 0.37}},
     "healthy_quantiles": {"levels": [0.5, 0.99, ...], "scores": [0.12, 0.41, ...]},
     "reference": {...}, "reconstruction": {"t_test": 500, ...}}

``healthy_quantiles`` are scores inside healthy brains. They give percentiles for pictures, and a threshold for any
wanted false-positive rate. ``contrast`` may stand in ``settings.json`` instead.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ConfigError
from ..core.files import read_json
from ..preparation.quality import usable_reference
from ..runs.settings import trained_settings

FILE_NAME = "calibration.json"
_FPR = re.compile(r"(?:healthy_fpr_)?(0?\.\d+)")


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
        thresholds: by name; ``tuned`` holds one per data set.
        quantiles: rising pairs (probability, score) inside healthy brains.
        reference: see :func:`custom.preparation.quality.build_reference`.
        reconstruction: how the calibrated reconstructions were made, as far as it is known.
    """

    contrast: str
    score: str
    thresholds: Mapping[str, Any]
    quantiles: Sequence[tuple[float, float]]
    reference: Mapping[str, Any] | None
    reconstruction: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, output_dir: str | Path, score: str | None = None) -> "Calibration":
        """Read the calibration of a run folder; ``score`` is the score that maps are to be made with.

        Raises:
            ConfigError: there is none, it is damaged, or it belongs to another score.
        """
        path = Path(output_dir) / FILE_NAME
        if not path.is_file():
            raise ConfigError(
                f"{path} is missing: without it there is no threshold. Run the evaluation of this model first (it "
                "calibrates on healthy scans), or point to the folder of an evaluated model."
            )
        found = read_json(path, "run the evaluation of this model again.")
        try:
            made = cls(
                str(found.get("contrast") or trained_settings(output_dir)["contrast"]),
                str(found["score"]),
                dict(found["thresholds"]),
                _pairs(found.get("healthy_quantiles") or {}),
                usable_reference(found.get("reference")),
                dict(found.get("reconstruction") or {}),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path} is damaged ({error!r}); run the evaluation of this model again.") from error
        if score is not None and score != made.score:
            raise ConfigError(
                f"the thresholds in {path} belong to the score {made.score}, not to {score}; use --score {made.score} or "
                "evaluate the model with the other score."
            )
        return made

    def threshold(self, sensitivity: Any = None, threshold: Any = None) -> Threshold:
        """Return the threshold to use.

        Args:
            sensitivity: name of a calibrated threshold, ``tuned/<data set>``, or a false-positive rate inside healthy
                brains such as 0.01; None is the first of the model. Of a list (a client's menu) the first entry counts.
            threshold: score that decides instead, if it is a number above 0.
        """
        if threshold not in (None, "", "null", "None") and float(threshold) > 0:
            return Threshold(float(threshold), "given by the user")
        if isinstance(sensitivity, (list, tuple)):
            sensitivity = sensitivity[0] if sensitivity else None
        name = self.names[0] if sensitivity in (None, "", "null", "None") else str(sensitivity)
        group, _, dataset = name.partition("/")
        values = self.thresholds.get(group)
        if isinstance(values, Mapping) and dataset in values:
            return Threshold(float(values[dataset]), f"tuned on labelled scans of {dataset}")
        match = _FPR.fullmatch(name)
        if match is None or isinstance(values, Mapping):
            raise ConfigError(
                f"sensitivity {name!r} is unknown; choose {', '.join(self.names)} or a rate such as 0.02."
            )
        rate = float(match.group(1))
        stored = self.thresholds.get(f"healthy_fpr_{rate:g}")
        value = float(stored) if stored is not None else self._quantile(1 - rate)
        return Threshold(value, f"exceeded by {100 * rate:.3g} % of the voxels of healthy brains")

    @property
    def names(self) -> list[str]:
        """Names that ``sensitivity`` may take, the default first."""
        tuned = self.thresholds.get("tuned") or {}
        return [name for name in self.thresholds if name != "tuned"] + [f"tuned/{dataset}" for dataset in tuned]

    def percentile_of(self, scores: NDArray[Any]) -> NDArray[np.float32]:
        """Return for each score the percentile (0 to 100) that it has inside healthy brains; ties take the upper end."""
        probability, score = np.array(self.quantiles, dtype=np.float64).T if self.quantiles else (np.zeros(0),) * 2
        if not len(score):
            raise ConfigError("the calibration has no healthy quantiles; run the evaluation of this model again.")
        upper = np.searchsorted(score, scores, side="right")
        exact = np.interp(scores, score, probability)
        tied = probability[np.maximum(upper - 1, 0)]
        return (100 * np.where(upper > 0, np.maximum(exact, tied), 0)).astype(np.float32)

    def _quantile(self, probability: float) -> float:
        if not self.quantiles:
            raise ConfigError(f"the calibration has no healthy quantiles; choose one of {', '.join(self.names)}.")
        levels, scores = np.array(self.quantiles, dtype=np.float64).T
        return float(np.interp(probability, levels, scores))


def _pairs(quantiles: Mapping[str, Any]) -> list[tuple[float, float]]:
    levels, scores = quantiles.get("levels", []), quantiles.get("scores", [])
    return sorted((float(p), float(q)) for p, q in zip(levels, scores, strict=True))

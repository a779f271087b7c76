# SPDX-License-Identifier: Apache-2.0
"""What the scores of a model mean: thresholds, healthy quantiles and the training scans' picture, as its evaluation found them.

They stand in the ``calibration`` section of ``model.json`` (:mod:`custom.runs.model_folder`). The healthy quantiles are
scores inside healthy brains: they give percentiles for pictures, and a threshold for any false-positive rate between
the smallest and the largest that was measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.description import build
from ..core.digests import read_checked_json
from ..core.errors import ConfigError
from ..metrics import INDISCRIMINATE_FPR
from ..models.weights import metadata_of
from ..runs.model_folder import ModelFolder
from .healthy_scans import HealthyScans

_UNSET = (None, "", "null", "None")
_RATE_PREFIX = "healthy_fpr_"
_OLD_NAMES = {"t_test": "test_timesteps"}  # of settings in the models of earlier versions


@dataclass(frozen=True)
class Threshold:
    """A threshold, an anomaly score of 0 or more, and where it comes from, in words for the report.

    >>> Threshold(0.15, "exceeded by 1 % of the voxels of healthy brains").value
    0.15
    """

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
        reconstruction: settings of the calibrated reconstructions (``test_timesteps`` and the like).
        scoring: the score, not yet bound to a network, see :func:`custom.scoring.bound`.
        postprocessing: the post-processing of the calibrated maps.
        healthy_error: mean absolute difference of healthy scans from their reconstructions inside the brain, intensities in
            [0, 1]; None where it was not measured.
        iterations: training steps behind the weights, None where they are not noted.
        training_seconds: how long the training took, None where its run folder does not say.
        pictures: thresholds and healthy quantiles of single slices, where they were calibrated (`uad calibrate --pictures`).
        healthy: which healthy scans calibrated the model, see :class:`HealthyScans`.

    >>> quantiles = [(0.0, 0.0), (0.9, 0.1), (0.99, 0.3), (1.0, 0.8)]
    >>> calibration = Calibration("t1", "l1", {"healthy_fpr_0.01": Threshold(0.3, "healthy scans")}, quantiles)
    >>> calibration.threshold().value, round(calibration.threshold(sensitivity=0.1).value, 2)
    (0.3, 0.1)
    >>> calibration.percentile_of(np.array([0.1, 0.9])).tolist()
    [90.0, 100.0]
    """

    contrast: str
    score: str
    thresholds: Mapping[str, Threshold]
    quantiles: Sequence[tuple[float, float]]
    reference: Mapping[str, Any] | None = None
    reconstruction: Mapping[str, Any] = field(default_factory=dict)
    scoring: Any = None
    postprocessing: Any = None
    healthy_error: float | None = None
    iterations: int | None = None
    training_seconds: float | None = None
    pictures: Mapping[str, Any] | None = None
    healthy: HealthyScans = field(default_factory=HealthyScans)

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
        return cls(
            model.contrast,
            str(found["score"]),
            *_thresholds_and_quantiles(found),
            found.get("reference") or None,
            {_OLD_NAMES.get(name, name): value for name, value in (found.get("reconstruction") or {}).items()},
            build(found["scoring"]),
            build(found["postprocessing"]),
            found.get("healthy_error"),
            _iterations(model),
            _training_seconds(model),
            found.get("pictures"),
            HealthyScans.of(found),
        )

    @property
    def for_pictures(self) -> "Calibration":
        """What scores of single slices mean: calibrated on such, else as in whole scans, which score a little lower.

        Where the score is relative to a whole scan, ``pictures`` names another one for slices.
        """
        if self.pictures is None:
            return self
        thresholds, quantiles = _thresholds_and_quantiles(self.pictures)
        own = replace(self, thresholds=thresholds, quantiles=quantiles)
        if "scoring" not in self.pictures:
            return own
        return replace(own, score=self.pictures["score"], scoring=build(self.pictures["scoring"]))

    def not_calibrated_for(self, scanner: str, brain_extraction: str) -> list[str]:
        """Return a sentence for each way in which the scans that calibrated the model were of another kind.

        ``scanner`` is "" if it is not known, ``brain_extraction`` see :mod:`custom.preparation.brain_extraction`.
        """
        return self.healthy.unlike(scanner, brain_extraction)

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
            chosen = Threshold(_score(threshold), "given by the user")
        else:
            if isinstance(sensitivity, (list, tuple)):
                sensitivity = sensitivity[0] if sensitivity else None
            chosen = self._named(self.names[0] if sensitivity in _UNSET else str(sensitivity))
        doubt = self.doubt(chosen.value)
        return Threshold(chosen.value, f"{chosen.source}; {doubt}") if doubt else chosen

    def doubt(self, value: float) -> str:
        """Return what is to be said against a threshold, see :func:`doubt_about`."""
        return doubt_about(value, self.quantiles)

    def _named(self, name: str) -> Threshold:
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
        share = 100 - float(self.percentile_of(value))  # less than asked for where many scores are equal
        return Threshold(value, f"exceeded by about {share:.3g} % of the voxels of healthy brains")

    @property
    def names(self) -> list[str]:
        """Names that ``sensitivity`` may take, the default first."""
        return list(self.thresholds)

    @property
    def offered(self) -> list[str]:
        """The names without those of indiscriminate thresholds (:meth:`doubt`), for a client's menu."""
        return [name for name, one in self.thresholds.items() if not self.doubt(one.value)] or self.names

    @property
    def rates(self) -> tuple[float, float]:
        """Smallest and largest false-positive rate that ``sensitivity`` may ask for."""
        if not self.quantiles:
            raise ConfigError(f"the calibration has no healthy quantiles; choose one of {', '.join(self.names)}.")
        return round(1 - self.quantiles[-1][0], 9), round(1 - self.quantiles[0][0], 9)

    def percentile_of(self, scores: NDArray[Any] | float) -> NDArray[np.float32]:
        """Return for one or many scores the percentile (0 to 100) that it has inside healthy brains; ties take the upper end."""
        if not self.quantiles:
            raise ConfigError("the calibration has no healthy quantiles; run the evaluation of this model again.")
        return _percentiles(scores, self.quantiles)


def _iterations(model: ModelFolder) -> int | None:
    noted = metadata_of(model.weights).get("iteration", "") if model.weights.is_file() else ""
    return int(noted) if noted.isdecimal() else None


def _training_seconds(model: ModelFolder) -> float | None:
    path = model.folder / "run.json"
    try:
        noted = read_checked_json(path, "").get("training_seconds") if path.is_file() else None
    except ConfigError:  # a damaged record costs a line of the report and no prediction
        return None
    return float(noted) if isinstance(noted, int | float) else None


def doubt_about(value: float, quantiles: Sequence[tuple[float, float]]) -> str:
    """Return what is to be said of a threshold that marks more than a fifth of healthy brains, "" of any other.

    >>> quantiles = [(0.5, 0.1), (0.9, 0.2), (0.99, 0.4)]
    >>> doubt_about(0.3, quantiles), doubt_about(0.12, quantiles)
    ('', 'indiscriminate: it marks 42% of healthy brains, so what it marks means nothing')
    """
    share = 1 - float(_percentiles(value, quantiles)) / 100 if quantiles else 0.0
    if share <= INDISCRIMINATE_FPR:
        return ""
    least = "at least " if value < quantiles[0][1] else ""
    known = 1 - quantiles[0][0] if least else share
    return f"indiscriminate: it marks {least}{known:.0%} of healthy brains, so what it marks means nothing"


def _percentiles(scores: NDArray[Any] | float, quantiles: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    probability, score = np.array(quantiles, dtype=np.float64).T
    upper = np.searchsorted(score, scores, side="right")
    exact = np.interp(scores, score, probability)
    tied = probability[np.maximum(upper - 1, 0)]
    return (100 * np.where(upper > 0, np.maximum(exact, tied), 0)).astype(np.float32)


def _thresholds_and_quantiles(stored: Mapping[str, Any]) -> tuple[dict[str, Threshold], list[tuple[float, float]]]:
    quantiles = stored["healthy_quantiles"]
    return (
        {name: Threshold(float(one["value"]), str(one["source"])) for name, one in stored["thresholds"].items()},
        [(float(p), float(q)) for p, q in zip(quantiles["levels"], quantiles["scores"], strict=True)],
    )


def _score(threshold: Any) -> float:
    try:
        value = float(threshold)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ConfigError(f"the threshold {threshold!r} is not an anomaly score: those are numbers of 0 or more.")
    return value


def _rate(name: str) -> float | None:
    try:
        value = float(name.removeprefix(_RATE_PREFIX))
    except ValueError:
        return None
    return value if math.isfinite(value) else None

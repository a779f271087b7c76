# SPDX-License-Identifier: Apache-2.0
"""Calibrate a model anew on healthy scans of another scanner: thresholds and percentiles that hold there.

On patients of two other scanners, a threshold that 0.1 % of healthy training voxels exceed marked 31 to 155 ml instead of
1.25. Ten to fifteen healthy scans of the own scanner cure that. Every quantile is the median over the scans of each scan's
own quantile, so that one odd brain does not move it; odd scans are named.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ConfigError, DataError
from ..core.files import require_writable
from ..preparation.quality import build_reference
from ..runs.lock import RunLock
from ..runs.model_folder import FILE_NAME, ModelFolder
from ..runs.model_names import model_folder

FEWEST, ENOUGH = 5, 10
RATES = (0.01, 0.05, 0.001)
PICTURE_RATES = (0.01, 0.001, 0.05)
OUTLIER_DEVIATIONS = 5.0
_OUTLIER_LEVEL = 0.99
Scored = tuple[str, NDArray[np.float32]]  # name of a healthy scan or picture, and the scores inside its brain


@dataclass(frozen=True)
class HealthyScan:
    """One healthy scan as the model sees it.

    Attributes:
        case_id: name.
        scores: anomaly scores inside the brain, ``[n]``.
        image, brain: ``[X, Y, Z]`` on the model's grid, intensities in [0, 1].
        error: mean absolute residual inside the brain, in the same units.
        scanner: what the file says about its scanner, or "".
        brain_extraction: source of the brain mask.

    >>> scores = np.linspace(0, 0.5, 101, dtype=np.float32)
    >>> image, brain = np.zeros((4, 4, 4), np.float32), np.ones((4, 4, 4), dtype=bool)
    >>> scans = [HealthyScan(f"H{k}", scores * (8 if k == 3 else 1), image, brain) for k in range(5)]
    >>> (quantile,), odd = robust_quantiles([(scan.case_id, scan.scores) for scan in scans], levels=[0.9])
    >>> round(quantile, 3), odd  # one odd brain moves nothing, and is named
    (0.45, ['H3'])
    """

    case_id: str
    scores: NDArray[np.float32]
    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    error: float = 0.0
    scanner: str = ""
    brain_extraction: str = ""


def robust_quantiles(scans: Sequence[Scored], levels: Sequence[float]) -> tuple[list[float], list[str]]:
    """Return the median over scans of each scan's quantiles, rising, and the names of the odd scans.

    A scan is odd if its 99 % quantile lies more than 5 median absolute deviations above the median.

    Raises:
        DataError: fewer than five scans.
    """
    _require_enough(len(scans))
    own = np.array([np.quantile(scores, [*levels, _OUTLIER_LEVEL]) for _, scores in scans])
    middle = np.median(own, axis=0)
    limit = middle[-1] + OUTLIER_DEVIATIONS * max(float(np.median(np.abs(own[:, -1] - middle[-1]))), 1e-9)
    odd = [name for (name, _), value in zip(scans, own[:, -1], strict=True) if value > limit]
    return np.maximum.accumulate(middle[:-1]).tolist(), odd


def _thresholds_and_quantiles(
    scans: Sequence[Scored], levels: Sequence[float], rates: Sequence[float], source: Callable[[str, str], str]
) -> tuple[dict[str, Any], list[str]]:
    """Return both entries of a calibration, and the names of the odd scans.

    ``source`` makes the source of a threshold of its rate in % and of what is to be said of odd scans.
    """
    scores, odd = robust_quantiles(scans, levels)
    far = f"; far above it: {', '.join(odd)}" if odd else ""
    thresholds = {}
    for rate in rates:
        (value,), _ = robust_quantiles(scans, [1 - rate])
        thresholds[f"healthy_fpr_{rate:g}"] = {"value": value, "source": source(f"{100 * rate:g} %", far)}
    return {"thresholds": thresholds, "healthy_quantiles": {"levels": list(levels), "scores": scores}}, odd


def recalibrated(
    calibration: Mapping[str, Any], scans: Sequence[HealthyScan], scanner: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the calibration section for a scanner, and the names of the odd scans.

    Score, post-processing and grid of ``calibration``, the section of ``model.json``, stay.
    """
    levels = [float(level) for level in calibration["healthy_quantiles"]["levels"]]
    scored = [(scan.case_id, scan.scores) for scan in scans]
    head = f"median over {len(scans)} healthy scans of {scanner} of the value that"
    own, odd = _thresholds_and_quantiles(
        scored, levels, RATES, lambda share, far: f"{head} {share} of the scan's brain exceeds{far}"
    )
    own |= {
        "healthy_scans": len(scans),
        "reference": build_reference([(scan.image, scan.brain) for scan in scans]),
        "scanner": scanner,
        "stated_scanners": sorted({scan.scanner for scan in scans if scan.scanner}),
        "brain_extraction": sorted({scan.brain_extraction for scan in scans if scan.brain_extraction}),
        "healthy_error": round(float(np.mean([scan.error for scan in scans])), 6),
        "odd_scans": odd,
        "trial": None,
    }
    return {**calibration, **own}, odd


def calibrate_pictures(
    model_dir: Path, healthy: Path, output_dir: Path, scanner: str, mask: str | None = None
) -> list[str]:
    """Write a copy of a model that is calibrated on single healthy slices; return the names of odd pictures.

    The thresholds of whole scans stay. ``healthy`` are pictures of healthy axial slices, or healthy scans, whose axial slices
    are taken every 8 mm; the other arguments see :func:`calibrate`.
    """
    from .find import find_pictures, find_scans

    paths = find_pictures(healthy)
    sources = find_scans(healthy, mask) if paths is None else []
    _require_enough(len(sources if paths is None else paths))
    from ..core.progress import progress
    from .picture_predictor import scores_of_picture, scores_of_slices
    from .predictor import Predictor

    predictor = Predictor.load(model_dir)
    with _place(output_dir):
        if paths is not None:
            found = [(p.stem, scores_of_picture(predictor, p)) for p in progress(paths, desc="healthy pictures")]
        else:  # several slices of one scan count as one, so that no scan weighs more
            scans = progress(sources, desc="healthy scans")
            found = [(s.case_id, scores_of_slices(predictor, s.path, s.mask)) for s in scans]
        stored = predictor.model.calibration or {}
        levels = [float(level) for level in stored["healthy_quantiles"]["levels"]]
        head = f"median over {len(found)} healthy pictures or scans of {scanner} of the value that"
        section, odd = _thresholds_and_quantiles(
            found, levels, PICTURE_RATES, lambda share, _: f"{head} {share} of the brain in single slices exceeds"
        )
        kept = (stored.get("pictures") or {}).items()
        section |= {"odd": odd} | {name: value for name, value in kept if name in ("score", "scoring")}
        predictor.model.copy(output_dir, {**stored, "pictures": section})
    return odd


def calibrate(
    model_dir: Path,
    healthy: Path,
    output_dir: Path,
    scanner: str,
    mask: str | None = None,
    extractor: str = "auto",
    register: str = "auto",
) -> list[str]:
    """Write a copy of a model that is calibrated on healthy scans, and return the names of the odd scans.

    Args:
        model_dir: calibrated model; it stays as it is.
        healthy: healthy scans of one scanner, see :func:`custom.prediction.find.find_scans`.
        output_dir: folder of the copy; must not hold a model.
        scanner: name of the scanner.
        mask: brain masks, see there.
        extractor, register: see :func:`custom.preparation.raw_scans.raw_steps`; predict with the same.
    """
    from .find import find_scans

    sources = find_scans(healthy, mask)
    _require_enough(len(sources))
    from ..core.progress import progress
    from .predictor import Predictor

    predictor = Predictor.load(model_dir, extractor=extractor, register=register)
    model = ModelFolder.read(model_folder(model_dir))
    if model.calibration is None:
        raise ConfigError(f"the model in {model_dir} has no calibration to start from; evaluate and promote it first")
    scans = []
    with _place(output_dir):
        for source in progress(sources, total=len(sources), desc="healthy scans", unit="scan"):
            result = predictor.predict(source.path, source.mask)
            brain = np.asarray(result.grid["brain"]) > 0
            extraction = str(result.record.get("brain_extraction", {}).get("source", ""))
            scores, image, error = result.grid["map"][brain], result.grid["image"], result.reconstruction_error
            scans.append(HealthyScan(source.case_id, scores, image, brain, error, result.scanner, extraction))
        calibration, odd = recalibrated(model.calibration, scans, scanner)
        model.copy(output_dir, calibration)
    return odd


def _require_enough(count: int) -> None:
    if count < FEWEST:
        raise DataError(f"{count} healthy scans are too few to calibrate with; give at least {FEWEST}, better {ENOUGH}")


@contextmanager
def _place(output_dir: Path) -> Iterator[None]:
    """Hold the folder of a calibrated copy; one that has a model already is refused before the work."""
    require_writable(output_dir)
    if (output_dir / FILE_NAME).exists():
        raise ConfigError(f"{output_dir} holds a model already; choose another folder")
    with RunLock(output_dir):
        yield

# SPDX-License-Identifier: Apache-2.0
"""A benchmark on pictures with boxes, as a file: which models, which subsets, how boxes are made of maps.

::

    {
      "name": "nova", "subsets": [null, "T2"], "sensitivity": null,
      "models": {"restoration": {"model": "restoration_t2"},
                 "restoration, published boxes": {"model": "restoration_t2", "boxes": "published"}}
    }

``model`` is the folder of a run or the name of a released model. ``boxes`` are ``"calibrated"`` (the threshold of healthy slices)
or ``"published"`` (the rule of Patrício et al., arXiv 2406.00772: a score above 0.5, the five largest boxes). A picture that
cannot be scored has no boxes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import ConfigError
from ..core.files import read_json
from ..detection import Boxes, MapToBoxes

if TYPE_CHECKING:
    from ..cohorts.pictures import PictureSet

_KEYS = {"about", "name", "subsets", "sensitivity", "models"}
_RULES = {"calibrated": None, "published": MapToBoxes.published()}


@dataclass(frozen=True)
class PictureMatrix:
    """Content of such a file.

    Attributes:
        subsets: words that captions hold, None for all pictures.
        models: name of a row -> ``{"model": folder or name, "boxes": rule}``.
        sensitivity: see :meth:`custom.prediction.calibration.Calibration.threshold`.

    >>> matrix = PictureMatrix(subsets=(None, "T2")).with_models({"own": "output/ddpm_t2_fold0"})
    >>> matrix.models
    {'own': {'model': 'output/ddpm_t2_fold0'}}
    """

    subsets: tuple[str | None, ...] = (None,)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sensitivity: Any = None

    @classmethod
    def read(cls, path: str | Path) -> PictureMatrix:
        """Read a file.

        Raises:
            ConfigError: no JSON, an unknown key, or a model without a name.
        """
        content = read_json(path, "give a matrix of pictures, for example matrices/nova.json.")
        unknown = sorted(set(content) - _KEYS)
        if unknown:
            raise ConfigError(f"{path}: {unknown[0]!r} is unknown; known: {', '.join(sorted(_KEYS))}.")
        for name, entry in content.get("models", {}).items():
            known = "model" in entry and not set(entry) - {"model", "boxes"}
            if not known or entry.get("boxes", "calibrated") not in _RULES:
                raise ConfigError(
                    f'{path}: {name!r} takes "model" and "boxes" ({", ".join(_RULES)}), got {dict(entry)}.'
                )
        return cls(tuple(content.get("subsets", [None])), content.get("models", {}), content.get("sensitivity"))

    def with_models(self, models: Mapping[str, str]) -> PictureMatrix:
        """Return the matrix with further models, boxes at their calibrated thresholds."""
        return replace(self, models={**self.models, **{name: {"model": folder} for name, folder in models.items()}})


def predicted_boxes(matrix: PictureMatrix, pictures: PictureSet, output: Path) -> dict[str, dict[str, Boxes]]:
    """Return row -> picture -> boxes of all models, and write overlays and maps into ``output/<row>``.

    Only pictures with a caption of a subset are predicted; finished ones in ``output`` are kept.
    """
    from .picture_batch import predict_pictures
    from .predictor import Predictor

    wanted = {name for subset in matrix.subsets for name in pictures.subset(subset).pictures}
    paths = [picture.path for name, picture in pictures.pictures.items() if name in wanted]
    found: dict[str, dict[str, Boxes]] = {}
    for row, entry in matrix.models.items():
        predictor = Predictor.load(str(entry["model"]), sensitivity=matrix.sensitivity)
        rule = _RULES[entry.get("boxes", "calibrated")]
        place = output / (re.sub(r"[^A-Za-z0-9_-]+", "_", row).strip("_") or "model")
        records = predict_pictures(predictor, paths, place, rule=rule, report=False)
        boxes = {record["image"]: _boxes(record.get("boxes") or []) for record in records}
        found[row] = {name: boxes.get(name, Boxes.of([])) for name in pictures.pictures}
    return found


def _boxes(rows: Sequence[Mapping[str, Any]]) -> Boxes:
    places = [[row[key] for key in ("x", "y", "width", "height")] for row in rows]
    return Boxes.of(places, [row["score"] for row in rows])

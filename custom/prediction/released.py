# SPDX-License-Identifier: Apache-2.0
"""The models that this package carries, and which of them is for a scan.

A released model is a model folder in ``custom/released`` with a card and the licence of its weights. Which one is for a
scan follows from the contrast that its user declares, or from the picture of the healthy brains that calibrated the
model (:mod:`custom.preparation.quality`): the scan must look like it, and clearly more like it than like any other model's. A
brain of another look (a synthetic one, a large lesion) may miss that; it is still recognised where its picture contradicts
those of all other contrasts. Measured, by how much the correlation with the own contrast exceeded the next: six T1 of IXI 0.55
to 0.61, T1 of two patients 0.09 and 0.25 (FLAIR next), their FLAIR 0.11 and 0.21 (T1 next), their T2 1.00 and 1.00. Synthetic T1
of patients are at times as much like FLAIR; their users are asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import ConfigError, DataError
from ..core.foreseen import find_foreseen
from ..preparation.grid_dictionary import ToModelGridd
from ..preparation.picture_place import PicturePlace
from ..preparation.quality import compare
from ..preparation.scan_dictionary import ReadScand
from ..runs.model_folder import ModelFolder
from ..runs.model_names import released_model, released_models
from ..volumes.picture import read_picture
from .find import ScanSource
from .picture_predictor import find_place
from .watch import begin, prepared

__all__ = ["Choice", "choose_model", "choose_picture_model", "released_model", "released_models"]
CLEAR_LEAD = 1.0  # of the correlation with one contrast over those with all others
LEAST_LEAD, LEAST_PICTURE_LEAD = 0.05, 0.1  # real T1 slices are at times as much like FLAIR
_PICTURES_SEEN = 5
_LEAST_CORRELATION = 0.3  # with the healthy brain of the contrast; FLAIR slices reach 0.28 with T2


@dataclass(frozen=True)
class Choice:
    """A model and why it was chosen, as a sentence for the user.

    >>> choice = choose_model([], contrast="t2")
    >>> choice.model.folder.name, choice.reason
    ('restoration_t2', 'the model for T2, as declared')
    """

    model: ModelFolder
    reason: str


def _by_contrast() -> dict[str, ModelFolder]:
    """Return the first of the released models for each contrast."""
    models: dict[str, ModelFolder] = {}
    for model in released_models():
        models.setdefault(model.contrast, model)
    return models


def choose_model(
    sources: Sequence[ScanSource], contrast: str | None = None, extractor: str = "auto", register: str = "auto"
) -> Choice:
    """Return the released model for all of the scans.

    Args:
        sources: the scans.
        contrast: what the user says they are; None: recognise it.
        extractor, register: how they will be prepared, see :func:`custom.preparation.raw_scans.raw_steps`.

    Raises:
        ConfigError: no model for the contrast, a scan that no model knows, or scans of several contrasts.
        DataError: none of the scans can be used.
    """
    models = _by_contrast()
    if contrast is not None:
        return _declared(models, contrast)
    found: dict[str, Choice] = {}
    unusable: list[DataError] = []
    for source in sources:
        try:
            if (problem := source.problem or begin(source.path)) is not None:
                raise DataError(problem, case=source.case_id)
            found[source.case_id] = _recognise(source, models, extractor, register)
        except (DataError, RuntimeError) as error:  # refused with the others; MONAI wraps the errors of transforms
            foreseen = find_foreseen(error)
            if not isinstance(foreseen, DataError):
                raise foreseen or error from None
            unusable.append(foreseen)
        finally:
            prepared(source.path)
    if not found and unusable:
        raise unusable[0]
    return _agreed(found)


def choose_picture_model(paths: Sequence[Path], contrast: str | None = None) -> Choice:
    """Return the released model for all of the pictures; of many, a few are looked at.

    Arguments and errors as of :func:`choose_model`.
    """
    models = _by_contrast()
    if contrast is not None:
        return _declared(models, contrast)
    some = list(dict.fromkeys(paths[i * len(paths) // _PICTURES_SEEN] for i in range(_PICTURES_SEEN)))
    return _agreed({path.name: _recognise_picture(path, models) for path in some})


def _declared(models: Mapping[str, ModelFolder], contrast: str) -> Choice:
    model = models.get(contrast.lower())
    if model is None:
        raise ConfigError(
            f"no released model is for {contrast.upper()} (there are models for: {', '.join(sorted(models))}); train one, "
            "or name a model by --model."
        )
    return Choice(model, f"the model for {contrast.upper()}, as declared")


def _agreed(choices: Mapping[str, Choice]) -> Choice:
    """Return the choice that all scans agree on."""
    if not choices:
        raise ConfigError("there is no scan to choose a model for.")
    found: dict[str, list[str]] = {}
    for case, choice in choices.items():
        found.setdefault(choice.model.folder.name, []).append(case)
    if len(found) > 1:
        named = "; ".join(f"{name}: {', '.join(cases[:3])}" for name, cases in found.items())
        raise ConfigError(
            f"the scans look like different contrasts ({named}); predict those of one contrast at a time, or declare it by "
            "--contrast."
        )
    return list(choices.values())[-1]


def _reference(model: ModelFolder) -> Mapping[str, Any]:
    """Return what healthy scans look like to a model; empty if it has no calibration by three or more of them."""
    return (model.calibration or {}).get("reference") or {}


def _recognise_picture(path: Path, models: Mapping[str, ModelFolder]) -> Choice:
    picture = read_picture(path, path.name).array[:, :, 0].astype(np.float64)
    places: dict[str, PicturePlace] = {}
    for contrast, model in models.items():
        if reference := _reference(model):
            places[contrast] = find_place(picture, reference, model.build("preparation").shape, case=path.name)[0]
    best = max(places, key=lambda contrast: places[contrast].likeness, default=None)
    others = [place.likeness for contrast, place in places.items() if contrast != best]
    alike = best is not None and bool(others) and places[best].likeness - max(others) < LEAST_PICTURE_LEAD
    if best is None or alike or places[best].correlation < _LEAST_CORRELATION:
        raise ConfigError(
            f"{path.name} does not look clearly like an axial slice of one contrast that there is a released model for "
            f"({', '.join(sorted(models))}); declare it by --contrast if it is one of them, or name a model by --model."
        )
    return Choice(models[best], f"the model for {best.upper()}, which {path.name} looks like")


def _recognise(source: ScanSource, models: Mapping[str, ModelFolder], extractor: str, register: str) -> Choice:
    """Return the model whose healthy brains a scan looks most like."""
    read = ReadScand("image")(source.as_data())
    likeness: dict[str, float] = {}
    correlation: dict[str, float] = {}
    grids: dict[Any, Any] = {}  # models that share a preparation share its result
    for contrast, model in models.items():
        if not (reference := _reference(model)):
            continue
        preparation = model.build("preparation")
        if preparation not in grids:
            to_grid = ToModelGridd("image", preparation, extractor=extractor, register=register)
            grids[preparation] = np.asarray(to_grid(dict(read))["image"])
        image, mask = grids[preparation]
        correlation[contrast] = compare(image, mask, reference)["correlation"]
        likeness[contrast] = correlation[contrast] - reference["min_correlation"]
    best = max(correlation, key=lambda contrast: correlation[contrast], default=None)
    others = [value for contrast, value in correlation.items() if contrast != best]
    lead = correlation[best] - max(others) if best is not None and others else LEAST_LEAD
    if best is None or lead < LEAST_LEAD or (likeness[best] < 0 and lead < CLEAR_LEAD):
        raise ConfigError(
            f"{source.case_id} does not look clearly like one contrast that there is a released model for "
            f"({', '.join(sorted(models))}); declare it by --contrast if it is one of them, or name a model by --model."
        )
    doubt = (
        " more than like any other contrast, though not quite like the model's own scans" if likeness[best] < 0 else ""
    )
    return Choice(models[best], f"the model for {best.upper()}, which {source.case_id} looks like{doubt}")

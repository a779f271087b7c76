# SPDX-License-Identifier: Apache-2.0
"""Brain extraction as a step: one contract for every method, and what was used is recorded.

An extractor is called with ``(image, affine, case)``: ``image`` ``[X, Y, Z]`` float32 whose axes point
right, anterior, superior; ``affine`` voxels to RAS mm. It returns a boolean mask on the same grid.

============  =============================================================  ==========================================
name          method                                                         needs
============  =============================================================  ==========================================
``hd_bet``    network trained on tumour patients (T1, T1c, T2, FLAIR)         extra ``strip`` (294 MB)
``deepbet``   network trained on T1 of healthy adults; fast                   extra ``strip-fast`` (10 MB)
``atlas``     registration of the packaged average brain, refined at edges    nothing
============  =============================================================  ==========================================

``auto`` takes the first of them that is installed. A mask that the user gives always decides. The masks of two methods
differ at the rim, so training scans and patients want the same one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..core.errors import ConfigError
from ..volumes.resampling import Affine, Floats, spacing_of, to_closest_ras
from .brain import above_background
from .extract_atlas import AtlasExtraction
from .extract_deepbet import WEIGHTS_SHA256 as DEEPBET_SHA256
from .extract_deepbet import deepbet, deepbet_weights
from .extract_hd_bet import WEIGHTS_SHA256 as HD_BET_SHA256
from .extract_hd_bet import hd_bet, hd_bet_weights
from .skull import refuse_skull, skull_signs
from .subject import Subject

RECORD = "brain_extraction"
EXTRACTORS = ("hd_bet", "deepbet", "atlas")
CHOICES = ("auto", *EXTRACTORS, "none")
Extractor = Callable[[Floats, Affine, str], NDArray[np.bool_]]


@dataclass(frozen=True)
class ExtractBrain:
    """Give a scan with its skull on a brain mask; scans with a mask and extracted brains are left as they are.

    Attributes:
        extractor: "auto", "hd_bet", "deepbet", "atlas", or "none": scans with a skull are refused.

    >>> image = np.zeros((20, 20, 20), np.float32)
    >>> image[4:16, 4:16, 4:16] = 1  # no skull around it
    >>> ExtractBrain("atlas")(Subject("case1", image, np.diag([4.0, 4, 4, 1]))).record
    {'brain_extraction': {'source': 'already extracted'}}
    """

    extractor: str = "auto"

    def __post_init__(self) -> None:
        if self.extractor not in CHOICES:
            raise ConfigError(f"the extractor {self.extractor!r} is unknown; choose one of {', '.join(CHOICES)}")

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject with a mask, or as it is; what was done stands in its record."""
        if subject.mask is not None:
            return subject.recorded(RECORD, {"source": "given mask"})
        spacing_mm = np.array(subject.spacing_mm)
        if subject.is_flat or not skull_signs(above_background(subject.image), spacing_mm).skull_on:
            return subject.recorded(RECORD, {"source": "already extracted"})
        if self.extractor == "none":
            refuse_skull(above_background(subject.image), spacing_mm, subject.case)
        name = installed_extractor() if self.extractor == "auto" else self.extractor
        mask = extract_brain(subject.image, subject.affine, name, subject.case)
        record = {"source": name, "weights_sha256": weights_sha256(name)}
        note = f"the brain was extracted by {name}"
        return subject.replaced(mask=mask.astype(np.uint8), notes=(note,)).recorded(RECORD, record)


def installed_extractor() -> str:
    """Return the best extractor that can run here."""
    return installed_extractors()[0]


def installed_extractors() -> tuple[str, ...]:
    """Return all extractors that can run here."""
    found = {"hd_bet": hd_bet_weights(), "deepbet": deepbet_weights()}
    return tuple(name for name in EXTRACTORS if name == "atlas" or found[name] is not None)


def chosen_extractor(name: str) -> dict[str, str | None]:
    """Return the extractor that ``name`` stands for here ("auto" is the best that is installed) and its weights' SHA-256."""
    chosen = installed_extractor() if name == "auto" else name
    return {"name": chosen, "weights_sha256": weights_sha256(chosen)}


def weights_sha256(name: str) -> str | None:
    """Return the SHA-256 of the weights that an extractor uses, or None."""
    return {"hd_bet": HD_BET_SHA256, "deepbet": DEEPBET_SHA256["model.pt"]}.get(name)


def extract_brain(image: Floats, affine: Affine, name: str, case: str) -> NDArray[np.bool_]:
    """Return the brain mask of a head ``[X, Y, Z]`` in any voxel order: largest part, holes filled.

    Args:
        image: the head.
        affine: voxels to world (RAS, mm).
        name: one of :data:`EXTRACTORS`.
        case: name put in front of errors.
    """
    extractors: dict[str, Extractor] = {"hd_bet": hd_bet, "deepbet": deepbet, "atlas": AtlasExtraction()}
    turned, ras = to_closest_ras(np.arange(image.size).reshape(image.shape), affine)
    mask = extractors[name](np.ascontiguousarray(image.ravel()[turned]), ras, case)
    labels, count = ndimage.label(mask)
    if count > 1:
        mask = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    filled = np.zeros(image.size, dtype=bool)
    filled[turned.ravel()] = ndimage.binary_fill_holes(mask).ravel()
    return filled.reshape(image.shape)


def mask_ml(mask: NDArray[np.bool_], affine: Affine) -> float:
    """Return the volume of a mask in ml."""
    return float(mask.sum()) * float(np.prod(spacing_of(affine))) / 1000

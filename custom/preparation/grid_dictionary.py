# SPDX-License-Identifier: Apache-2.0
"""Dictionary transforms around a :class:`~custom.preparation.prepare.Preparation` for a MONAI ``Compose``, also inside a MONAI Label server.

``ToModelGridd`` turns a channel-first scan with an affine (``LoadImaged``, ``EnsureChannelFirstd``) into ``[2, X, Y,
Z]``: the image in [0, 1] and the brain mask, so that an inferer called with nothing but this tensor has both. The scan's
own grid is kept in the metadata under MONAI's names ``original_affine`` and ``spatial_shape``. :func:`to_scan_grid`
takes volumes back to it. Stock ``Spacingd`` is avoided: MONAI 1.6 changes every entry called ``image_...``, of which MONAI
Label has several that are no dictionaries.
"""

import hashlib
import json
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from ..core.errors import DataError
from ..volumes.resampling import resample
from .prepare import Preparation
from .raw_scans import for_raw_scans
from .subject import Subject

Data = Mapping[Hashable, Any]
_PREPARED: ContextVar[dict[Any, MetaTensor] | None] = ContextVar("prepared", default=None)


@contextmanager
def prepared_once() -> Iterator[None]:
    """Let :class:`ToModelGridd` prepare a scan once only as long as this lasts, whoever asks for it.

    Extraction and registration of a head take most of a prediction's time, and a head whose contrast is recognised first
    needs them there too. Kept are the scans on the model's grid (4 MB each), by file, mask and preparation.
    """
    token = _PREPARED.set({})
    try:
        yield
    finally:
        _PREPARED.reset(token)


class ToModelGridd(MapTransform):
    """Bring scans to the model's grid.

    Args:
        keys: scans ``[1, X, Y, Z]`` (MetaTensor); each becomes image and mask ``[2, 96, 96, 50]``.
        preparation: preparation of the training scans (:class:`custom.preparation.prepare.Preparation`).
        extractor: how the brain of a head is found, see :func:`custom.preparation.raw_scans.raw_steps`; None takes
            extracted brains only and adds no step.
        register: whether scans are registered, see there.

    >>> from custom.preparation.prepare import preparation
    >>> scan = MetaTensor(torch.arange(512.0).reshape(1, 8, 8, 8), affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))
    >>> to_grid = ToModelGridd("image", preparation("standard", shape=(4, 4, 4)))
    >>> to_grid({"image": scan, "mask": torch.ones(1, 8, 8, 8)})["image"].shape
    torch.Size([2, 4, 4, 4])
    """

    def __init__(
        self,
        keys: KeysCollection,
        preparation: Preparation,
        extractor: str | None = None,
        register: str = "auto",
    ) -> None:
        super().__init__(keys)
        self.preparation = (
            preparation if extractor is None else for_raw_scans(preparation, extractor, register=register)
        )

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return ``data`` with the scans on the model's grid; an entry "mask" on the scan's grid is used up."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._one(result[key], result.get("mask"), str(result.get("case_id", key)))
        result.pop("mask", None)
        return result

    def _one(self, scan: Any, mask: Any, case: str) -> MetaTensor:
        if not isinstance(scan, MetaTensor) or scan.ndim != 4 or scan.shape[0] != 1:
            shape = list(getattr(scan, "shape", []))
            raise DataError(
                f"a scan must be a MetaTensor [1, X, Y, Z] with its affine, got {type(scan).__name__} {shape}; put "
                "LoadImaged and EnsureChannelFirstd before ToModelGridd",
                case=case,
            )
        affine = np.asarray(scan.affine, dtype=np.float64)
        brain = None if mask is None else (np.asarray(mask)[0] > 0).astype(np.uint8)
        notes = tuple(json.loads(scan.meta.get("notes", "[]")))
        image = np.asarray(scan.numpy()[0], dtype=np.float32)
        known = _PREPARED.get()
        digest = None if brain is None else hashlib.sha256(brain.tobytes()).hexdigest()
        content = scan.meta.get("sha256") or hashlib.sha256(image.tobytes()).hexdigest()
        key = (str(scan.meta.get("filename_or_obj")), content, affine.tobytes(), digest, self.preparation)
        if known is not None and key in known:
            return known[key]
        subject = self.preparation(Subject(case, image, affine, mask=brain, notes=notes))
        meta = {key: value for key, value in scan.meta.items() if key != "affine"}
        meta["original_affine"] = torch.from_numpy(affine)
        meta["spatial_shape"] = torch.tensor(scan.shape[1:])
        meta["intensity_range"] = torch.tensor(subject.intensity_range, dtype=torch.float64)
        meta["mask_ml"] = subject.brain_ml
        meta["notes"] = json.dumps(subject.notes)
        meta["record"] = json.dumps(subject.record)
        grid = subject.to_scan_world @ subject.affine
        prepared = MetaTensor(np.stack([subject.image, subject.brain.astype(np.float32)]), affine=grid, meta=meta)
        if known is not None:
            known[key] = prepared
        return prepared


def to_scan_grid(volume: Tensor, reference: MetaTensor) -> MetaTensor:
    """Return ``volume`` ``[C, X, Y, Z]`` of the model's grid on the scan's grid; zero outside.

    Boolean volumes stay boolean: they are interpolated like the others and cut at one half, which keeps a region's
    size and place at any spacing, where nearest neighbours would move its edge by up to a millimetre. The metadata of
    ``reference``, output of :class:`ToModelGridd`, hold the way back.
    """
    affine = np.asarray(reference.meta["original_affine"], dtype=np.float64)
    shape = [int(n) for n in np.asarray(reference.meta["spatial_shape"])]
    grid = np.asarray(reference.affine, dtype=np.float64)
    channels = np.stack([resample(channel, grid, affine, shape, antialias=False) for channel in volume.cpu().numpy()])
    binary = volume.dtype == torch.bool
    meta = {"original_affine": torch.from_numpy(affine), "spatial_shape": torch.tensor(shape)}
    return MetaTensor(channels > 0.5 if binary else channels, affine=affine, meta=meta)

# SPDX-License-Identifier: Apache-2.0
"""Dictionary transform of the inference that turns scores into a mask on the scan's grid."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ..preparation.grid_dictionary import to_scan_grid
from ..volumes.resampling import spacing_of, voxel_ml_of
from .calibration import Calibration, Threshold

Data = Mapping[Hashable, Any]


class SegmentAnomalyd(MapTransform):
    """Threshold an anomaly map on the model's grid and bring everything back to the scan's grid.

    ``keys`` hold ``[1 or 2, X, Y, Z]``: map and, as second channel, the reconstruction. Written: ``keys`` becomes the
    mask (uint8 ``[1, X, Y, Z]`` on the scan's grid), ``anomaly_map`` and ``pseudohealthy`` (in the scan's intensities,
    zero outside the brain) stand beside it, ``grid_map``, ``grid_mask`` and ``grid_reconstruction`` are what pictures
    are made of, ``result`` is a summary that MONAI Label returns to its client.

    Args:
        keys: entry with the inferer's output.
        postprocessing: object with ``binarise(map, threshold, spacing_mm)``.
        calibration: of the model.
        sensitivity, threshold: see :meth:`custom.prediction.calibration.Calibration.threshold`.

    >>> from custom.postprocessing import none
    >>> affine = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    >>> place = {"original_affine": affine.numpy(), "spatial_shape": [6, 6, 6], "intensity_range": (0.0, 100.0)}
    >>> scan = MetaTensor(torch.ones(2, 6, 6, 6), affine=affine, meta=place)
    >>> scores = torch.zeros(2, 6, 6, 6)
    >>> scores[0, 2:4, 2:4, 2:4] = 0.4
    >>> calibration = Calibration("t1", "l1", {"healthy": Threshold(0.3, "healthy scans")}, [(0.0, 0.0), (1.0, 0.8)])
    >>> data = SegmentAnomalyd("pred", none(), calibration)({"image": scan, "pred": scores})
    >>> data["pred"].shape, round(data["result"]["anomaly_ml"], 3)
    (torch.Size([1, 6, 6, 6]), 0.064)
    """

    def __init__(
        self,
        keys: KeysCollection,
        postprocessing: Any,
        calibration: Calibration,
        sensitivity: Any = None,
        threshold: Any = None,
    ) -> None:
        super().__init__(keys)
        self.postprocessing = postprocessing
        self.calibration = calibration
        self.threshold = calibration.threshold(sensitivity, threshold)

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """Return ``data`` with the volumes named above."""
        result = dict(data)
        threshold = self._threshold(data)
        reference: MetaTensor = result["image"]  # of ToModelGridd
        inside = reference.as_tensor()[1:].cpu() > 0
        step = tuple(float(s) for s in spacing_of(np.asarray(reference.affine)))
        for key in self.key_iterator(result):
            output = result[key].as_tensor() if isinstance(result[key], MetaTensor) else result[key]
            output = output.detach().float().cpu()
            binary = self.postprocessing.binarise(output[0], threshold.value, step)[None]
            result["grid_map"], result["grid_mask"] = output[:1], binary
            result["anomaly_map"] = to_scan_grid(output[:1], reference)
            mask = to_scan_grid(binary, reference)
            if len(output) > 1:
                low, high = (float(v) for v in reference.meta["intensity_range"])
                healthy = torch.where(inside, output[1:2], torch.zeros(()))
                result["grid_reconstruction"] = healthy
                weight = to_scan_grid(inside.float(), reference)  # undoes the fading at the brain's edge
                native = to_scan_grid(healthy, reference) / weight.clamp(min=0.5) * (high - low) + low
                result["pseudohealthy"] = torch.where(weight > 0.5, native, torch.zeros(()))
            result[key] = mask.to(torch.uint8)
            result["result"] = {
                "anomaly_score": float(output[0].max()),
                "threshold": threshold.value,
                "threshold_source": threshold.source,
                "anomaly_ml": float(mask.sum()) * voxel_ml_of(np.asarray(mask.affine)),
            }
        return result

    def _threshold(self, data: Data) -> Threshold:
        """Return the threshold that a client of MONAI Label asks for in its request, else the configured one.

        The client's words come as data; through ``@displayable_configs`` MONAI's parser would read them as code.
        """
        asked = {"sensitivity": data.get("sensitivity"), "threshold": data.get("threshold") or None}
        if not any(asked.values()):
            return self.threshold
        return self.calibration.threshold(**asked)

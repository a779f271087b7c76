# SPDX-License-Identifier: Apache-2.0
"""What MONAI Label expects of the data behind our post-processing, added as its last transform in frozen bundles."""

import json
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.transforms import MapTransform


class ForMonaiLabeld(MapTransform):
    """Give the scan's metadata as arrays, and the warnings to the client.

    MONAI Label's own last transform compares the mask's shape with ``spatial_shape`` by ``numpy.any``, which fails on a
    tensor; its reply carries ``data["result"]``, to which the doubts about the scan are added.

    Args:
        keys: the scan on the model's grid.

    >>> import torch
    >>> from monai.data import MetaTensor
    >>> meta = {"spatial_shape": torch.tensor([4, 4, 4]), "original_affine": torch.eye(4)}
    >>> data = {"image": MetaTensor(torch.zeros(1, 2, 2, 2), meta=meta), "result": {}, "warnings": '["low contrast"]'}
    >>> ForMonaiLabeld("image")(data)["result"]
    {'warnings': ['low contrast']}
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with these two changes."""
        result = dict(data)
        for key in self.key_iterator(result):
            for name in ("spatial_shape", "original_affine"):
                result[key].meta[name] = np.asarray(result[key].meta[name])
        if isinstance(result.get("result"), Mapping) and isinstance(result.get("warnings"), str):
            result["result"] = {**result["result"], "warnings": json.loads(result["warnings"])}
        return result

# SPDX-License-Identifier: Apache-2.0
"""Hand whole prepared cases to an inferer together with their names, which seed whatever it draws."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class CasePrepareBatch:
    """Prepare-batch of evaluators: ``image`` ``[B, 1, X, Y, Z]`` is input and target, ``case_ids`` go to the inferer.

    >>> batch = {"image": torch.zeros(2, 1, 8, 8, 4), "case_id": ["P1", "P2"]}
    >>> image, target, _, keywords = CasePrepareBatch()(batch, device="cpu")
    >>> image.shape, target is image, keywords
    (torch.Size([2, 1, 8, 8, 4]), True, {'case_ids': ['P1', 'P2']})
    """

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: torch.device | str | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple[()], dict[str, Any]]:
        """Return image, image, no positional arguments and the names."""
        images: Tensor = batchdata["image"]
        plain = images.as_tensor() if hasattr(images, "as_tensor") else images
        plain = plain.to(device, torch.float32, non_blocking=non_blocking)
        return plain, plain, (), {"case_ids": list(batchdata["case_id"])}

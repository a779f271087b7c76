# SPDX-License-Identifier: Apache-2.0
"""Scans of another contrast, made from prepared ones: how robust is a model to it?

cDDPM (Behrendt et al., arXiv 2312.04215) raises the intensities x in [0, 1] of healthy scans to powers between 0.3 and 2 and compares
reconstruction error and entropy difference of DDPM and cDDPM (``matrices/contrast_change.json``). Both the noised slice and the
condition see the changed scan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import ConfigError


@dataclass(frozen=True)
class ContrastChange:
    """Callable on the dictionary of a case: its ``image`` becomes image ** exponent; background stays 0.

    Attributes:
        exponent: above 0; 1 changes nothing, below 1 brightens.

    >>> import torch
    >>> ContrastChange(2.0)({"image": torch.tensor([0.0, 0.5, 1.0])})["image"]
    tensor([0.0000, 0.2500, 1.0000])
    """

    exponent: float = 1.0

    def __post_init__(self) -> None:
        if not self.exponent > 0:
            raise ConfigError(f"contrast_exponent must be above 0, got {self.exponent}; the paper takes 0.3 to 2.")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the case with its image changed."""
        return {**data, "image": data["image"].clamp(0, 1) ** self.exponent}

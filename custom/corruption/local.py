# SPDX-License-Identifier: Apache-2.0
"""Local corruption y = x + a s (t - x) of healthy slabs x: shapes a, textures t, severity s, in several layers.

Two layers per slab and easy samples first (high severity, large shapes) are what lets a network learn within minutes:
with one layer and all severities from the beginning nothing was learnt in 400 steps.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import ConfigError
from .draws import Range, lists_as_tuples, uniform
from .shapes import BlobShapes
from .textures import LesionTextures

CHANGED_MEAN, CHANGED_VOXEL, CHANGED_WINDOW_PX = 0.04, 0.01, 5


@dataclass(frozen=True)
class LocalCorruption:
    """Callable that corrupts slabs.

    Attributes:
        shapes, textures: of the layers.
        layers: shapes laid over each other in each sample.
        severity: range of s, the same in all layers of a sample.
        clean_share: share of the samples that stay clean.
        easy_severity: lower end of the severities at difficulty 0; at difficulty 1 it is that of ``severity``.
        easy_radius_px: lower end of the radii at difficulty 0.

    >>> slabs, brain = torch.full((2, 1, 24, 24), 0.5), torch.ones(2, 1, 24, 24, dtype=torch.bool)
    >>> corrupt = LocalCorruption(layers=1, clean_share=0.0)
    >>> draws = torch.Generator().manual_seed(0)
    >>> corrupted, severity = corrupt(slabs, brain, slabs[:, None], brain[:, None], draws)
    >>> corrupted.shape, severity.shape, bool((corrupted != slabs).any())
    (torch.Size([2, 1, 24, 24]), torch.Size([2]), True)
    """

    shapes: BlobShapes = field(default_factory=BlobShapes)
    textures: LesionTextures = field(default_factory=LesionTextures)
    layers: int = 2
    severity: Range = (0.15, 1.0)
    clean_share: float = 0.06
    easy_severity: float = 0.8
    easy_radius_px: float = 5.0

    def __post_init__(self) -> None:
        lists_as_tuples(self)
        if self.layers < 1 or not 0 < self.severity[0] <= self.severity[1] <= 1 or not 0 <= self.clean_share <= 1:
            raise ConfigError(
                f"a local corruption needs layers >= 1, severities within (0, 1] and a share of clean samples within "
                f"[0, 1], got layers={self.layers}, severity={self.severity}, clean_share={self.clean_share}."
            )

    @torch.no_grad()
    def __call__(
        self,
        slabs: Tensor,
        brain: Tensor,
        foreign: Tensor,
        foreign_brain: Tensor,
        generator: torch.Generator,
        difficulty: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return corrupted slabs in [0, 1] and the severity of each sample ``[B]`` (drawn for clean ones too).

        Args:
            slabs: ``[B, C, H, W]`` in [0, 1].
            brain: bool, same shape; nothing changes outside.
            foreign: ``[B, layers, C, H, W]``, slabs of other subjects.
            foreign_brain: their brains, bool.
            generator: of all draws.
            difficulty: 0 (large and severe only) ... 1 (everything).
        """
        if foreign.shape != (len(slabs), self.layers, *slabs.shape[1:]) or brain.shape != slabs.shape:
            raise ConfigError(
                f"slabs {list(slabs.shape)} need brains of the same shape and {self.layers} foreign slabs each, got "
                f"brains {list(brain.shape)} and foreign slabs {list(foreign.shape)}."
            )
        device, batch = slabs.device, len(slabs)
        lowest = self.easy_severity + (self.severity[0] - self.easy_severity) * difficulty
        severity = uniform((batch,), (min(lowest, self.severity[1]), self.severity[1]), generator, device)
        clean = uniform((batch,), (0.0, 1.0), generator, device) < self.clean_share
        least_px = self.easy_radius_px + (self.shapes.radius_px[0] - self.easy_radius_px) * difficulty
        opacity = self.shapes(brain, self.layers, generator, least_px)
        opacity *= torch.where(clean, 0, severity).view(-1, 1, 1, 1, 1)
        target, additive = self.textures(slabs, foreign, foreign_brain, generator)
        corrupted = slabs
        for layer in range(self.layers):
            brighter = additive[:, layer]
            towards = torch.where(brighter == 0, target[:, layer] - corrupted, brighter)
            corrupted = (corrupted + opacity[:, layer] * towards).clamp(0, 1)
        return torch.where(brain, corrupted, slabs), severity


def changed(clean: Tensor, corrupted: Tensor) -> Tensor:
    """Return where a corruption can be seen: bool, shape of ``clean`` ``[B, C, H, W]``.

    A voxel counts if it changed by more than 0.01 and the mean change in the 5 x 5 pixels around it is above 0.04.
    """
    change = (corrupted - clean).abs()
    around = F.avg_pool2d(change, CHANGED_WINDOW_PX, stride=1, padding=CHANGED_WINDOW_PX // 2)
    return (around > CHANGED_MEAN) & (change > CHANGED_VOXEL)

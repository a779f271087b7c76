# SPDX-License-Identifier: Apache-2.0
"""What one picture gave, in its own pixels, and the files that it becomes."""

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import atomic_write_bytes
from ..detection import Boxes
from ..preparation.picture_place import PicturePlace
from . import overlays
from .calibration import Calibration, Threshold

BOX_COLOUR = (0.20, 0.95, 0.95)
OUTLINE_COLOUR = (0.55, 0.55, 0.55)


@dataclass(frozen=True, eq=False, repr=False)
class PictureResult:
    """Map and boxes of one picture; all arrays are ``[X, Y]`` in its pixels, X to the right and Y downwards.

    Attributes:
        name: file name.
        sha256: of the file.
        picture: brightness.
        anomaly_map: score after post-processing, 0 outside the examined brain.
        brain: what was examined.
        pseudohealthy: the model's healthy version within the brain, in the picture's brightness; the picture elsewhere.
        boxes: around what lies above the threshold, the one with the highest score first.
        threshold: where the map was cut.
        calibration: of the model.
        place: where the picture was taken to lie.
        intensities: brightness that became 0 and 1 for the model.
        warnings: sentences.

    >>> picture, threshold = np.full((20, 30), 0.4), Threshold(0.3, "healthy scans")
    >>> calibration = Calibration("t1", "l1", {"healthy": threshold}, [(0.0, 0.0), (0.99, 0.3), (1.0, 0.8)])
    >>> boxes = Boxes.of([(5, 5, 5, 4)], scores=[0.4])
    >>> PictureResult("a.png", "", picture, picture, picture > 0, picture, boxes, threshold, calibration, None, (0.0, 1.0))
    <PictureResult a.png: 1 boxes in 20x30 pixels, 0 warnings>
    """

    name: str
    sha256: str
    picture: NDArray[np.float64]
    anomaly_map: NDArray[np.float32]
    brain: NDArray[np.bool_]
    pseudohealthy: NDArray[np.float64]
    boxes: Boxes
    threshold: Threshold
    calibration: Calibration
    place: PicturePlace
    intensities: tuple[float, float]
    warnings: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        """Return one line."""
        size = "x".join(map(str, self.picture.shape))
        return f"<PictureResult {self.name}: {len(self.boxes)} boxes in {size} pixels, {len(self.warnings)} warnings>"

    def summary(self) -> dict[str, Any]:
        """Return numbers and texts as JSON values; boxes as x, y (left upper corner), width and height in pixels."""
        percentiles = self.calibration.percentile_of(self.boxes.scores)
        boxes = zip(self.boxes.as_xywh(), self.boxes.scores.tolist(), percentiles.tolist(), strict=True)
        return {
            "image": self.name,
            "sha256": self.sha256,
            "size": list(self.picture.shape),
            "boxes": [
                {**dict(zip(("x", "y", "width", "height"), box, strict=True)), "score": score, "percentile": round(percentile, 3)}
                for box, score, percentile in boxes
            ],
            "threshold": {"value": self.threshold.value, "source": self.threshold.source},
            "brain_px": int(self.brain.sum()),
            "place": {
                "quarter_turns": (self.place.turn + 2) % 4, "mirrored": self.place.mirrored, "slice": self.place.height,
                "grid_px_per_picture_px": round(self.place.frame.scale, 4), "overlap": round(self.place.dice, 3),
                "correlation": round(self.place.correlation, 3),
            },
            "heatmap_full_scale": self.full_scale,
            "warnings": list(self.warnings),
        }  # fmt: skip

    @property
    def full_scale(self) -> float:
        """Score that the greatest value of the heat map's file stands for."""
        return float(max(self.anomaly_map.max(), self.threshold.value))

    def panels(self) -> dict[str, bytes]:
        """Return PNG files: the overlay with boxes, the picture and its pseudo-healthy version with equal grey levels."""
        grey = self._grey(self.picture)
        position = overlays.tail_position(self.calibration.percentile_of(self.anomaly_map)) * (self.anomaly_map > 0)
        over = overlays.heat(grey, position.T, 1)
        over = self._outlined(over)
        return {
            "overlay": overlays.png(over),
            "picture": overlays.png(grey),
            "pseudohealthy": overlays.png(self._grey(self.pseudohealthy)),
        }

    def heat_map(self) -> bytes:
        """Return the map as a 16-bit PNG file; 65535 stands for :attr:`full_scale`."""
        from PIL import Image

        values = (
            np.clip(self.anomaly_map.T / self.full_scale, 0, 1) * 65535 if self.full_scale > 0 else self.anomaly_map.T
        )
        stream = BytesIO()
        Image.fromarray(values.round().astype(np.uint16)).save(stream, format="PNG")
        return stream.getvalue()

    def save(self, folder: str | Path, stem: str | None = None) -> list[Path]:
        """Write ``<stem>_overlay.png`` and ``<stem>_heatmap.png``; return their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        stem = stem or Path(self.name).stem
        contents = {"overlay": self.panels()["overlay"], "heatmap": self.heat_map()}
        paths = [folder / f"{stem}_{kind}.png" for kind in contents]
        for path, content in zip(paths, contents.values(), strict=True):
            atomic_write_bytes(path, content)
        return paths

    def _grey(self, picture: NDArray[np.float64]) -> overlays.Picture:
        low, high = float(self.picture.min()), float(np.percentile(self.picture[self.brain], 99.8))
        return overlays.grey((picture.T - low) / max(high - low, 1e-12), 1)

    def _outlined(self, picture: overlays.Picture) -> overlays.Picture:
        from scipy import ndimage

        width = max(round(max(self.picture.shape) / 400), 1)
        result = picture.copy()
        result[(self.brain & ~ndimage.binary_erosion(self.brain)).T] = OUTLINE_COLOUR
        for x1, y1, x2, y2 in self.boxes.corners.astype(int):
            rows, columns = slice(max(y1 - width, 0), y2 + width), slice(max(x1 - width, 0), x2 + width)
            frame = np.zeros(result.shape[:2], dtype=bool)
            frame[rows, columns] = True
            frame[y1:y2, x1:x2] = False
            result[frame] = BOX_COLOUR
        return result

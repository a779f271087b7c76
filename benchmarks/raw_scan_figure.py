# SPDX-License-Identifier: Apache-2.0
"""The picture of docs/raw_scans.md: a raw scan with the brain found in it, the registered brain, and its anomaly map.

``python -m benchmarks.raw_scan_figure SCAN docs/images/raw_scan.png --contrast t2 --extractor hd_bet``

The scan is prepared as ``uad prepare`` does, the prepared one predicted with the released model. All panels have one scale,
and go through the first finding, or through the highest score where nothing lies above the threshold.
"""

import argparse
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from custom.prediction.overlays import COLOUR_MAP, OUTLINE, tail_position
from custom.prediction.pictures import BAR_MM, focuses
from custom.prediction.predictor import Predictor
from custom.prediction.released import released_model
from custom.preparation.subject import Subject
from custom.rawscans.chain import RawSettings, prepare_scan
from custom.report.figures import new_figure, save_figure, style
from custom.report.panels import outline
from custom.volumes.read import read_scan

HEIGHT_IN, MM_PER_IN, MARGIN_MM = 2.4, 100.0, 4.0
AXIAL, SAGITTAL = "LRAP", "PASI"


class Panel:
    """A slice ``[X, Y]`` as the patient lies in it, its pixels, and the letters of its left, right, top and bottom side."""

    def __init__(self, image: np.ndarray, pixel_mm: tuple[float, float], letters: str, title: str) -> None:
        self.image, self.pixel_mm, self.letters, self.title = image, pixel_mm, letters, title
        self.width_mm, self.height_mm = (n * s for n, s in zip(image.shape, pixel_mm, strict=True))

    def draw(self, axes: Any, mask: np.ndarray, colour: Any) -> None:
        """Draw the slice, the edge of a mask, the letters and a bar."""
        extent = (0, self.width_mm, 0, self.height_mm)
        axes.imshow(self.image.T, cmap="gray", vmin=0, vmax=1, origin="lower", extent=extent)
        for segment in outline(mask):
            axes.plot(*((segment + 0.5) * self.pixel_mm).T, color=colour, linewidth=0.8)
        middle = (self.width_mm / 2, self.height_mm / 2)
        places = ((3, middle[1]), (self.width_mm - 3, middle[1]), (middle[0], self.height_mm - 3), (middle[0], 3))
        sides = (("left", "center"), ("right", "center"), ("center", "top"), ("center", "bottom"))
        for letter, place, (ha, va) in zip(self.letters, places, sides, strict=True):
            axes.text(*place, letter, color="white", fontsize=7, ha=ha, va=va)
        axes.plot([4, 4 + BAR_MM], [5, 5], color="white", linewidth=2, solid_capstyle="butt")
        axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])
        axes.set_title(self.title, fontsize=7, pad=3)
        axes.grid(False)
        axes.spines[:].set_visible(False)


def cut(volume: np.ndarray, window: tuple[slice, ...], axis: int, index: int) -> np.ndarray:
    """Return a slice of the part of a volume within ``window``."""
    return np.take(volume, index, axis=axis)[tuple(w for a, w in enumerate(window) if a != axis)]


def window_of(inside: np.ndarray, spacing_mm: np.ndarray, margin_mm: float) -> tuple[slice, ...]:
    """Return the box of the voxels that count, and a margin."""
    places, margin = np.argwhere(inside), np.ceil(margin_mm / spacing_mm).astype(int)
    low, high = np.maximum(places.min(axis=0) - margin, 0), places.max(axis=0) + margin + 1
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


@style()
def main() -> None:
    """Predict and draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scan", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--contrast", default="t2")
    parser.add_argument("--extractor", default="auto")
    given = parser.parse_args()
    model = released_model(f"restoration_{given.contrast}")
    assert model is not None
    read = read_scan(given.scan, given.scan.name)
    scan = prepare_scan(Subject(given.scan.name, read.array, read.affine), RawSettings(given.extractor))
    native, prepared = scan.native, nib.Nifti1Image(scan.image, scan.affine)
    result = Predictor.load(model.folder).predict(prepared, mask=scan.mask, case_id="prepared")
    focus = focuses(result, 1)[0]
    to_native = np.linalg.inv(native.to_scan_world @ native.affine) @ scan.moved.to_scan_world
    own = to_native @ result.grid_affine @ [*focus, 1]
    x, _, z = (round(float(v)) for v in own[:3])
    spacing = np.array(native.spacing_mm)
    image = np.clip(native.image / np.percentile(native.image[native.brain > 0], 99.5), 0, 1)
    head = window_of(image > 0.1, spacing, 0.0)
    panels = []
    for axis, index, letters, title in (
        (2, z, AXIAL, "raw scan, axial,\nand the brain found in it"),
        (0, x, SAGITTAL, f"raw scan, sagittal,\nslices of {spacing[2]:.3g} mm"),
    ):
        pixel_mm = tuple(float(s) for a, s in enumerate(spacing) if a != axis)
        panel = Panel(cut(image, head, axis, index), pixel_mm, letters, title)
        panels.append((panel, cut(native.brain > 0, head, axis, index), OUTLINE, None))
    steps = np.linalg.norm(result.grid_affine[:3, :3], axis=0)
    box = window_of(np.asarray(result.grid["brain"]) > 0, steps, MARGIN_MM)
    position = tail_position(result.calibration.percentile_of(result.grid["map"]))
    grid = {name: cut(np.asarray(volume), box, 2, focus[2]) for name, volume in result.grid.items()}
    model_mm = model.build("preparation").spacing_mm
    for title, shown in (
        (f"registered, on the\nmodel's grid ({model_mm:g} mm)", None),
        ("anomaly map; outlined:\nabove the threshold", cut(position, box, 2, focus[2])),
    ):
        panel = Panel(grid["image"], (model_mm, model_mm), AXIAL, title)
        panels.append((panel, np.asarray(grid["mask"] > 0) & (shown is not None), OUTLINE, shown))
    widths = [panel.width_mm for panel, *_ in panels]
    figure = new_figure(sum(widths) / MM_PER_IN, HEIGHT_IN)
    axes = figure.subplots(1, len(panels), width_ratios=widths)
    for place, (panel, mask, colour, shown) in zip(axes, panels, strict=True):
        panel.draw(place, mask, colour)
        if shown is not None:
            warm = np.clip(shown / 0.25, 0, 1) * 0.75
            extent = (0, panel.width_mm, 0, panel.height_mm)
            colours = {"cmap": COLOUR_MAP, "vmin": -1 / 3, "vmax": 1}
            place.imshow(shown.T, alpha=warm.T, origin="lower", extent=extent, **colours)
    save_figure(figure, given.output)
    print(
        f"{len(result.findings)} findings, {result.summary()['AnomalyVolumeMl']:.1f} ml; {'; '.join(result.warnings)}"
    )


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""A stand-in for NOVA, which may not be shipped: pictures of synthetic patients as case reports show them.

Slices of three planes get a rim like skull and scalp and become grey pictures of 480 x 480 pixels. Some are what makes real
pictures awkward: two panels, burnt-in text, transparency, 16 bits, landscape format. The agreed boxes are those of the exact
lesion masks; one runs over the edge of its picture. Two simulated readers draw them with errors, the second one not in
every picture; one of their boxes begins before the picture. It shows that software runs, and says nothing about patients.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from custom.core.errors import ConfigError
from custom.core.seeding import derive_seed

Box = tuple[float, float, float, float]  # x, y, width, height
Layout = Literal["released_code", "first_release", "parquet"]
SIZE = 480
READERS = ("Reader A", "Reader B")
_PLANES = ("axial", "coronal", "sagittal")
_KINDS = ("two panels", "text", "transparent", "16 bit", "landscape")


@dataclass(frozen=True)
class Volume:
    """A synthetic patient: image, brain mask and lesion mask, ``[X, Y, Z]`` on one grid."""

    image: NDArray[Any]
    mask: NDArray[Any]
    seg: NDArray[Any]


@dataclass
class StandIn:
    """One picture with its boxes; ``kind`` is the awkward thing about it, or "plain"."""

    name: str
    pixels: Image.Image
    kind: str
    caption: str | None
    case: str
    gold: list[Box]
    raters: dict[str, list[Box]] = field(default_factory=dict)


def make_pictures(volumes: Sequence[Volume], count: int = 24, seed: int = 0) -> list[StandIn]:
    """Return ``count`` pictures of the patients in turn; equal arguments give equal pixels and boxes."""
    if not volumes or any(not volume.seg.any() for volume in volumes):
        raise ConfigError("stand-in pictures need patients with a lesion.")
    return [_picture(volumes[n % len(volumes)], n, len(volumes), seed) for n in range(count)]


def write_pictures(folder: str | Path, pictures: Sequence[StandIn], layout: Layout) -> Path:
    """Write the pictures and their tables in one of the layouts of NOVA (:mod:`custom.cohorts.pictures.rows`)."""
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        picture.pixels.save(folder / "images" / picture.name)
    {"released_code": _released_code, "first_release": _first_release, "parquet": _parquet}[layout](folder, pictures)
    return folder


def _picture(volume: Volume, number: int, patients: int, seed: int) -> StandIn:
    rng = np.random.default_rng(derive_seed(seed, "stand-in", number))
    plane = number // patients % 3
    axis = (2, 1, 0)[plane]
    areas = volume.seg.sum(axis=tuple(a for a in range(3) if a != axis))
    index = int(rng.choice(np.flatnonzero(areas >= 0.5 * areas.max())))
    image, mask, seg = (np.rot90(np.take(a, index, axis)) for a in (volume.image, volume.mask > 0, volume.seg > 0))
    kind = _KINDS[number] if number < len(_KINDS) else "plain"
    width, height = (640, SIZE) if kind == "landscape" else (SIZE, SIZE)
    pixels, gold = _drawn(image.astype(float), mask, seg, width, height)
    if kind == "two panels":
        half = ndimage.zoom(pixels, (1, 0.5), order=1)
        pixels, gold = np.concatenate([half, half[:, ::-1]], axis=1), [(x / 2, y, w / 2, h) for x, y, w, h in gold]
    if number == len(_KINDS):  # over the lower edge, as five boxes of the benchmark
        x, y, w, _ = gold[0]
        gold[0] = (x, y, w, height + 25.9 - y)
    words = ("T2-weighted", "t2 weighted", "FLAIR", "T2/FLAIR")[number % 4]
    caption = None if number % 8 == 7 else f"{_PLANES[plane].capitalize()} {words} image."
    picture = StandIn(f"case{number % patients:04d}_{number:03d}.png", _image(pixels, kind), kind, caption,
                      f"case{number % patients:04d}", gold)  # fmt: skip
    picture.raters[READERS[0]] = [_shaken(box, 0.05, rng) for box in gold]
    if number % 3:
        picture.raters[READERS[1]] = [_shaken(box, 0.2, rng) for box in gold]
    if number == 1:
        x, y, w, h = picture.raters[READERS[0]][0]
        picture.raters[READERS[0]][0] = (-3.5, y, x + w + 3.5, h)
    return picture


def _drawn(
    image: NDArray[Any], mask: NDArray[Any], seg: NDArray[Any], width: int, height: int
) -> tuple[NDArray[np.float64], list[Box]]:
    """Return the picture in [0, 1], rows first, and the boxes around the parts of the lesion."""
    scale = 0.8 * min(width / image.shape[1], height / image.shape[0])
    slices, truth = (
        ndimage.zoom(a, scale, order=order, mode="nearest") for a, order in ((image, 1), (seg.astype(float), 0))
    )
    brain = ndimage.binary_fill_holes(ndimage.zoom(mask.astype(float), scale, order=0) > 0)
    distance = ndimage.distance_transform_edt(~brain) / scale
    level = float(np.percentile(slices[brain], 99)) if brain.any() else 1.0
    head = np.where(brain, np.clip(slices / level, 0, 1), 0.0)
    head = np.where((distance > 1) & (distance <= 3), 0.08, head)  # skull
    head = np.where((distance > 3) & (distance <= 5), 0.7, head)  # scalp
    canvas = np.zeros((height, width))
    top, left = (height - head.shape[0]) // 2, (width - head.shape[1]) // 2
    canvas[top : top + head.shape[0], left : left + head.shape[1]] = head
    labels, _ = ndimage.label(truth > 0.5, structure=np.ones((3, 3)))
    parts = sorted(ndimage.find_objects(labels), key=lambda p: -_area(p))[:4]
    boxes = [
        (float(left + x.start), float(top + y.start), float(x.stop - x.start), float(y.stop - y.start))
        for y, x in parts
    ]
    return canvas, boxes


def _area(part: tuple[slice, slice]) -> int:
    return int(np.prod([edge.stop - edge.start for edge in part]))


def _image(pixels: NDArray[np.float64], kind: str) -> Image.Image:
    if kind == "16 bit":
        return Image.fromarray((pixels * 65535).round().astype(np.uint16))
    image = Image.fromarray((pixels * 255).round().astype(np.uint8))
    if kind == "text":
        ImageDraw.Draw(image).text((8, 8), "R  2024-01-01", fill=255)
    return image.convert("RGBA") if kind == "transparent" else image


def _shaken(box: Box, by: float, rng: np.random.Generator) -> Box:
    x, y, w, h = box
    dx, dy, dw, dh = rng.uniform(-by, by, 4).tolist()
    return round(x + dx * w, 1), round(y + dy * h, 1), round(w * (1 + dw), 1), round(h * (1 + dh), 1)


def _lists(boxes: Sequence[Box]) -> dict[str, list[Any]]:
    return {key: [box[n] for box in boxes] for n, key in enumerate(("x", "y", "width", "height"))}


def _table(path: Path, header: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *lines])


def _released_code(folder: Path, pictures: Sequence[StandIn]) -> None:
    lines = []
    for p in pictures:
        all_boxes = [(box, rater) for rater, boxes in p.raters.items() for box in boxes]
        raters = _lists([box for box, _ in all_boxes]) | {"rater": [rater for _, rater in all_boxes]}
        lines.append((p.name, p.caption, p.case, str(_lists(p.gold)), str(raters)))
    _table(folder / "metadata.csv", ("filename", "caption", "case_id", "bbox_gold", "bbox_raters"), lines)


def _first_release(folder: Path, pictures: Sequence[StandIn]) -> None:
    _table(
        folder / "captions.csv",
        ("filename", "case_id", "scan_id", "caption"),
        [(p.name, p.case, 0, p.caption) for p in pictures],
    )
    gold = [(p.name, *box) for p in pictures for box in p.gold]
    _table(folder / "bboxes_gold.csv", ("filename", "x", "y", "width", "height"), gold)
    raters = [(p.name, rater, *box) for p in pictures for rater, boxes in p.raters.items() for box in boxes]
    _table(folder / "bboxes_raters.csv", ("filename", "rater", "x", "y", "width", "height"), raters)


def _parquet(folder: Path, pictures: Sequence[StandIn]) -> None:
    import pandas as pd

    def entries(p: StandIn) -> list[dict[str, Any]]:
        boxes = [("gold", box) for box in p.gold] + [(r, box) for r, found in p.raters.items() for box in found]
        return [dict(zip(("x", "y", "width", "height"), box, strict=True), source=source) for source, box in boxes]

    rows = [
        {
            "filename": p.name,
            "image_path": f"images/{p.name}",
            "case_id": p.case,
            "caption_text": p.caption,
            "bboxes": entries(p),
        }
        for p in pictures
    ]
    (folder / "data").mkdir()
    pd.DataFrame(rows[1::2] + rows[::2]).to_parquet(
        folder / "data" / "nova-v1.parquet"
    )  # not in the order of the names

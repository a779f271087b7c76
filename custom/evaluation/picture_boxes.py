# SPDX-License-Identifier: Apache-2.0
"""Boxes predicted in a set of pictures, beside boxes that know nothing and beside readers, by all rules.

No number stands without those rows: by one published rule a constant box in the middle of NOVA's pictures scores 22 %.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..cohorts.pictures import Picture, PictureSet
from ..core.errors import DataError
from ..core.files import atomic_write_json, atomic_write_text
from ..detection import Boxes, evaluate, overlap
from ..detection.baselines import central_box, foreground_box, whole_picture
from .report import rows_to_csv

Row = dict[str, Any]
_COLUMNS = ("map_30", "map_50", "map_50_95", "recall_50", "pictures_hit_50", "threat_score_50")
_PERCENT = {name: name.replace("map_", "mAP@").replace("_50_95", "_50:95") for name in _COLUMNS}


def read_predictions(path: str | Path, pictures: PictureSet) -> dict[str, Boxes]:
    """Read ``[{"image": name, "boxes": [[x, y, width, height], ...], "scores": [...]}, ...]``.

    Raises:
        DataError: no such list; a picture of the set is missing, is there twice, or a name is none of the set's.
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found = [(entry["image"], Boxes.of(entry["boxes"], entry["scores"])) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise DataError(str(error), case=path.name) from None
        raise DataError(
            f'is not a list of {{"image": name, "boxes": [[x, y, width, height], ...], "scores": [...]}} ({error}).',
            case=path.name,
        ) from None
    names = [name for name, _ in found]
    for problem, wrong in (("twice", {n for n in names if names.count(n) > 1}), ("of no picture", set(names) - set(pictures.pictures)),
                           ("missing", set(pictures.pictures) - set(names))):  # fmt: skip
        if wrong:
            raise DataError(
                f"has predictions that are {problem}: {min(wrong)} ({len(wrong)} in all); give one entry per picture, with an "
                "empty list where nothing is marked.",
                case=path.name,
            )
    return dict(found)


def trivial_boxes(pictures: PictureSet) -> dict[str, dict[str, Boxes]]:
    """Return method -> picture -> boxes of methods that know nothing about anomalies."""
    every = pictures.pictures
    return {
        "central box, half the edges": {name: central_box(*p.size) for name, p in every.items()},
        "whole picture": {name: whole_picture(*p.size) for name, p in every.items()},
        "box around the head": {name: foreground_box(_pixels(p)) for name, p in every.items()},
    }


def box_table(pictures: PictureSet, predictions: Mapping[str, Mapping[str, Boxes]], subset: str = "all") -> list[Row]:
    """Return rows of all methods by all rules, trivial ones and readers among them.

    Args:
        pictures: with agreed boxes.
        predictions: method -> picture -> boxes; may hold more pictures than the set.
        subset: which pictures these are, in words.
    """
    if not any(len(boxes) for boxes in pictures.gold.values()):
        raise DataError(
            "the pictures come without boxes of readers, so nothing can be scored; add boxes.csv to the folder."
        )
    rows: list[Row] = []
    for method, boxes in {**trivial_boxes(pictures), **predictions}.items():
        rows += [{"method": method, **row} for row in evaluate(boxes, pictures.gold, subset)]
    first, second = pictures.two_raters()
    if first:
        known = {name: Boxes(boxes.corners, boxes.areas) for name, boxes in second.items()}  # readers give no scores
        between = evaluate(known, first, f"{subset}, two readers")
        rows += [{"method": "second reader against first", **row} for row in between]
    return rows


def write_box_table(
    rows: Sequence[Row], pictures: PictureSet, predictions: Mapping[str, Mapping[str, Boxes]], folder: str | Path
) -> list[Path]:
    """Write ``boxes.json``, ``boxes.md``, ``per_picture.csv`` and ``hits_by_size.png``; return their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = {"rows": list(rows), "layout": pictures.layout, "notes": list(pictures.notes)}
    atomic_write_json(folder / "boxes.json", found)
    atomic_write_text(folder / "boxes.md", markdown(rows, pictures.notes))
    every = {**trivial_boxes(pictures), **predictions}
    best = {
        (method, name): overlap(boxes[name], true).max(axis=0, initial=0.0)
        for method, boxes in every.items() for name, true in pictures.gold.items()
    }  # fmt: skip
    table = [
        {
            "method": method, "picture": name, "case": pictures.pictures[name].case, "true_boxes": len(overlaps),
            "boxes": len(every[method][name]), "best_overlap": round(float(overlaps.max(initial=0)), 4),
            "true_boxes_hit_50": int((overlaps >= 0.5).sum()),
        }
        for (method, name), overlaps in best.items()
    ]  # fmt: skip
    atomic_write_text(folder / "per_picture.csv", rows_to_csv(table))
    _figure(best, pictures, list(every), folder / "hits_by_size.png")
    return [folder / name for name in ("boxes.md", "boxes.json", "per_picture.csv", "hits_by_size.png")]


def markdown(rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """Return the rows as a table, in %; a column that a rule does not have is empty."""
    head = ["method", "rule", "subset", "pictures", "boxes", *_PERCENT.values()]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        values = [f"{100 * row[name]:.2f}" if name in row else "" for name in _COLUMNS]
        rule = f"{row['rule']} ({row['note']})" if "note" in row else row["rule"]
        cells = [row["method"], rule, row["subset"], row["pictures"], row["true_boxes"], *values]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def _pixels(picture: Picture) -> NDArray[np.float64]:
    """Return brightness ``[X, Y]`` as the picture is seen."""
    with Image.open(picture.path) as stored:
        image = ImageOps.exif_transpose(stored)
        grey = image if image.mode in ("L", "I", "F", "I;16", "I;16B") else image.convert("RGB").convert("L")
        return np.asarray(grey, dtype=np.float64).T


def _figure(
    best: Mapping[tuple[str, str], NDArray[np.float64]], pictures: PictureSet, methods: Sequence[str], path: Path
) -> None:
    from matplotlib.figure import Figure

    shares = {name: p.gold.areas / (p.size[0] * p.size[1]) for name, p in pictures.pictures.items()}
    edges = np.quantile(np.concatenate(list(shares.values())), np.linspace(0, 1, 6))
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for method in methods:
        share = np.concatenate([shares[name] for name in shares])
        hit = np.concatenate([best[method, name] >= 0.5 for name in shares])
        group = np.clip(np.searchsorted(edges, share, side="right") - 1, 0, 4)
        shown = [100 * hit[group == g].mean() if (group == g).any() else np.nan for g in range(5)]
        axes.plot(range(5), shown, "o-", label=method)
    axes.set_xticks(range(5), [f"{100 * a:.1f}-{100 * b:.1f}" for a, b in pairwise(edges)])
    axes.set_xlabel("size of a reader's box, % of the picture")
    axes.set_ylabel("boxes hit at overlap 0.5, %")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)

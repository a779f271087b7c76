# SPDX-License-Identifier: Apache-2.0
"""Many pictures, one after the other: files, pages and a table; a broken picture costs its own result only.

Per picture: ``<name>.json`` (boxes, threshold, place, warnings), ``<name>_overlay.png``, ``<name>_heatmap.png`` and the page
``<name>.html``; of all: ``index.html``, ``pictures.csv``, and ``boxes.json``, which ``uad boxes --predictions`` takes. A picture
that is done, with the same model and settings, is passed over.
"""

import csv
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.digests import file_sha256, read_checked_json, write_checked_json
from ..core.errors import DataError, UADError
from ..core.files import atomic_write_json, atomic_write_text
from ..core.progress import progress
from ..detection import MapToBoxes
from ..runs.lock import RunLock
from .page import percentile_text, template
from .picture_predictor import predict_picture
from .picture_result import PictureResult
from .pictures import data_uri
from .predictor import Predictor

Record = dict[str, Any]
_COLUMNS = ("image", "status", "boxes", "highest_score", "percentile", "warnings", "error")


def predict_pictures(
    predictor: Predictor,
    paths: Sequence[Path],
    output: str | Path,
    mask: Path | None = None,
    report: bool = True,
    rule: MapToBoxes | None = None,
) -> list[Record]:
    """Predict pictures, write all files into ``output`` and return a record per picture.

    ``mask`` is the brain mask of a single picture, or a folder of masks called like the pictures; ``rule`` makes boxes of
    a map, None: at the calibrated threshold.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    model, calibration = predictor.model, predictor.calibration
    settings = {
        "method": model.method,
        "contrast": calibration.contrast,
        "model_sha256": model.weights_sha256,
        "score": calibration.score,
        "threshold": vars(calibration.for_pictures.threshold(predictor.sensitivity, predictor.threshold)),
        "seed": model.seed,
        "boxes": None if rule is None else asdict(rule),
    }
    with RunLock(output):
        records = []
        for path, stem in progress(list(zip(paths, _stems(paths), strict=True)), desc="pictures", unit="picture"):
            try:
                records.append(_one(predictor, path, stem, output, _mask_of(path, mask), settings, report, rule))
            except UADError as error:
                text = str(error).replace(f"{path.parent}/", "")
                records.append({"image": path.name, "stem": stem, "status": "failed", "error": text})
        done = [record for record in records if record["status"] != "failed"]
        atomic_write_json(output / "boxes.json", [_prediction(record) for record in done])
        atomic_write_text(output / "pictures.csv", _table(records))
        if report:
            thumbs = [_thumbnail(output / f"{record['stem']}_overlay.png") for record in records]
            text = template("pictures.html").render(rows=list(zip(records, thumbs, strict=True)), settings=settings)
            atomic_write_text(output / "index.html", text)
    return records


def picture_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the table for the terminal: one line per picture."""
    width = max([len(record["image"]) for record in records] + [7])
    lines = [f"{'picture':<{width}}  {'status':<11}  {'boxes':>5}  warnings"]
    for record in records:
        if record["status"] == "failed":
            lines.append(f"{record['image']:<{width}}  {'failed':<11}  {'-':>5}  {record['error']}")
        else:
            count = len(record["boxes"])
            lines.append(f"{record['image']:<{width}}  {record['status']:<11}  {count:>5}  {len(record['warnings'])}")
    return "\n".join(lines)


def _one(
    predictor: Predictor, path: Path, stem: str, output: Path, mask: Path | None, settings: Record, report: bool,
    rule: MapToBoxes | None,
) -> Record:  # fmt: skip
    if not path.is_file():
        raise DataError("there is no such picture.", case=path.name)
    parts = [__version__, file_sha256(path), file_sha256(mask) if mask else None, settings, report]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    summary = output / f"{stem}.json"
    try:
        known: Record = read_checked_json(summary, "it is made again.")
        if known["key"] == key and all(file_sha256(output / name) == known["files"][name] for name in known["files"]):
            return {**known, "status": "done before"}
    except (UADError, OSError, KeyError, TypeError):
        pass  # made now
    result = predict_picture(predictor, path, mask, rule)
    files = [file.name for file in result.save(output, stem)]
    record = {**result.summary(), "stem": stem, "status": "done", "settings": settings, "research_use_only": True}
    if report:
        atomic_write_text(output / f"{stem}.html", _page(result, record))
        files.append(f"{stem}.html")
    write_checked_json(summary, {**record, "files": {name: file_sha256(output / name) for name in files}, "key": key})
    return record


def _page(result: PictureResult, record: Record) -> str:
    images = {name: data_uri(content) for name, content in result.panels().items()}
    boxes = [{**box, "text": percentile_text(box["percentile"])} for box in record["boxes"]]
    threshold = percentile_text(float(result.calibration.percentile_of(result.threshold.value)))
    return str(template("picture.html").render(record=record, boxes=boxes, images=images, threshold_text=threshold))


def _prediction(record: Record) -> Record:
    return {
        "image": record["image"],
        "boxes": [[box[name] for name in ("x", "y", "width", "height")] for box in record["boxes"]],
        "scores": [box["score"] for box in record["boxes"]],
    }


def _table(records: Sequence[Record]) -> str:
    stream = StringIO()
    writer = csv.writer(stream)
    writer.writerow(_COLUMNS)
    for record in records:
        boxes = record.get("boxes") or []
        top = (boxes[0]["score"], boxes[0]["percentile"]) if boxes else ("", "")
        warnings = " | ".join(record.get("warnings") or [])
        writer.writerow([record["image"], record["status"], len(boxes), *top, warnings, record.get("error", "")])
    return stream.getvalue()


def _stems(paths: Sequence[Path]) -> list[str]:
    """Return names of result files that differ: of the file, with its ending and its folders where needed."""
    found: list[str] = []
    for path in paths:
        choices = [path.stem, path.name, *("_".join(path.parts[-count:]) for count in range(2, len(path.parts) + 1))]
        safe = [re.sub(r"[^A-Za-z0-9_-]+", "-", choice).strip("-") or "picture" for choice in choices]
        taken = (*found, "boxes", "index")  # files of all pictures
        found.append(next((name for name in safe if name not in taken), f"{safe[0]}-{len(found)}"))
    return found


def _mask_of(path: Path, mask: Path | None) -> Path | None:
    if mask is None or mask.is_file():
        return mask
    found = next((p for p in sorted(mask.glob("*")) if p.stem in (path.stem, f"{path.stem}_mask")), None)
    if found is None:
        raise DataError(f"there is no mask called {path.stem} or {path.stem}_mask in {mask}.", case=path.name)
    return found


def _thumbnail(path: Path) -> str | None:
    from io import BytesIO

    from PIL import Image

    if not path.is_file():
        return None
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((192, 192))
    stream = BytesIO()
    small.save(stream, format="JPEG", quality=80)
    return data_uri(stream.getvalue(), "jpeg")

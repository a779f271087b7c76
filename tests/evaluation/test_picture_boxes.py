# SPDX-License-Identifier: Apache-2.0
"""The table of boxes: trivial rows and readers always beside predictions; files; wrong predictions in one sentence."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from custom.cli.main import main
from custom.cohorts.pictures import read_pictures
from custom.core.errors import DataError
from custom.detection import Boxes
from custom.evaluation.picture_boxes import box_table, read_predictions


@pytest.fixture
def folder(tmp_path):
    """Six pictures of a head with one box each; two readers; captions."""
    root = tmp_path / "pictures"
    root.mkdir()
    rng = np.random.default_rng(0)
    lines = ["filename,caption,case_id,bbox_gold,bbox_raters"]
    for n in range(6):
        pixels = np.zeros((60, 80), np.uint8)
        pixels[10:50, 20:60] = 120 + rng.integers(0, 20, (40, 40))
        image = Image.fromarray(pixels)
        name = f"p{n}.png"
        (image.convert("RGBA") if n == 1 else image).save(root / name)
        x, y = 22 + 4 * n, 12 + 3 * n
        boxes = {"x": [x], "y": [y], "width": [10], "height": [12]}
        raters = {"x": [x, x + 1], "y": [y, y], "width": [10, 10], "height": [12, 12], "rater": ["A", "B"]}
        lines.append(f'{name},{"T2" if n % 2 else "FLAIR"} image,c{n},"{boxes}","{raters}"')
    (root / "metadata.csv").write_text("\n".join(lines))
    return root


def _predictions(path, folder, found=lambda picture: picture.gold.as_xywh()):
    entries = [
        {"image": name, "boxes": found(p), "scores": [1.0] * len(found(p))}
        for name, p in read_pictures(folder).pictures.items()
    ]
    path.write_text(json.dumps(entries))
    return path


def test_perfect_predictions_beside_what_knows_nothing(folder, tmp_path):
    pictures = read_pictures(folder)
    perfect = read_predictions(_predictions(tmp_path / "p.json", folder), pictures)
    rows = {(row["method"], row["rule"]): row for row in box_table(pictures, {"ours": perfect})}
    methods = {
        "central box, half the edges",
        "whole picture",
        "box around the head",
        "ours",
        "second reader against first",
    }
    assert {method for method, _ in rows} == methods
    for rule in ("released_script", "eleven_point", "image_hits"):
        assert rows["ours", rule]["map_50_95"] == pytest.approx(1, abs=1e-5)
        assert rows["whole picture", rule]["map_50"] == 0
        assert rows["second reader against first", rule]["map_50"] == pytest.approx(1, abs=1e-5)
    assert rows["second reader against first", "eleven_point"]["subset"] == "all, two readers"


def test_head_is_found_in_every_kind_of_picture(folder):
    from custom.evaluation.picture_boxes import trivial_boxes

    heads = trivial_boxes(read_pictures(folder))["box around the head"]
    assert all(boxes.as_xywh() == [[20, 10, 40, 40]] for boxes in heads.values())


def test_command_writes_tables_and_figure(folder, tmp_path, capsys):
    nothing = _predictions(tmp_path / "n.json", folder, found=lambda picture: [])
    code = main(
        ["boxes", str(folder), "--predictions", f"nothing={nothing}", "--subset", "T2", "-o", str(tmp_path / "out")]
    )
    assert code == 0
    out = capsys.readouterr().out
    assert "caption with T2" in out
    assert "the benchmark has 335 pictures" in out
    rows = json.loads((tmp_path / "out/boxes.json").read_text())["rows"]
    assert {row["pictures"] for row in rows} == {3}
    assert all(row.get("map_30", 0) == 0 for row in rows if row["method"] == "nothing")
    assert (tmp_path / "out/boxes.md").read_text().count("\n| nothing") == 4
    assert Image.open(tmp_path / "out/hits_by_size.png").size[0] > 300
    with open(tmp_path / "out/per_picture.csv", newline="") as stream:
        per_picture = list(csv.DictReader(stream))
    assert len(per_picture) == 4 * 3
    assert {row["boxes"] for row in per_picture if row["method"] == "nothing"} == {"0"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e[:-1], r"missing: p5\.png"),
        (lambda e: [*e, e[0]], r"twice: p0\.png"),
        (lambda e: [*e, {**e[0], "image": "z.png"}], r"of no picture: z\.png"),
        (lambda e: [{**e[0], "scores": [1, 2]}, *e[1:]], "1 boxes have 2 scores"),
        (lambda e: [{**e[0], "boxes": [[1, 2, 3]]}, *e[1:]], "is not a list of"),
        (lambda e: {"a": 1}, "is not a list of"),
    ],
)
def test_wrong_predictions_are_one_sentence(folder, tmp_path, change, message):
    path = _predictions(tmp_path / "p.json", folder)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(DataError, match=message):
        read_predictions(path, read_pictures(folder))


def test_pictures_without_boxes_and_empty_subsets_are_one_sentence(folder, tmp_path, capsys):
    (folder / "metadata.csv").unlink()
    pictures = read_pictures(folder)
    with pytest.raises(DataError, match="without boxes of readers"):
        box_table(pictures, {})
    assert all(isinstance(boxes, Boxes) and not len(boxes) for boxes in pictures.gold.values())
    assert main(["boxes", str(folder), "--subset", "T2", "-o", str(tmp_path / "out")]) != 0
    assert "no caption holds 'T2'" in capsys.readouterr().err

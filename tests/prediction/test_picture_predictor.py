# SPDX-License-Identifier: Apache-2.0
"""2-D pictures of any kind with the released models: lesions found, boxes in the picture's pixels, files, sentences."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from custom.cli.main import main
from custom.core.errors import ConfigError, DataError
from custom.detection import Boxes, overlap
from custom.prediction.find import find_pictures
from custom.prediction.picture_batch import _stems
from custom.prediction.predictor import Predictor
from custom.prediction.released import choose_picture_model, released_model
from custom.runs.lock import RunLock
from custom.synthetic import make_subject
from tests.cohorts.stand_in import Volume, make_pictures

KINDS = ("text", "transparent", "16 bit", "landscape")


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load(released_model("restoration_t2").folder, device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Axial slices of a tumour with skull and scalp, by kind: path and boxes."""
    folder = tmp_path_factory.mktemp("pictures")
    patient = make_subject(501, 50.0, "tumour")
    volume = Volume(patient.images["t2"], patient.mask, patient.seg)
    found = {}
    for picture in make_pictures([volume] * 6, 6, seed=3):
        path = folder / f"{picture.kind.replace(' ', '')}.png"
        picture.pixels.save(path)
        found[picture.kind] = (path, Boxes.of(picture.gold))
    return found


@pytest.fixture(scope="module")
def plain(pictures, predictor):
    return predictor.predict_picture(pictures["text"][0])


@pytest.mark.parametrize("kind", KINDS)
def test_tumour_is_found_with_its_skull_in_every_kind_of_picture(kind, pictures, predictor):
    path, truth = pictures[kind]
    result = predictor.predict_picture(path)
    with Image.open(path) as image:
        assert result.anomaly_map.shape == image.size
    assert overlap(result.boxes.chosen([0]), truth).max() >= 0.4
    assert not result.anomaly_map[~result.brain].any()
    assert result.boxes.scores[0] == pytest.approx(result.anomaly_map.max())


def test_size_format_rotation_and_depth_change_nothing_much(pictures, predictor, plain, tmp_path):
    image = Image.open(pictures["text"][0])
    width, height = image.size
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image.convert("RGB").resize((1300, 1300), Image.Resampling.BICUBIC).save(tmp_path / "large.tiff")
    Image.fromarray(np.asarray(image).astype(np.uint16) * 200).save(tmp_path / "deep.png")
    for name, scale in (("turned.jpg", 1), ("large.tiff", 1300 / width), ("deep.png", 1)):
        result = predictor.predict_picture(tmp_path / name)
        assert result.picture.shape == (round(width * scale), round(height * scale))
        assert overlap(result.boxes.chosen([0]), Boxes(plain.boxes.corners[:1] * scale)).max() > 0.8


def test_turned_pictures_give_turned_boxes(pictures, predictor, plain, tmp_path):
    image = Image.open(pictures["text"][0])
    image.rotate(-90, expand=True).save(tmp_path / "turned.png")
    result = predictor.predict_picture(tmp_path / "turned.png")
    size = image.size[1]
    expected = [[size - y2, x1, size - y1, x2] for x1, y1, x2, y2 in plain.boxes.corners]
    assert sorted(result.boxes.corners.tolist()) == sorted(expected)
    assert "the picture was taken as turned" in " ".join(result.warnings)


@pytest.mark.fault(
    127,
    "a digit of a picture's result changed before the next batch; two batches of pictures at once; a picture called boxes or index",
    "made again; the second batch is refused; results have names of their own",
    "mended",
)
def test_model_is_recognised_and_files_are_written(pictures, tmp_path, capfd):  # a process of its own prints
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "a.png").write_bytes(pictures["text"][0].read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    assert main(["predict", str(folder), "-o", str(tmp_path / "out"), "--contrast", "t2"]) == 4
    out = tmp_path / "out"
    record = json.loads((out / "a.json").read_text())
    assert record["size"] == [480, 480]
    assert record["boxes"][0].keys() == {"x", "y", "width", "height", "score", "percentile"}
    assert {file.name for file in out.glob("[!.]*")} == {
        "a.json", "a.html", "a_overlay.png", "a_heatmap.png", "boxes.json", "pictures.csv", "index.html"
    }  # fmt: skip
    assert Image.open(out / "a_overlay.png").size == (480, 480)
    heat = np.asarray(Image.open(out / "a_heatmap.png"))
    assert (heat.dtype, heat.max()) == (np.uint16, 65535)
    assert "cannot be read as a picture" in (out / "index.html").read_text()
    assert [entry["image"] for entry in json.loads((out / "boxes.json").read_text())] == ["a.png"]
    capfd.readouterr()
    again = ["predict", str(folder / "deeper"), "-o", str(out), "--contrast", "t2"]
    assert main(again) == 0
    assert "done before" in capfd.readouterr().out
    whole = (out / "a.json").read_text()
    (out / "a.json").write_text(whole.replace('"score": ', '"score": 9', 1))
    assert main(again) == 0
    assert "done before" not in capfd.readouterr().out
    assert (out / "a.json").read_text() == whole
    with RunLock(out):
        assert main(again) == 2
    assert "in use by another process" in capfd.readouterr().err
    choice = choose_picture_model([pictures["landscape"][0]])
    assert choice.model.contrast == "t2"


def test_mask_decides_where_the_brain_is(pictures, predictor, plain, tmp_path):
    mask = plain.brain.T.copy()
    mask[:, : mask.shape[1] // 2] = False
    Image.fromarray((mask * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    result = predictor.predict_picture(pictures["text"][0], tmp_path / "mask.png")
    assert not result.brain[: mask.shape[1] // 2 - 8].any()
    Image.fromarray(np.zeros((480, 479), np.uint8)).save(tmp_path / "other.png")
    with pytest.raises(DataError, match="479 x 480 pixels, the picture 480 x 480"):
        predictor.predict_picture(pictures["text"][0], tmp_path / "other.png")


def test_what_cannot_be_predicted_is_one_sentence(predictor, pictures, tmp_path, capsys):
    Image.new("L", (64, 64)).save(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"empty\.png: .*one brightness"):
        predictor.predict_picture(tmp_path / "empty.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    with pytest.raises(ConfigError, match=r"noise\.png does not look clearly like an axial slice"):
        choose_picture_model([tmp_path / "noise.png"])
    with pytest.raises(ConfigError, match="no released model is for PD"):
        choose_picture_model([tmp_path / "noise.png"], "pd")
    (tmp_path / "list.txt").write_text(f"{pictures['text'][0]}\nscan.nii.gz\n")
    with pytest.raises(DataError, match="scans and pictures; give them in two lists"):
        find_pictures(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("scan.nii.gz\n")
    assert find_pictures(tmp_path / "list.txt") is None


def test_folder_with_boxes_is_predicted_and_scored_by_the_matrix_of_nova(pictures, tmp_path, capsys, repository):
    """Any folder of pictures with boxes.csv; trivial rows stand beside the models; a picture that is none has no boxes."""
    folder = tmp_path / "in"
    folder.mkdir()
    lines = ["filename,x,y,width,height"]
    for kind in ("text", "transparent"):
        path, truth = pictures[kind]
        (folder / path.name).write_bytes(path.read_bytes())
        lines += [f"{path.name},{x},{y},{w},{h}" for x, y, w, h in truth.as_xywh()]
    Image.new("L", (80, 60)).save(folder / "black.png")
    lines.append("black.png,10,10,20,20")
    (folder / "boxes.csv").write_text("\n".join(lines))
    matrix = json.loads((repository / "matrices/nova.json").read_text()) | {"subsets": [None]}
    (tmp_path / "matrix.json").write_text(json.dumps(matrix))
    out = tmp_path / "out"
    assert main(["boxes", str(folder), "--matrix", str(tmp_path / "matrix.json"), "-o", str(out)]) == 0
    rows = {(row["method"], row["rule"]): row for row in json.loads((out / "boxes.json").read_text())["rows"]}
    assert {method for method, _ in rows} == {
        "central box, half the edges", "whole picture", "box around the head", "restoration", "restoration, published boxes",
    }  # fmt: skip
    ours = rows["restoration", "released_script"]
    assert ours["pictures"] == 3
    assert ours["map_30"] >= 0.5 > rows["whole picture", "released_script"]["map_30"]
    assert (out / "hits_by_size.png").is_file()
    assert (out / "restoration" / "text_overlay.png").is_file()
    assert json.loads((out / "restoration_published_boxes" / "text.json").read_text())["threshold"]["value"] == 0.5
    (folder / "boxes.csv").unlink()
    capsys.readouterr()
    assert main(["boxes", str(folder), "--model", "a=restoration_t2", "-o", str(out)]) != 0
    assert "has no boxes of readers" in capsys.readouterr().err


def test_no_picture_is_called_like_a_file_of_all():
    assert _stems([Path("a/boxes.png"), Path("index.png"), Path("a.png")]) == ["boxes-png", "index-png", "a"]

# SPDX-License-Identifier: Apache-2.0
"""NOVA in its three layouts, and any folder of pictures: read from a stand-in; what is wrong is one sentence."""

import os

import numpy as np
import pytest
from PIL import Image

from custom.cohorts.pictures import read_pictures
from custom.cohorts.pictures.nova import EXPECTED, count_notes
from custom.core.errors import ConfigError, DataError
from custom.detection import evaluate
from custom.detection.baselines import central_box, whole_picture
from tests.cohorts.stand_in import READERS, SIZE, Volume, make_pictures, write_pictures

LAYOUTS = ("released_code", "first_release", "parquet")


def _volume(seed):
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 48, 32)), indexing="ij")
    mask = (x / 0.75) ** 2 + (y / 0.85) ** 2 + (z / 0.9) ** 2 < 1
    rng = np.random.default_rng(seed)
    seg = np.zeros(mask.shape, bool)
    for _ in range(1 + seed % 3):
        centre = rng.uniform(-0.4, 0.4, 3)
        seg |= sum((a - c) ** 2 for a, c in zip((x, y, z), centre, strict=True)) < rng.uniform(0.1, 0.25) ** 2
    image = np.where(mask, 300 + 40 * rng.standard_normal(mask.shape), 0)
    image[seg] = 600
    return Volume(image, mask, seg)


@pytest.fixture(scope="module")
def stand_in():
    return make_pictures([_volume(seed) for seed in range(4)], count=24, seed=1)


@pytest.fixture(scope="module")
def folders(stand_in, tmp_path_factory):
    root = tmp_path_factory.mktemp("nova")
    return {layout: write_pictures(root / layout, stand_in, layout) for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_say_the_same(layout, folders, stand_in):
    found = read_pictures(folders[layout])
    assert list(found.pictures) == sorted(p.name for p in stand_in)
    for expected in stand_in:
        picture = found.pictures[expected.name]
        assert picture.size == ((640, SIZE) if expected.kind == "landscape" else (SIZE, SIZE))
        assert picture.caption == (expected.caption or "")
        assert picture.case == expected.case
        assert list(picture.raters) == list(expected.raters)
        for boxes, rows in [
            (picture.gold, expected.gold),
            *((picture.raters[r], expected.raters[r]) for r in expected.raters),
        ]:
            edges = [(max(0, x), max(0, y), min(picture.size[0], x + w), min(SIZE, y + h)) for x, y, w, h in rows]
            np.testing.assert_allclose(boxes.corners, edges)
    assert [note for note in found.notes if "agreed boxes ran over the edge" in note]
    assert [note for note in found.notes if "Reader A's boxes ran over the edge" in note]


def test_stand_in_has_what_makes_pictures_awkward(stand_in):
    assert [p.kind for p in stand_in[:6]] == ["two panels", "text", "transparent", "16 bit", "landscape", "plain"]
    assert {len(p.gold) for p in stand_in} >= {1, 2}
    assert {len(p.raters) for p in stand_in} == {1, 2}
    assert stand_in[2].pixels.mode == "RGBA"
    assert np.asarray(stand_in[3].pixels).max() > 255
    assert any(p.caption is None for p in stand_in)
    twin = make_pictures([_volume(seed) for seed in range(4)], count=3, seed=1)
    assert all(np.array_equal(a.pixels, b.pixels) and a.gold == b.gold for a, b in zip(stand_in, twin, strict=False))
    with pytest.raises(ConfigError, match="with a lesion"):
        make_pictures([Volume(*(np.zeros((4, 4, 4)),) * 3)])


def test_subset_is_case_sensitive_and_raters_come_in_pairs(folders):
    found = read_pictures(folders["parquet"])
    t2 = found.subset("T2")
    assert 0 < len(t2) < len(found.subset("2")) < len(found)
    assert all("T2" in p.caption for p in t2.pictures.values())
    one, two = found.two_raters()
    assert list(one) == list(two)
    assert len(one) == sum(len(p.raters) == 2 for p in found.pictures.values()) > 0
    rows = evaluate(two, one)
    assert rows[0]["map_30"] > 0.9  # they agree to a fifth of a box's width
    assert READERS[0] in next(iter(found.pictures.values())).raters


def test_any_folder_with_or_without_boxes(tmp_path):
    for name, size in (("a.png", (30, 20)), ("b.JPG", (10, 40))):
        Image.new("L", size, 128).save(tmp_path / name)
    turned = Image.new("L", (30, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    found = read_pictures(tmp_path)
    assert {name: p.size for name, p in found.pictures.items()} == {
        "a.png": (30, 20),
        "b.JPG": (10, 40),
        "turned.jpg": (20, 30),
    }
    assert all(len(p.gold) == 0 for p in found.pictures.values())
    (tmp_path / "boxes.csv").write_text("filename,x,y,width,height\na.png,1,2,3,4\na.png,5,5,50,5\n", encoding="utf-8")
    found = read_pictures(tmp_path)
    assert found.pictures["a.png"].gold.as_xywh() == [[1, 2, 3, 4], [5, 5, 25, 5]]
    assert any("2 pictures are in no table" in note for note in found.notes)


@pytest.mark.parametrize(
    ("table", "content", "message"),
    [
        ("boxes.csv", "filename,x,y,width\na.png,1,2,3\n", "no column height"),
        ("boxes.csv", "name\na.png\n", "no column filename, x, y"),
        ("boxes.csv", "filename,x,y,width,height\na.png,1,2,0,4\n", "a.png has a box without a place"),
        ("boxes.csv", "filename,x,y,width,height\na.png,1,2,wide,4\n", "a.png has a box without a place"),
        ("boxes.csv", "filename,x,y,width,height\na.png,1,,3,4\n", "a.png has a box without a place"),
        (
            "boxes.csv",
            "filename,x,y,width,height\nz.png,1,2,3,4\n",
            "the table names z.png, but there is no such picture",
        ),
        ("boxes.csv", "", "cannot be read as a table"),
        ("metadata.csv", "filename,bbox_gold\na.png,__import__('os').getcwd()\n", "are no dictionary of lists"),
        (
            "metadata.csv",
            "filename,bbox_gold\na.png,\"{'x': [1], 'y': [2], 'width': [3]}\"\n",
            "lack x, y, width or height",
        ),
        (
            "metadata.csv",
            "filename,bbox_gold\na.png,\"{'x': [1, 2], 'y': [2], 'width': [3], 'height': [1]}\"\n",
            "different lengths",
        ),
        ("t.parquet", "no parquet", "cannot be read as a parquet table"),
    ],
)
def test_wrong_tables_are_one_sentence(table, content, message, tmp_path):
    Image.new("L", (30, 20), 128).save(tmp_path / "a.png")
    (tmp_path / table).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_pictures(tmp_path)


def test_wrong_folders_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_pictures(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no pictures"):
        read_pictures(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.png: cannot be read as a picture"):
        read_pictures(tmp_path)
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "b" / "a.png")
    with pytest.raises(DataError, match=r"two pictures are called a\.png"):
        read_pictures(tmp_path)


def test_other_numbers_than_the_benchmark_are_noted(folders):
    (note,) = count_notes(read_pictures(folders["parquet"]))
    assert note.startswith("NOVA: 24 pictures, 4 cases, ")
    assert note.endswith("the benchmark has 906 pictures, 281 cases, 1068 boxes")
    assert count_notes(read_pictures(folders["parquet"]), "FLAIR") == []


def test_table_without_a_row_is_one_sentence(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "boxes.csv").write_text("filename,x,y,width,height\n")
    with pytest.raises(DataError, match=r"folder with boxes\.csv in .* has no rows"):
        read_pictures(tmp_path)


@pytest.fixture(scope="module")
def nova():
    """The user's own copy of NOVA, which may not be shipped."""
    folder = os.environ.get("UAD_NOVA")
    if not folder:
        pytest.skip("UAD_NOVA does not point at a copy of NOVA")
    return read_pictures(folder)


@pytest.mark.parametrize(
    ("subset", "box", "released", "interpolated"),
    [
        ("T2", central_box, (22.39, 9.55, 8.12), (21.79, 9.28, 9.55)),
        (None, central_box, (21.41, 6.84, 5.81), (20.16, 6.61, 6.84)),
        ("T2", whole_picture, (7.76, 1.19, 1.02), (7.63, None, None)),
    ],
)
def test_trivial_boxes_on_nova(nova, subset, box, released, interpolated):
    """Measured with the tables of Ano-2090/Nova; mAP@30, mAP@50 and the rule's own ACC50, in %."""
    chosen = nova.subset(subset)
    assert count_notes(nova, subset) == []
    rows = evaluate({name: box(*p.size) for name, p in chosen.pictures.items()}, chosen.gold)
    for row, names, expected in ((rows[0], ("map_30", "map_50", "recall_50"), released),
                                 (rows[1], ("map_30", "map_50", "pictures_hit_50"), interpolated)):  # fmt: skip
        for name, value in zip(names, expected, strict=True):
            assert value is None or 100 * row[name] == pytest.approx(value, abs=0.02)
    assert EXPECTED[subset][0] == len(chosen)

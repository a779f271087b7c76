# SPDX-License-Identifier: Apache-2.0
"""Pictures as [X, Y, 1]: grey, 16 bits, rotation, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from custom.core.errors import DataError
from custom.volumes.read import read_scan

ROWS = np.random.default_rng(0).integers(0, 200, (20, 30)).astype(np.uint8)
ROWS[0, 0] = 255


@pytest.mark.parametrize("ending", [".png", ".tif", ".PNG", ".jpg"])
def test_grey_pictures(tmp_path, ending) -> None:
    Image.fromarray(ROWS).save(tmp_path / f"a{ending}")
    scan = read_scan(tmp_path / f"a{ending}", "a")
    assert (scan.kind, scan.array.shape, scan.spacing_mm) == ("picture", (30, 20, 1), (1.0, 1.0, 1.0))
    if ending != ".jpg":
        np.testing.assert_array_equal(scan.array[:, :, 0], ROWS.T)
    assert "radiological view are assumed" in scan.note_texts[0]
    right, down = scan.affine[:3, 0], scan.affine[:3, 1]
    assert right.tolist() == [-1, 0, 0]
    assert down.tolist() == [0, -1, 0]


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_sixteen_bits_stay(tmp_path, ending) -> None:
    fine = ROWS.astype(np.uint16) * 257
    Image.fromarray(fine).save(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(read_scan(tmp_path / f"a{ending}", "a").array[:, :, 0], fine.T)


def test_colours_become_grey_and_equal_channels_stay_exact(tmp_path) -> None:
    Image.fromarray(np.stack([ROWS] * 3, axis=-1)).save(tmp_path / "a.png")
    scan = read_scan(tmp_path / "a.png", "a")
    np.testing.assert_array_equal(scan.array[:, :, 0], ROWS.T)
    Image.fromarray(np.stack([ROWS, ROWS // 2, ROWS // 3, np.full_like(ROWS, 255)], axis=-1)).save(tmp_path / "b.png")
    scan = read_scan(tmp_path / "b.png", "a")
    expected = 0.299 * ROWS + 0.587 * (ROWS // 2) + 0.114 * (ROWS // 3)
    assert np.abs(scan.array[:, :, 0].T - expected).max() < 1.01
    assert "colours were turned into grey" in scan.note_texts


def test_the_rotation_of_exif(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(ROWS).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_scan(tmp_path / "a.png", "a").array[:, :, 0], np.rot90(ROWS, -1).T)


def test_what_is_no_picture(tmp_path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(ROWS).save(path)
    whole = path.read_bytes()
    for content in (whole[:-20], whole[:60], b"not a picture", whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_scan(path, "case7")
        assert caught.value.code == "damaged"
    pages = [Image.fromarray(ROWS), Image.fromarray(ROWS // 2)]
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="has 2 pages"):
        read_scan(tmp_path / "b.tif", "a")

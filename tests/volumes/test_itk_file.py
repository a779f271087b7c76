# SPDX-License-Identifier: Apache-2.0
"""NRRD and MetaImage: flipped bits, surplus, and headers that claim too much or too little."""

import re

import numpy as np
import pytest

from custom.core.errors import DataError
from custom.volumes import limits
from custom.volumes.itk_images import write_with_itk
from custom.volumes.read import read_scan

pytestmark = [
    pytest.mark.fault(94),
]

AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
ARRAY = np.random.default_rng(0).integers(0, 900, (12, 13, 14)).astype(np.int16)


@pytest.fixture(params=["a.nrrd", "a.mha"])
def stored(request, tmp_path):
    path = tmp_path / request.param
    write_with_itk(path, ARRAY, AFFINE)
    return path


def test_every_flipped_bit_of_the_data_is_refused_or_harmless(stored) -> None:
    whole = stored.read_bytes()
    end = b"\n\n" if stored.suffix == ".nrrd" else b"ElementDataFile = LOCAL\n"
    start = whole.index(end) + len(end)
    refused = 0
    places = np.random.default_rng(1).integers(start * 8, len(whole) * 8, 150)
    for place in [*places, *range((len(whole) - 8) * 8, len(whole) * 8)]:
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        stored.write_bytes(flipped)
        try:
            found = read_scan(stored, "a").array
        except DataError as error:
            refused += error.code in ("damaged", "surplus-bytes")
        else:
            np.testing.assert_array_equal(found, ARRAY, err_msg=f"bit {place}")
    assert refused > 0.9 * (len(places) + 64)


@pytest.mark.parametrize(("cut", "code"), [(-1, "damaged"), (-200, "damaged"), (None, "surplus-bytes")])
def test_too_few_and_too_many_bytes(stored, cut, code) -> None:
    stored.write_bytes(stored.read_bytes()[:cut] + (b"garbage" if cut is None else b""))
    with pytest.raises(DataError) as caught:
        read_scan(stored, "a")
    assert caught.value.code == code


def test_uncompressed_data_have_the_length_that_the_header_says(tmp_path) -> None:
    path = tmp_path / "a.nrrd"
    head = "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 12 13 14\n"
    head += "space directions: (2,0,0) (0,2,0) (0,0,2)\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    raw = head.encode() + ARRAY.tobytes(order="F")
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_scan(path, "a").array, ARRAY)
    for content, code in ((raw[:-1], "damaged"), (raw + b"x", "surplus-bytes")):
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_scan(path, "a")
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sizes: 12 13 14": "sizes: 3000 3000 3000", "DimSize = 12 13 14": "DimSize = 3000 3000 3000"}, "too-large"),
        ({"2)": "0.001)", "ElementSpacing = 2 2 2": "ElementSpacing = 0.001 2 2"}, "bad-spacing"),
    ],
)
def test_headers_that_claim_too_much(stored, change, code) -> None:
    raw = stored.read_bytes()
    for old, new in change.items():
        raw = raw.replace(old.encode(), new.encode())
    raw = (
        re.sub(rb"space directions: [^\n]*", b"space directions: (0.001,0,0) (0,2,0) (0,0,2)", raw)
        if code == "bad-spacing"
        else raw
    )
    stored.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        read_scan(stored, "a")
    assert caught.value.code == code


def test_memory_is_asked_for_before_it_is_taken(stored, monkeypatch) -> None:
    monkeypatch.setattr(limits, "available_memory", lambda: ARRAY.size)
    with pytest.raises(DataError, match="GiB of memory"):
        read_scan(stored, "a")


def test_without_voxel_size(tmp_path) -> None:
    path = tmp_path / "a.nrrd"
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 12 13 14\nendian: little\nencoding: raw\n\n"
    path.write_bytes(head.encode() + ARRAY.tobytes(order="F"))
    with pytest.raises(DataError, match="does not state its voxel size"):
        read_scan(path, "a")
    path.write_bytes(head.replace("endian", "spacings: 2 2 2\nendian").encode() + ARRAY.tobytes(order="F"))
    assert "left and right are not certain" in read_scan(path, "a").note_texts[0]


def test_a_data_file_elsewhere_is_not_opened(tmp_path) -> None:
    path = tmp_path / "a.mhd"
    write_with_itk(path, ARRAY, AFFINE)
    assert read_scan(path, "a").array.shape == ARRAY.shape
    text = path.read_text()
    path.write_text(re.sub("ElementDataFile = .*", "ElementDataFile = /dev/zero", text))
    with pytest.raises(DataError, match="no single file beside it"):
        read_scan(path, "a")


@pytest.mark.fault(107, "a voxel size of a MetaImage or NRRD file that is negative, NaN or 0", "refused", "unrecorded")
@pytest.mark.parametrize("spacing", ["-2 2 2", "nan 2 2", "0 2 2", "inf 2 2"])
def test_voxel_sizes_that_are_no_lengths(tmp_path, spacing) -> None:
    path = tmp_path / "a.mhd"
    write_with_itk(path, ARRAY, AFFINE)
    path.write_text(re.sub("ElementSpacing = .*", f"ElementSpacing = {spacing}", path.read_text()))
    with pytest.raises(DataError) as caught:
        read_scan(path, "a")
    assert caught.value.code == "bad-spacing"

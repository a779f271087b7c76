# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom.core.digests import (
    DamagedFileError,
    read_checked_json,
    read_sealed,
    with_digest,
    write_checked_json,
    write_sealed,
)

pytestmark = [
    pytest.mark.fault(
        72,
        "a flipped bit, another digit, a cut, zeros or another file in a cache, map, checkpoint, shard, record or result",
        "every file that is read again carries a digest: refused in a sentence, or made anew with a warning",
        "mended",
    ),
]


def test_json_comes_back_without_its_digest(tmp_path):
    write_checked_json(tmp_path / "a.json", {"b": 1.5, "a": [1, None, "ü"], 3: ("x",)})
    assert read_checked_json(tmp_path / "a.json", "") == {"b": 1.5, "a": [1, None, "ü"], "3": ["x"]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("0.25", "0.26"), "was changed after it was written"),
        (lambda text: text[:-9], "cannot be read"),
        (lambda text: json.dumps({"t": 0.25}), "carries no digest"),
        (lambda text: text.replace('"content_sha256": "', '"content_sha256": "0'), "was changed after it was written"),
        (lambda text: '{"content_sha256": "0", "a": ' + "[" * 5000 + "]" * 5000 + "}", "cannot be read|was changed"),
    ],
)
def test_changed_json_is_refused_with_the_remedy(tmp_path, change, reason):
    path = tmp_path / "a.json"
    write_checked_json(path, {"t": 0.25})
    path.write_text(change(path.read_text()))
    with pytest.raises(DamagedFileError, match=f"(?s)a.json.*({reason}).*make it again"):
        read_checked_json(path, "make it again")


@given(st.binary(max_size=300), st.data())
def test_every_flipped_bit_and_every_cut_of_a_sealed_file_is_noticed(tmp_path_factory, content, data):
    path = tmp_path_factory.mktemp("sealed") / "a.npy"
    digest = write_sealed(path, content, "case 1")
    assert read_sealed(path, "case 1", "", digest) == content
    whole = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    path.write_bytes(whole)
    with pytest.raises(DamagedFileError, match="damaged"):
        read_sealed(path, "case 1", "")
    whole[bit // 8] ^= 1 << bit % 8
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DamagedFileError, match="damaged"):
        read_sealed(path, "case 1", "")


def test_another_file_in_its_place_is_noticed(tmp_path):
    write_sealed(tmp_path / "a", b"same", "case 1")
    write_sealed(tmp_path / "b", b"same", "case 2")
    (tmp_path / "a").write_bytes((tmp_path / "b").read_bytes())
    with pytest.raises(DamagedFileError, match="another file in its place"):
        read_sealed(tmp_path / "a", "case 1", "")
    old = write_sealed(tmp_path / "a", b"new", "case 1")
    write_sealed(tmp_path / "a", b"newer", "case 1")
    with pytest.raises(DamagedFileError, match="of another run"):
        read_sealed(tmp_path / "a", "case 1", "", old)


def test_digest_is_that_of_the_values_as_they_are_read_again():
    assert with_digest({1: (2, 3)}) == with_digest({"1": [2, 3]})

# SPDX-License-Identifier: Apache-2.0
"""The list of files of a bundle: what is written is read, anything of another form is refused with its reason."""

import json

import pytest

from custom.core.errors import ConfigError
from custom.release.manifest import MANIFEST, read_manifest, verify_manifest, write_manifest

ENTRY = {"sha256": "0" * 64, "bytes": 0}


def test_what_is_written_is_read(tmp_path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.txt").write_bytes(b"abc")
    assert read_manifest(write_manifest(tmp_path)) == {
        "docs/a.txt": {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "bytes": 3}
    }
    verify_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "expected an object"),
        ({"files": {}}, "expected an object"),
        ({"version": 1, "files": {}, "more": 0}, "nothing else"),
        ({"version": True, "files": {}}, "version"),
        ({"version": 2, "files": {}}, "expected 1"),
        ({"version": 1, "files": []}, "files is not an object"),
        ({"version": 1, "files": {"a": {"bytes": 0}}}, "'a' does not consist of"),
        ({"version": 1, "files": {"a": {**ENTRY, "mode": 0}}}, "'a' does not consist of"),
        ({"version": 1, "files": {"a": {**ENTRY, "sha256": "0" * 63}}}, "sha256 of 'a'"),
        ({"version": 1, "files": {"a": {**ENTRY, "sha256": "0" * 64 + "\n"}}}, "sha256 of 'a'"),
        ({"version": 1, "files": {"a": {**ENTRY, "sha256": 0}}}, "sha256 of 'a'"),
        ({"version": 1, "files": {"a": {**ENTRY, "bytes": -1}}}, "bytes of 'a'"),
        ({"version": 1, "files": {"a": {**ENTRY, "bytes": 1.5}}}, "bytes of 'a'"),
        ({"version": 1, "files": {"a": {**ENTRY, "bytes": False}}}, "bytes of 'a'"),
        ({"version": 1, "files": {"../a": ENTRY}}, "leaves the folder"),
    ],
)
def test_another_form_is_refused_with_its_reason(tmp_path, content, reason) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=reason):
        read_manifest(tmp_path / MANIFEST)

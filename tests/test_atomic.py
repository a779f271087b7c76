# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from custom.atomic import atomic_path, atomic_write_json, atomic_write_text


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "map.nii.gz"
    atomic_write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_name_ends_like_the_final_one(tmp_path):
    with atomic_path(tmp_path / "map.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        assert temporary.parent == tmp_path
        temporary.write_text("new")
    assert (tmp_path / "map.nii.gz").read_text() == "new"


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic_write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert not (tmp_path / "a.json").exists()
    atomic_write_json(tmp_path / "a.json", {"dice": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"dice": None}

# SPDX-License-Identifier: Apache-2.0
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from custom.core.errors import ConfigError, DiskFullError
from custom.core.files import (
    atomic_path,
    atomic_write_json,
    atomic_write_text,
    changing,
    expanded,
    read_json,
    remove_left_overs,
    require_writable,
)
from custom.runs.lock import RunLock

pytestmark = [
    pytest.mark.fault(50),
]


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"", "JSONDecodeError"),
        (b"\xff", "UnicodeDecodeError"),
        (b"1" * 5000, "ValueError"),
        (b"[" * 100_000, "RecursionError"),
        (b"4", "holds int instead of a JSON object"),
    ],
)
def test_json_that_cannot_be_used_is_one_sentence(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as left:
        read_json(tmp_path / "a.json", "make it again.")
    assert str(left.value).endswith("; make it again.")
    assert str(tmp_path / "a.json") in str(left.value)


@pytest.mark.fault(104)
def test_a_pointer_of_git_lfs_is_named(tmp_path):
    (tmp_path / "a.json").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(ConfigError, match=r"a\.json is a Git LFS pointer.* git lfs pull"):
        read_json(tmp_path / "a.json", "x")


def test_json_comes_back_as_it_was_written(tmp_path):
    atomic_write_json(tmp_path / "a.json", {"a": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json", "") == {"a": [1, 2.5, None]}


@pytest.mark.fault(
    117,
    "the clock was set back while temporary files of a killed process lay there",
    "they are swept as old ones are",
    "mended",
)
def test_left_overs_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path):
    ages = {".tmp-0-old.json": 7200, ".tmp-1-new.json": 60, ".tmp-2-clock-set-back.json": -7200, "result.json": 7200}
    for name, age_s in ages.items():
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    remove_left_overs(tmp_path / "missing")
    remove_left_overs(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-1-new.json", "result.json"]
    remove_left_overs(tmp_path, older_than_s=0)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.fault(
    116,
    "an output folder on a disk that is full already",
    'a sentence and exit code 1 before the work, not "cannot be written"; the lock is free again',
    "mended",
)
def test_a_full_disk_is_not_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    def no_room(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(DiskFullError, match=r"the disk is full \(.*new\); free some space, or choose another"):
        require_writable(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(Path, "write_text", no_room)
    with pytest.raises(DiskFullError, match="the disk is full"):
        RunLock(tmp_path).acquire()
    monkeypatch.undo()
    with RunLock(tmp_path):  # nobody holds it
        pass


def test_a_leading_tilde_is_the_home_folder_unless_something_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert expanded("~/a") == tmp_path / "home" / "a"
    assert expanded("a/~") == Path("a/~")
    (tmp_path / "~").mkdir()
    assert expanded("~/a") == tmp_path / "~" / "a"


@pytest.mark.fault(113)
def test_a_tilde_of_nobody_is_a_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert expanded("~nobody_has_this_name/a") == tmp_path / "~nobody_has_this_name" / "a"


@pytest.mark.fault(
    69,
    "two commands at once that add lists or data sets to one data folder (`uad plant`, `uad splits`, `uad prepare --layout`)",
    "one after the other; the later one keeps what the earlier one added",
    "mended",
)
def test_two_that_change_a_file_at_once_lose_nothing(tmp_path):
    """Threads stand for processes: the lock belongs to the open file."""
    path = tmp_path / "lists.json"
    atomic_write_json(path, {})

    def add(key):
        with changing(path):
            content = read_json(path, "")
            time.sleep(0.002)
            atomic_write_json(path, {**content, key: 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, "abcdefgh"))
    assert sorted(read_json(path, "")) == list("abcdefgh")

# SPDX-License-Identifier: Apache-2.0
import dataclasses
import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import custom.cohorts.cache as cache
from custom.cohorts.split_csv import load_split
from custom.core.errors import DataError, ResourceError, UADError
from custom.preparation.prepare import preparation, prepare_case

pytestmark = [
    pytest.mark.fault(
        61,
        "stale cache of prepared scans",
        "the key holds settings, version and file hash; damaged entries are made anew",
        "foreseen",
    ),
    pytest.mark.fault(72),
]

SETTINGS = preparation("standard", shape=(24, 24, 12))


@pytest.fixture
def record(make_root):
    return load_split(make_root(train=["IXI001-A-1", "IXI002-A-2"], patients=["patient07"]), "mslub", "val", "t1")[0]


@pytest.fixture
def count(monkeypatch):
    calls = []

    def counted(record, settings):
        calls.append(record.case_id)
        return prepare_case(record, settings)

    monkeypatch.setattr(cache, "prepare_case", counted)
    return calls


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npz"))


def same(first, second) -> None:
    for field in ("image", "mask", "seg", "affine"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
        assert getattr(first, field).dtype == getattr(second, field).dtype
    assert first.notes == second.notes


def test_second_access_is_read_and_equal(record, tmp_path, count):
    first = cache.cached_case(record, SETTINGS, tmp_path / "c")
    second = cache.cached_case(record, SETTINGS, tmp_path / "c")
    same(first, second)
    same(first, prepare_case(record, SETTINGS))
    assert count == ["patient07"]
    cache.cached_case(record, SETTINGS, None)
    assert len(count) == 2


def test_changed_settings_or_files_are_prepared_anew(record, tmp_path, count):
    folder = tmp_path / "c"
    first = cache.cached_case(record, SETTINGS, folder)
    cache.cached_case(record, preparation("standard", shape=(24, 24, 12), percentiles=(2, 98)), folder)
    assert (len(count), len(entries(folder))) == (2, 2)
    stat = record.image.stat()
    os.utime(record.image, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    same(first, cache.cached_case(record, SETTINGS, folder))
    assert len(count) == 2  # touched, same content
    other = record.image.with_name("patient07_t1.nii.gz").parents[3] / "Train/ixi/t1/IXI001-A-1_t1.nii.gz"
    record.image.write_bytes(other.read_bytes())
    assert np.abs(cache.cached_case(record, SETTINGS, folder).image - first.image).max() > 0
    assert len(count) == 3
    record.seg.write_bytes(record.mask.read_bytes())
    assert cache.cached_case(record, SETTINGS, folder).seg.sum() > first.seg.sum()


@pytest.mark.fault(
    74,
    "a file replaced by one of equal size and time",
    "noticed by the kernel's own time of change, inode or device; the cache is keyed by content",
    "mended",
)
def test_a_file_replaced_by_one_of_equal_size_and_time_is_read_again(record, tmp_path, count):
    first = cache.cached_case(record, SETTINGS, tmp_path / "c")
    stat, raw = record.image.stat(), bytearray(record.image.read_bytes())
    assert raw[4:8] == bytes(4)  # the gzip header's time, of no effect on the voxels
    raw[4] = 1
    for write in (record.image.write_bytes, lambda data: _replaced(record.image, data)):
        before = cache.file_digest(record.image, tmp_path / "c", "")
        raw[5] += 1
        write(bytes(raw))
        os.utime(record.image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert record.image.stat().st_size == stat.st_size
        assert cache.file_digest(record.image, tmp_path / "c", "") != before
    same(first, cache.cached_case(record, SETTINGS, tmp_path / "c"))


def _replaced(path, data):
    path.with_name("other").write_bytes(data)
    path.with_name("other").replace(path)


@pytest.mark.parametrize("what", ["entry", "note"])
def test_an_entry_or_note_of_another_file_is_not_taken(record, tmp_path, count, what, caplog):
    folder = tmp_path / "c"
    first = cache.cached_case(record, SETTINGS, folder)
    other = dataclasses.replace(record, image=record.image.parents[3] / "Train/ixi/t1/IXI001-A-1_t1.nii.gz")
    cache.cached_case(other, SETTINGS, folder)
    paths = [cache.entry_path(r, SETTINGS, folder) for r in (record, other)]
    if what == "note":
        paths = sorted((folder / "files").rglob("*.json"))[:2]
    a, b = (path.read_bytes() for path in paths)
    paths[0].write_bytes(b)
    paths[1].write_bytes(a)
    same(first, cache.cached_case(record, SETTINGS, folder))
    assert ("another file in its place" in caplog.text) == (what == "entry")


def test_code_version_is_part_of_the_key(record, tmp_path, monkeypatch):
    before = cache.entry_path(record, SETTINGS, tmp_path)
    monkeypatch.setattr("custom.preparation.prepare.PREPARATION_VERSION", 10**6)
    assert cache.entry_path(record, SETTINGS, tmp_path) != before


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_damaged_entries_are_rebuilt(record, tmp_path, count, damage):
    first = cache.cached_case(record, SETTINGS, tmp_path / "c")
    (entry,) = entries(tmp_path / "c")
    raw = bytearray(entry.read_bytes())
    raw[len(raw) // 3] ^= 0xFF
    entry.write_bytes({"cut": raw[: len(raw) // 2], "flip": raw, "empty": b"", "text": b"hello"}[damage])
    same(first, cache.cached_case(record, SETTINGS, tmp_path / "c"))
    same(first, cache.cached_case(record, SETTINGS, tmp_path / "c"))
    assert len(count) == 2


def test_a_damaged_hash_note_is_rewritten(record, tmp_path, count):
    cache.cached_case(record, SETTINGS, tmp_path / "c")
    for note in (tmp_path / "c/files").rglob("*.json"):
        note.write_text("{")
    cache.cached_case(record, SETTINGS, tmp_path / "c")
    assert len(count) == 1


def test_many_at_once_leave_one_whole_entry(record, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: cache.cached_case(record, SETTINGS, tmp_path / "c"), range(16)))
    for result in results:
        same(results[0], result)
    assert len(entries(tmp_path / "c")) == 1
    assert not list((tmp_path / "c").rglob(".tmp-*"))


def test_full_disk_leaves_nothing_half_written(record, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("custom.core.files.os.replace", full)
    with pytest.raises(ResourceError, match=r"cannot write the cache file .* No space left"):
        cache.cached_case(record, SETTINGS, tmp_path / "c")
    assert entries(tmp_path / "c") == []
    assert not list((tmp_path / "c").rglob(".tmp-*"))


def test_cache_folder_that_cannot_be_made(record, tmp_path):
    (tmp_path / "c").write_text("a file")
    with pytest.raises(UADError, match="cannot write the cache file"):
        cache.cached_case(record, SETTINGS, tmp_path / "c")


def test_missing_scan(record, tmp_path):
    record.image.unlink()
    with pytest.raises(DataError, match="patient07: cannot read"):
        cache.cached_case(record, SETTINGS, tmp_path / "c")

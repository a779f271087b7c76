# SPDX-License-Identifier: Apache-2.0
"""Repair of NaN outside the brain: recorded, the original kept, nothing inside the brain touched."""

import errno
import hashlib
import sys

import nibabel as nib
import numpy as np
import pytest

from custom.cli.main import main
from custom.cohorts.gate import check, repair
from custom.core.digests import read_checked_json
from custom.core.errors import DataError

pytestmark = [
    pytest.mark.fault(1),
    pytest.mark.fault(2),
    pytest.mark.fault(114),
]


def _spoil(path, places, value=np.nan):
    image = nib.load(path)
    array = np.asarray(image.dataobj).astype(np.float32)
    for place in places:
        array[place] = value
    header = image.header.copy()
    header["descrip"] = b"kept"
    nib.save(nib.Nifti1Image(array, image.affine, header), path)
    return array


@pytest.fixture
def root(make_root):
    return make_root(["IXI001-A-1", "IXI002-A-2", "IXI003-A-3"], ["IXI004-A-4"])


@pytest.fixture
def scan(root):
    return sorted(root.glob("Train/ixi/t1/*"))[0]


def _codes(root):
    return {fault.code for fault in check(root, ["ixi"], "t1").faults}


@pytest.mark.fault(
    3,
    "a whole edge slice of NaN from resampling",
    "error; `--repair nan=0` makes it background if the mask agrees. Not by itself: a file that others read must not be taken for another one",
    "foreseen",
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_edge_slice_outside_the_brain_becomes_background(root, scan, value):
    spoiled = _spoil(scan, [np.s_[:, :, 0]], value)
    before = scan.read_bytes()
    assert _codes(root) & {"nan-voxels", "infinite-voxels"}
    (done,) = repair(root, check(root, ["ixi"], "t1").faults)
    assert (done.file, done.voxels, done.refused) == (f"Train/ixi/t1/{scan.name}", 24 * 24, "")
    assert not _codes(root) & {"nan-voxels", "infinite-voxels"}
    image = nib.load(scan)
    assert np.array_equal(np.asarray(image.dataobj), np.where(np.isfinite(spoiled), spoiled, 0))
    assert bytes(image.header["descrip"]).rstrip(b"\0") == b"kept"
    assert (root / ".unrepaired/Train/ixi/t1" / scan.name).read_bytes() == before
    (entry,) = read_checked_json(root / "repairs.json", "")["repairs"]
    assert (entry["voxels"], entry["file"]) == (24 * 24, done.file)
    assert entry["sha256_before"] == hashlib.sha256(before).hexdigest()
    assert entry["sha256_after"] == hashlib.sha256(scan.read_bytes()).hexdigest()


def test_one_voxel_inside_the_brain_leaves_the_file_as_it_is(root, scan):
    _spoil(scan, [np.s_[0, 0, 0], np.s_[12, 12, 6]])
    before = scan.read_bytes()
    (done,) = repair(root, check(root, ["ixi"], "t1").faults)
    assert "1 of them lie inside the brain, the first at index (12, 12, 6)" in done.refused
    assert scan.read_bytes() == before
    assert not (root / "repairs.json").exists()


@pytest.mark.parametrize("damaged", [b"[", b"{}", b'{"repairs": []}', b"\xff", b"[" * 100_000])
def test_damaged_record_is_told_before_anything_is_changed(root, scan, damaged):
    _spoil(scan, [np.s_[0, 0, 0]])
    before = scan.read_bytes()
    (root / "repairs.json").write_bytes(damaged)
    with pytest.raises(DataError, match=r"repairs\.json .*nothing was repaired"):
        repair(root, check(root, ["ixi"], "t1").faults)
    assert scan.read_bytes() == before
    assert (root / "repairs.json").read_bytes() == damaged
    assert not (root / ".unrepaired").exists()


def test_no_repair_without_its_record(root, scan, monkeypatch):
    """Whatever stops the record (a full disk, a kill) leaves the scan as it was."""
    _spoil(scan, [np.s_[0, 0, 0]])
    before = scan.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys.modules["custom.cohorts.gate.repair"], "write_checked_json", full)
    with pytest.raises(OSError, match="No space"):
        repair(root, check(root, ["ixi"], "t1").faults)
    assert scan.read_bytes() == before


def test_mask_of_another_grid_is_not_believed(root, scan):
    _spoil(scan, [np.s_[0, 0, 0]])
    mask = root / "Train/ixi/mask" / scan.name.replace("_t1", "_mask")
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine + np.eye(4)), mask)
    (done,) = repair(root, check(root, ["ixi"], "t1").faults)
    assert "another grid" in done.refused


def test_by_the_command_and_only_when_asked(root, scan, capsys):
    _spoil(scan, [np.s_[:, :, -1]])
    command = ["check", str(root), "--datasets", "ixi", "--contrast", "t1"]
    for arguments, code, words in (([], 4, "--repair nan=0"), (["--repair", "nan=0"], 0, "576 voxels set to 0")):
        assert main([*command, *arguments]) == code
        assert words in " ".join(capsys.readouterr().out.split())

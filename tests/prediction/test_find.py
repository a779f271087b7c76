# SPDX-License-Identifier: Apache-2.0
"""What stands for a scan, and how its results are called."""

from pathlib import Path

import pytest

from custom.core.errors import DataError
from custom.prediction.find import case_id_of, find_scans


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("name", "case_id"),
    [
        ("sub-01_T1w.nii.gz", "sub-01"),
        ("sub-01_ses-2_acq-a_T1w.nii", "sub-01_ses-2_acq-a"),
        ("sub-01.nii.gz", "sub-01"),
        ("patient 7 (final).nrrd", "sub-patient7final"),
        ("../../etc", "sub-etc"),
        ("Größe.mha", "sub-Gre"),
        ("***.nii", "sub-scan"),
    ],
)
def test_results_are_named_after_bids_entities(name: str, case_id: str) -> None:
    assert case_id_of(Path(name)) == case_id


def test_folder_gives_scans_in_order_without_masks_and_results(tmp_path: Path) -> None:
    touch(
        *(tmp_path / n for n in ("b.nii.gz", "a.nii", "c.mha", "a_mask.nii.gz", "x_desc-anomaly_map.nii.gz", "n.txt"))
    )
    touch(tmp_path / ".hidden.nii", tmp_path / "folder" / "d.nii")
    sources = find_scans(tmp_path)
    assert [s.path.name for s in sources] == ["a.nii", "b.nii.gz", "c.mha"]
    assert [s.mask and s.mask.name for s in sources] == ["a_mask.nii.gz", None, None]


def test_list_is_read_from_its_own_place_and_in_its_order(tmp_path: Path) -> None:
    touch(tmp_path / "deep" / "z.nii", tmp_path / "a b.nii")
    (tmp_path / "list.txt").write_text("\ufeffdeep/z.nii\n\na b.nii\n", encoding="utf-8")
    assert [s.case_id for s in find_scans(tmp_path / "list.txt")] == ["sub-z", "sub-ab"]


def test_two_scans_never_share_their_results(tmp_path: Path) -> None:
    touch(tmp_path / "sub-1_T1w.nii", tmp_path / "sub-1_T2w.nii")
    first, second = find_scans(tmp_path)
    assert first.problem is None
    assert second.problem is not None
    assert "rename" in second.problem
    assert first.case_id != second.case_id


def test_masks_from_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.nii", tmp_path / "in" / "b.nii", tmp_path / "masks" / "a.nii.gz")
    sources = find_scans(tmp_path / "in", tmp_path / "masks")
    assert [s.mask and s.mask.name for s in sources] == ["a.nii.gz", None]


def test_one_mask_for_many_scans_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.nii", tmp_path / "in" / "b.nii", tmp_path / "mask.nii")
    with pytest.raises(DataError, match="one mask file for 2 scans"):
        find_scans(tmp_path / "in", tmp_path / "mask.nii")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_scans(tmp_path / "no")
    with pytest.raises(DataError, match="there is no scan"):
        find_scans(tmp_path)

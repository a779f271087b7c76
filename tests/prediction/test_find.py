# SPDX-License-Identifier: Apache-2.0
"""What stands for a scan, and how its results are called."""

from pathlib import Path

import pytest

from custom.core.errors import ConfigError, DataError
from custom.prediction.find import find_scans, one_scan
from custom.prediction.names import entities_of


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
    assert entities_of(Path(name)) == case_id


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


@pytest.mark.fault(75)
@pytest.mark.parametrize(
    ("paths", "ids"),
    [
        (("sub-1_T1w.nii", "sub-1_T2w.nii", "sub-2_T1w.nii"), ["sub-1_mod-T1w", "sub-1_mod-T2w", "sub-2"]),
        (("A/t2.nii", "B/t2.nii", "c.nii"), ["sub-At2", "sub-Bt2", "sub-c"]),
        (("P/A/t2.nii", "Q/A/t2.nii"), ["sub-PAt2", "sub-QAt2"]),
        (("A/sub-1_T1w.nii", "B/sub-1_T1w.nii"), ["sub-A1_mod-T1w", "sub-B1_mod-T1w"]),
        (("a.nii", "A.nii"), None),
        (("t1.nii", "t-1.nii"), None),
    ],
)
def test_two_scans_never_share_their_results_in_any_order(
    tmp_path: Path, paths: tuple[str, ...], ids: list[str] | None
) -> None:
    touch(*(tmp_path / path for path in paths))
    for order in (paths, paths[::-1]):
        (tmp_path / "list.txt").write_text("\n".join(order))
        found = {str(s.path.relative_to(tmp_path)): s.case_id for s in find_scans(tmp_path / "list.txt")}
        assert len({name.lower() for name in found.values()}) == len(paths)
        assert ids is None or [found[path] for path in paths] == ids
        ids = ids or [found[path] for path in paths]


def test_a_scan_listed_twice_is_done_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    (tmp_path / "list.txt").write_text("a.nii\n./a.nii\n")
    first, second = find_scans(tmp_path / "list.txt")
    assert (first.case_id, first.problem) == ("sub-a", None)
    assert second.problem == "a.nii is in the list twice"
    assert second.case_id != "sub-a"


@pytest.mark.fault(
    87,
    "a list in UTF-16, cp1252 or without encoding",
    "UTF-16 with its mark is read, others are refused with the remedy",
    "mended",
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_lists_as_windows_writes_them(tmp_path: Path, encoding: str) -> None:
    touch(tmp_path / "Größe.nii", tmp_path / "b.nii")
    text = ("\ufeff" if encoding == "utf-16-le" else "") + "Größe.nii\r\nb.nii\r\n"
    (tmp_path / "list.TXT").write_bytes(text.encode(encoding))
    assert [s.path.name for s in find_scans(tmp_path / "list.TXT")] == ["Größe.nii", "b.nii"]


@pytest.mark.fault(87)
@pytest.mark.parametrize("data", ["Größe.nii".encode("cp1252"), "a.nii".encode("utf-16-le"), b"\x00\x01"])
def test_lists_of_other_encodings_are_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(DataError, match=r"list.txt: .*save the list as UTF-8") as caught:
        find_scans(tmp_path / "list.txt")
    assert caught.value.exit_code == 4


@pytest.mark.fault(
    79,
    "a folder of masks without one for a scan",
    "the scan is refused, with the names that were expected and found",
    "mended",
)
def test_masks_from_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.nii", tmp_path / "in" / "sub-01_T2w.nii.gz", tmp_path / "masks" / "a.nii.gz")
    touch(tmp_path / "masks" / "sub-01_brainmask.nii.gz")
    first, second = find_scans(tmp_path / "in", tmp_path / "masks")
    assert first.mask == tmp_path / "masks" / "a.nii.gz"
    assert first.problem is None
    assert second.mask is None
    assert second.problem == (
        "no mask for sub-01 in masks: expected sub-01_T2w_mask.nii.gz or sub-01_T2w.nii.gz, found sub-01_brainmask.nii.gz"
    )


@pytest.mark.parametrize("name", ["a_mask", "a_brainmask", "a_brain_mask", "a_desc-brain_mask"])
def test_usual_names_of_brain_masks_are_known(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / f"{name}.nii.gz")
    (source,) = find_scans(tmp_path)
    assert source.mask == tmp_path / f"{name}.nii.gz"


def test_a_mask_that_does_not_exist_is_not_ignored(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"the mask .*m.nii does not exist"):
        find_scans(tmp_path / "a.nii", tmp_path / "m.nii")


@pytest.mark.fault(
    80,
    "segmentations and probability maps in a folder of scans",
    "passed over by their names, which is mentioned",
    "mended",
)
@pytest.mark.parametrize(
    "name",
    ["a_seg", "a-seg", "a_dseg", "a_probseg", "a_label-GM_probseg", "a_prob", "a_pve_1", "a_Lesion", "a_aparc+aseg"],
)
def test_segmentations_and_probability_maps_are_not_taken_for_scans(tmp_path: Path, name: str, caplog) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / f"{name}.nii.gz")
    assert [s.path.name for s in find_scans(tmp_path)] == ["a.nii.gz"]
    assert f"passed over in {tmp_path}, their names say that they are no scans: {name}.nii.gz" in caplog.text


@pytest.mark.fault(81, "several scans where one is predicted", "refused", "mended")
def test_one_scan_is_not_the_first_of_several(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii", tmp_path / "b.nii")
    with pytest.raises(ConfigError, match=r"holds 2 scans \(a.nii, b.nii, ...\)"):
        one_scan(tmp_path)
    assert one_scan(tmp_path / "a.nii").case_id == "sub-a"


def test_one_mask_for_many_scans_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.nii", tmp_path / "in" / "b.nii", tmp_path / "mask.nii")
    with pytest.raises(DataError, match="one mask file for 2 scans"):
        find_scans(tmp_path / "in", tmp_path / "mask.nii")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_scans(tmp_path / "no")
    with pytest.raises(DataError, match="there is no scan"):
        find_scans(tmp_path)


def test_dicom_without_preamble_among_other_files_and_deeper_down(tmp_path) -> None:
    series = tmp_path / "PAT" / "ST" / "SE"
    series.mkdir(parents=True)
    for number in range(7):
        (series / f"A{number}.txt").write_text("notes")
    (series / "IM1").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(200))
    assert [source.path for source in find_scans(series)] == [series]
    with pytest.raises(DataError, match=r"deeper folders hold DICOM series \(ST/SE\): give one of them"):
        find_scans(tmp_path / "PAT")


def series(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "IM1").write_bytes(bytes(128) + b"DICM" + bytes(200))


@pytest.mark.fault(
    99,
    "scans in deeper folders (PATIENT/STUDY/SERIES, BIDS) beside those that are taken",
    "mentioned with the first of them",
    "mended",
)
def test_series_and_scans_in_deeper_folders_are_mentioned_beside_those_that_are_taken(tmp_path, caplog) -> None:
    series(tmp_path / "PAT" / "SE1")
    assert [source.path for source in find_scans(tmp_path / "PAT")] == [tmp_path / "PAT" / "SE1"]
    assert not caplog.text
    series(tmp_path / "PAT" / "ST" / "SE2")
    assert [source.path for source in find_scans(tmp_path / "PAT")] == [tmp_path / "PAT" / "SE1"]
    assert "deeper folders hold DICOM series (ST/SE2): give one of them" in caplog.text
    caplog.clear()
    series(tmp_path / "PAT" / "SE1" / "again")  # in a folder that is a series itself
    assert [source.path for source in find_scans(tmp_path / "PAT" / "SE1")] == [tmp_path / "PAT" / "SE1"]
    assert "deeper folders hold DICOM series (again)" in caplog.text
    caplog.clear()
    touch(tmp_path / "bids" / "a.nii", tmp_path / "bids" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    assert [source.path.name for source in find_scans(tmp_path / "bids")] == ["a.nii"]
    assert "deeper folders hold scans (sub-01/anat/sub-01_T1w.nii.gz): give their folder" in caplog.text
    (tmp_path / "bids" / "a.nii").unlink()
    with pytest.raises(DataError, match=r"there is no scan in .*deeper folders hold scans \(sub-01/anat/"):
        find_scans(tmp_path / "bids")


@pytest.mark.fault(
    109,
    "paths in quotes and `~` of nobody in a list, a folder called `x.txt`",
    "quotes are dropped, the name is taken as it is, a folder is a folder",
    "unrecorded",
)
def test_paths_in_quotes_and_of_nobody_in_lists_and_a_folder_called_like_a_list(tmp_path) -> None:
    touch(tmp_path / "a b.nii", tmp_path / "folder.txt" / "c.nii")
    (tmp_path / "list.txt").write_text('"a b.nii"\n~nobody_has_this_name/d.nii\n')
    assert [s.path.name for s in find_scans(tmp_path / "list.txt")] == ["a b.nii", "d.nii"]
    assert [s.path.name for s in find_scans(tmp_path / "folder.txt")] == ["c.nii"]


@pytest.mark.fault(
    108,
    "file names as long as the file system takes",
    "names of results are shortened and end in a digest",
    "unrecorded",
)
def test_the_longest_file_names_leave_room_for_those_of_results(tmp_path) -> None:
    names = [f"{'x' * 230}{end}.nii.gz" for end in "ab"] + [f"sub-{'y' * 230}{end}_T1w.nii.gz" for end in "ab"]
    touch(*(tmp_path / name for name in names))
    ids = [source.case_id for source in find_scans(tmp_path)]
    assert len(set(ids)) == 4
    assert all(len(f"{case_id}_desc-pseudohealthy_T1w.nii.gz") < 200 for case_id in ids)

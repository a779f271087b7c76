# SPDX-License-Identifier: Apache-2.0
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom.cohorts.datasets import get_dataset
from custom.cohorts.list_paths import in_contrast, relative_path
from custom.cohorts.split_csv import load_split, read_split
from custom.core.digests import write_checked_json
from custom.core.errors import ConfigError, DataError
from custom.core.stamps import text_digest
from custom.volumes.records import CONTRASTS, case_id_of, checked_id

pytestmark = [
    pytest.mark.fault(29, "files in a list that do not exist", "all listed before anything is run", "foreseen"),
    pytest.mark.fault(
        30,
        "list with `;`, wrong columns, dates, other encoding",
        "error with expected and found header; byte order mark and blank lines are harmless",
        "foreseen",
    ),
    pytest.mark.fault(31, "relative, absolute, Windows paths", "resolved against the data root", "foreseen"),
    pytest.mark.fault(32, "path that leaves the root, in a list or a case id", "refused; HTML is escaped", "foreseen"),
]

IXI = get_dataset("ixi", ".")
HEAD = "img_name,age,label,img_path,mask_path,seg_path\n"
ID = "IXI105-HH-1471"
ROW = f"{ID}_t1.nii.gz,38.9,0,/Train/ixi/t1/{ID}_t1.nii.gz,/Train/ixi/mask/{ID}_mask.nii.gz,\n"


def read(tmp_path: Path, text: str | bytes, contrast: str = "t1", dataset: str = "ixi"):
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_split(path, tmp_path, contrast, get_dataset(dataset, "."), check_files=False)


def test_a_row_of_the_papers(tmp_path):
    (record,) = read(
        tmp_path,
        ",img_name,SEX_ID,age,label,img_path,mask_path,seg_path,Agegroup\n90,IXI105-HH-1471_t1.nii.gz,1,38.9,0,"
        "/Train/ixi/t1/IXI105-HH-1471_t1.nii.gz,/Train/ixi/mask/IXI105-HH-1471_mask.nii.gz,,1.0\n",
    )
    assert record.case_id == "IXI105-HH-1471"
    assert record.subject == "IXI105"
    assert record.image == tmp_path / "Train/ixi/t1/IXI105-HH-1471_t1.nii.gz"
    assert record.mask == tmp_path / "Train/ixi/mask/IXI105-HH-1471_mask.nii.gz"
    assert (record.seg, record.label, record.age, record.dataset) == (None, 0, 38.9, "ixi")


def test_t2_leaves_mask_and_root_alone(tmp_path):
    root = tmp_path / "t1_seg_mask" / "t1"
    root.mkdir(parents=True)
    (root / "l.csv").write_text(HEAD + ROW)
    (record,) = read_split(root / "l.csv", root, "t2", IXI, check_files=False)
    assert record.image == root / "Train/ixi/t2/IXI105-HH-1471_t2.nii.gz"
    assert record.mask == root / "Train/ixi/mask/IXI105-HH-1471_mask.nii.gz"
    assert record.contrast == "t2"


@given(
    st.lists(st.from_regex(r"[a-z0-9_]{1,6}", fullmatch=True), max_size=3),
    st.from_regex(r"[a-zA-Z0-9_-]{1,8}", fullmatch=True),
    st.sampled_from([".nii", ".nii.gz"]),
)
def test_contrast_exchange_is_an_involution_on_the_last_parts_only(folders, name, ending):
    path = PurePosixPath(*folders, "t1", f"{name}_t1{ending}")
    other = in_contrast(path, "t2")
    assert other.parts[:-2] == path.parts[:-2]
    assert other.parts[-2:] == ("t2", f"{name}_t2{ending}")
    assert in_contrast(other, "t1") == path


def test_a_folder_called_t1_higher_up_stays():
    assert str(in_contrast(PurePosixPath("t1/a/t1/t1_t1.nii.gz"), "t2")) == "t1/a/t2/t1_t2.nii.gz"


@pytest.mark.parametrize("path", ["ixi/a_t1.nii.gz", "t1/a.nii.gz", "t1/a_t2.nii.gz", "t1/a_t1.png"])
def test_no_contrast_no_guess(path):
    with pytest.raises(DataError, match="cannot tell the contrast"):
        in_contrast(PurePosixPath(path), "t2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found an empty file"),
        (HEAD.replace(",", ";") + ROW.replace(",", ";"), "separator is ';'"),
        (HEAD.replace("label", "group") + ROW, r"no column label: expected .*found img_name,age,group"),
        (HEAD + ROW.replace("38.9", "Jan 38"), "line 2: age must be empty or a number"),
        (HEAD + ROW.replace("38.9", "389"), "between 0 and 130"),
        (HEAD + ROW.replace(",0,", ",2,"), "label must be 0"),
        (HEAD + ROW.replace(",0,", ",1,"), "no seg_path"),
        (HEAD + ROW.replace("38.9", "38,9"), "7 cells where the header has 6"),
        (HEAD + ROW.replace("/Train/ixi/t1", "/../secret/t1"), r"leaves the data root"),
        (HEAD + ROW.replace("/Train/ixi/mask", "C:/Train/mask"), r"leaves the data root"),
        (HEAD + ROW.replace("IXI105-HH-1471_t1.nii.gz,38", "../x_t1.nii.gz,38"), "case id '../x' is not allowed"),
        (HEAD + ROW.replace("IXI105-HH-1471_t1.nii.gz,38", "a b,38"), "case id 'a b' is not allowed"),
        ((HEAD + ROW).encode("utf-16"), "not UTF-8"),
    ],
)
def test_faulty_lists_are_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert "list.csv" in str(caught.value)


def test_byte_order_mark_blank_lines_and_windows_paths_are_harmless(tmp_path):
    windows = ROW.replace("/", "\\")
    records = read(tmp_path, b"\xef\xbb\xbf" + ("\r\n" + HEAD + "\r\n" + windows + ",,,,,\r\n\r\n").encode())
    assert [r.image for r in records] == [tmp_path / "Train/ixi/t1/IXI105-HH-1471_t1.nii.gz"]


def test_absolute_path_inside_the_root(tmp_path):
    assert relative_path(f"{tmp_path}/Train/a b/ü.nii", tmp_path) == PurePosixPath("Train/a b/ü.nii")


def test_atlas_exists_in_t1_only(tmp_path):
    with pytest.raises(ConfigError, match="t1 only, not in 't2'"):
        read(tmp_path, HEAD + ROW, "t2", "atlas_v2")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\n", "é"])
def test_ids_that_could_leave_the_output_folder(name):
    with pytest.raises(DataError, match="not allowed"):
        checked_id(name, "row 1")


@given(
    st.from_regex(r"[A-Za-z0-9-]{1,10}", fullmatch=True),
    st.sampled_from(CONTRASTS),
    st.sampled_from(["", ".nii", ".nii.gz"]),
)
def test_case_id_is_the_same_in_every_contrast(name, contrast, ending):
    assert case_id_of(f"{name}_{contrast}{ending}") == name


def test_all_missing_files_are_listed_at_once(make_root):
    root = make_root(train=["IXI001-A-1", "IXI002-A-2", "IXI003-A-3"])
    (root / "Train/ixi/t1/IXI001-A-1_t1.nii.gz").unlink()
    (root / "Train/ixi/mask/IXI003-A-3_mask.nii.gz").unlink()
    with pytest.raises(DataError, match="2 of the files") as caught:
        load_split(root, "ixi", "train", "t1", fold=0)
    assert "t1/IXI001-A-1_t1.nii.gz" in str(caught.value)
    assert "mask/IXI003-A-3_mask.nii.gz" in str(caught.value)


def test_only_declared_subjects_may_lack_t2(make_root):
    root = make_root(train=["IXI116-A-1", "IXI002-A-2", "IXI003-A-3"], contrasts=("t1", "t2"))
    (root / "Train/ixi/t2/IXI116-A-1_t2.nii.gz").unlink()
    assert [r.subject for r in load_split(root, "ixi", "train", "t2", fold=0)] == ["IXI002", "IXI003"]
    assert len(load_split(root, "ixi", "train", "t1", fold=0)) == 3
    (root / "Train/ixi/t2/IXI002-A-2_t2.nii.gz").unlink()
    with pytest.raises(DataError, match=r"t2/IXI002-A-2_t2\.nii\.gz") as caught:
        load_split(root, "ixi", "train", "t2", fold=0)
    assert "IXI116" not in str(caught.value)


def test_messages_for_lists_that_are_not_there(make_root, tmp_path):
    root = make_root(train=["IXI001-A-1", "IXI002-A-2"])
    with pytest.raises(DataError, match=r"uad splits .* --dataset ixi"):
        load_split(root, "ixi", "test", "t1")
    with pytest.raises(DataError, match="synapse"):
        load_split(root, "brats21", "val", "t1")
    with pytest.raises(DataError, match=r"data root .* does not exist"):
        load_split(tmp_path / "nowhere", "ixi", "test", "t1")
    with pytest.raises(ConfigError, match="once per fold"):
        load_split(root, "ixi", "train", "t1")
    with pytest.raises(ConfigError, match="no split 'train'"):
        load_split(root, "mslub", "train", "t1")
    (tmp_path / "upper/Data").mkdir(parents=True)
    root.rename(tmp_path / "upper/Data/splits")
    with pytest.raises(DataError, match="give that as data root"):
        load_split(tmp_path / "upper", "ixi", "train", "t1", fold=0)


def test_a_stamped_list_may_change_its_line_endings_but_not_its_content(make_root):
    root = make_root(train=["IXI001-A-1", "IXI002-A-2"])
    path = root / "splits/IXI_train_fold0.csv"
    text = path.read_text()
    stamp = {"ixi": {"files": {path.name: text_digest(text)}}}
    write_checked_json(root / "splits/splits.json", stamp)
    path.write_bytes(text.replace("\n", "\r\n").encode())
    assert len(load_split(root, "ixi", "train", "t1", fold=0)) == 2
    path.write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(DataError, match="was changed after it was made"):
        load_split(root, "ixi", "train", "t1", fold=0)

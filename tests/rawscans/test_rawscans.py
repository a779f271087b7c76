# SPDX-License-Identifier: Apache-2.0
"""Preparing scans to disk: files, records, resumption, failures, layouts. The slow steps are stood in for by quick ones."""

import csv
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from custom.cli.main import main
from custom.cohorts.datasets import get_dataset
from custom.core.errors import DataError
from custom.preparation.scan_quality import LIMITS, cut_share, measures, worst
from custom.preparation.subject import Subject
from custom.rawscans import batch, chain
from custom.rawscans.batch import output_names, prepare_batch
from custom.rawscans.chain import RawSettings
from custom.rawscans.find import find_bids, find_raw_scans, participants, with_lesions
from custom.rawscans.papers import write_papers_layout
from custom.rawscans.raw_scan import RawScan
from custom.runs.lock import RunLock

AFFINE = np.array([[0, 0, -4.0, 84], [-4.0, 0, 0, 110], [0, 4.0, 0, -80], [0, 0, 0, 1]])  # posterior, superior, left
CALLS: list[str] = []


@dataclass(frozen=True)
class Quick:
    """Take everything above 0 as brain and claim a registration."""

    stretch: float = 0.9

    def __call__(self, subject: Subject) -> Subject:
        CALLS.append(subject.case)
        if subject.case == "sub-bad":
            raise DataError("no head here", case=subject.case)
        mask = subject.mask if subject.mask is not None else (subject.image > 0).astype(np.uint8)
        found = {"mask_overlap": 0.95, "pose_ratio": 2.4, "stretch": [self.stretch] * 3}
        return (
            subject.replaced(mask=mask)
            .recorded("brain_extraction", {"source": "quick"})
            .recorded("registration", found)
        )


@pytest.fixture(autouse=True)
def _quick(monkeypatch) -> None:
    CALLS.clear()
    monkeypatch.setattr(chain, "raw_steps", lambda *settings: (Quick(),))


@pytest.fixture(scope="module")
def image(brain) -> np.ndarray:
    """The phantom of 1.3 l, stored in the order of :data:`AFFINE`."""
    return np.ascontiguousarray(brain.transpose(1, 2, 0)[::-1, :, ::-1])


@pytest.fixture
def scans(tmp_path, image) -> list[RawScan]:
    found = []
    for name in ("sub-one", "sub-bad"):
        path = tmp_path / "in" / f"{name}_T2w.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.Nifti1Image(image, AFFINE).to_filename(path)
        found.append(RawScan(name, path, "t2"))
    seg = tmp_path / "in" / "seg.nii.gz"
    nib.Nifti1Image((image > 250).astype(np.uint8), AFFINE).to_filename(seg)
    return [RawScan(found[0].case_id, found[0].image, "t2", seg=seg), found[1]]


def test_files_records_and_failures(scans, image, tmp_path) -> None:
    records = prepare_batch(scans, tmp_path / "out", RawSettings("atlas", spacing_mm=2.0))
    assert [record["verdict"] for record in records] == ["ok", "failed"]
    assert records[1]["error"] == "sub-bad: no head here"
    names, place = output_names(scans[0]), tmp_path / "out" / "sub-one" / "anat"
    prepared = nib.load(place / names["image"])
    assert prepared.shape == (96, 96, 80)
    assert np.allclose(prepared.affine[:3, 3], [-95, -109, -72])  # the grid of prepared cohorts
    mask, seg = (np.asarray(nib.load(place / names[role]).dataobj) for role in ("mask", "seg"))
    assert mask.sum() * 8 == pytest.approx((image > 0).sum() * 64, rel=0.02)
    assert seg.sum() * 8 == pytest.approx((image > 250).sum() * 64, rel=0.2)
    assert np.asarray(prepared.dataobj)[mask == 0].max() == 0
    own = nib.load(place / names["native_mask"])
    assert np.allclose(own.affine, AFFINE)
    assert np.array_equal(np.asarray(own.dataobj) > 0, image > 0)
    page = (tmp_path / "out" / "sub-one.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "cannot be recognised" in page
    index = (tmp_path / "out" / "index.html").read_text()
    assert index.index("sub-bad") < index.index("sub-one")
    assert "no head here" in index


def test_finished_scans_are_kept_and_damaged_ones_made_again(scans, tmp_path) -> None:
    settings = RawSettings("atlas", spacing_mm=2.0)
    prepare_batch(scans[:1], tmp_path / "out", settings)
    prepare_batch(scans[:1], tmp_path / "out", settings)
    assert CALLS == ["sub-one"]
    (tmp_path / "out" / "sub-one" / "anat" / output_names(scans[0])["mask"]).write_bytes(b"cut")
    prepare_batch(scans[:1], tmp_path / "out", settings)
    assert CALLS == ["sub-one"] * 2
    prepare_batch(scans[:1], tmp_path / "out", RawSettings("deepbet", spacing_mm=2.0))
    assert CALLS == ["sub-one"] * 3


@pytest.mark.fault(
    119,
    "a full disk or a kill while prepared scans are put into a data folder",
    "a scan there is the earlier one or the new one, never a part of it",
    "mended",
)
def test_papers_layout(scans, tmp_path, monkeypatch) -> None:
    out, data = tmp_path / "out", tmp_path / "data"
    records = prepare_batch(scans, out, RawSettings("atlas", spacing_mm=2.0))
    people = {"sub-one": {"age": "41", "sex": "F"}}
    path = write_papers_layout(scans, records, out, data, "mine", patients=True, people=people)
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 1  # the failed one stays out
    assert (rows[0]["age"], rows[0]["sex"], rows[0]["label"]) == ("41", "F", "1")
    for column in ("img_path", "mask_path", "seg_path"):
        assert rows[0][column].startswith("/Test/mine/")
        assert (data / rows[0][column].lstrip("/")).is_file()
    linked = data / rows[0]["img_path"].lstrip("/")
    whole = linked.read_bytes()
    linked.unlink()
    linked.write_bytes(b"earlier")

    def cut(source, target):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:  # no hard links, and the disk is full in the middle of a copy
        patch.setattr("os.link", lambda *_: cut(_[0], _[1]))
        patch.setattr("shutil.copyfile", cut)
        with pytest.raises(OSError, match="No space"):
            write_papers_layout(scans, records, out, data, "mine", patients=True, people=people)
    assert linked.read_bytes() == b"earlier"
    for _ in "ab":
        write_papers_layout(scans, records, out, data, "mine", patients=True, people=people)
        assert linked.read_bytes() == whole
    assert list(data.rglob(".tmp-*")) == []


def test_a_failed_measure_leaves_the_scan_out(scans, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(chain, "raw_steps", lambda *settings: (Quick(0.6),))
    records = prepare_batch(scans[:1], tmp_path / "out", RawSettings("atlas", spacing_mm=2.0))
    assert records[0]["verdict"] == "fail"
    assert not batch.usable(records[0])


@pytest.mark.fault(
    130,
    "`uad prepare` or `uad matrix` twice at once in one output",
    "the second is refused before it changes anything",
    "mended",
)
def test_command(scans, tmp_path, capsys) -> None:
    arguments = ["prepare", str(tmp_path / "in"), "-o", str(tmp_path / "o"), "--contrast", "T2", "--spacing", "2"]
    (tmp_path / "in" / "seg.nii.gz").rename(tmp_path / "one_seg.nii.gz")
    lesions = tmp_path / "lesions"
    lesions.mkdir()
    for name in ("one", "bad"):
        shutil.copyfile(tmp_path / "one_seg.nii.gz", lesions / f"sub-{name}_T2w_seg.nii.gz")
    assert main([*arguments, "--extractor", "atlas", "--seg", str(lesions)]) == 4
    assert "no head here" in capsys.readouterr().out
    assert (tmp_path / "o" / "sub-one" / "anat" / output_names(scans[0])["seg"]).is_file()
    with RunLock(tmp_path / "o"):
        assert main([*arguments, "--extractor", "atlas"]) == 2
    assert "in use by another process" in capsys.readouterr().err


def test_command_makes_a_data_set_of_any_contrast(scans, tmp_path) -> None:
    arguments = ["prepare", str(tmp_path / "in"), "-o", str(tmp_path / "o"), "--contrast", "flair", "--spacing", "2"]
    data = tmp_path / "DATA"
    main([*arguments, "--extractor", "atlas", "--layout", "papers", str(data), "--name", "mysite"])
    assert get_dataset("mysite", data).contrasts == ("flair",)
    assert get_dataset("mysite", data).healthy


def test_command_makes_the_lists_of_a_public_data_set(image, tmp_path, capsys) -> None:
    """In the folder that its declaration names, once; healthy scans or patients as it declares."""
    for case in ("0", "1"):
        folder = tmp_path / "WMH" / "training" / "Utrecht" / case
        (folder / "pre").mkdir(parents=True)
        nib.Nifti1Image(image, AFFINE).to_filename(folder / "pre" / "T1.nii.gz")
        nib.Nifti1Image((image > 250).astype(np.uint8), AFFINE).to_filename(folder / "wmh.nii.gz")
    data = tmp_path / "DATA"
    arguments = ["prepare", str(tmp_path / "WMH"), "--download", "wmh", "--contrast", "t1", "-o", str(tmp_path / "o")]
    arguments += ["--spacing", "2", "--layout", "papers", str(data), "--name", "wmh", "--splits"]
    assert main(arguments) == 2
    assert "add --patients" in capsys.readouterr().err
    assert main([*arguments, "--patients"]) == 0
    lists = {path.name: path.read_text() for path in (data / "splits").glob("*.csv")}
    assert len(lists) == 2
    rows = [row for text in lists.values() for row in csv.DictReader(text.splitlines())]
    assert len({row["img_name"] for row in rows}) == 2
    for row in rows:
        assert (data / row["img_path"].lstrip("/")).is_file()
    assert main([*arguments, "--patients"]) == 0
    assert {path.name: path.read_text() for path in (data / "splits").glob("*.csv")} == lists


def test_lesion_masks_are_paired_by_name(tmp_path, capsys) -> None:
    """One for every scan, in BIDS derivatives too; none and two are errors."""
    names = ("in/sub-1_T1w", "in/sub-2_T1w", "seg/sub-1/anat/sub-1_label-lesion_mask", "seg/sub-2_T1w_seg")
    for name in names:
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    scans, _ = find_raw_scans(tmp_path / "in", "t1")
    paired = with_lesions(scans, tmp_path / "seg")
    assert [scan.seg.name for scan in paired] == ["sub-1_label-lesion_mask.nii.gz", "sub-2_T1w_seg.nii.gz"]
    (tmp_path / "seg" / "sub-1_seg.nii").write_bytes(b"")
    with pytest.raises(DataError, match="sub-1: expected one lesion mask"):
        with_lesions(scans, tmp_path / "seg")
    with pytest.raises(DataError, match="one lesion mask for 2 scans"):
        with_lesions(scans, tmp_path / "in" / "sub-1_T1w.nii.gz")
    common = ["prepare", str(tmp_path / "in"), "-o", str(tmp_path / "o"), "--contrast", "t1"]
    assert main([*common, "--seg", "x", "--download", "wmh"]) == 2
    assert "--seg is not for --download" in capsys.readouterr().err


def test_bids(tmp_path, image) -> None:
    for name in ("sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w", "sub-01/anat/sub-01_FLAIR", "sub-02/anat/sub-02_T1w"):
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    (tmp_path / "derivatives" / "sub-03" / "anat").mkdir(parents=True)
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t30\tM\n")
    assert [scan.case_id for scan in find_bids(tmp_path, "t1")] == ["sub-01_ses-1_run-2", "sub-02"]
    assert [scan.case_id for scan in find_bids(tmp_path, "t1", ["02"])] == ["sub-02"]
    assert participants(tmp_path)["sub-01"]["age"] == "30"
    with pytest.raises(DataError, match="sub-9"):
        find_raw_scans(tmp_path, "t1", labels=["9"])


@pytest.mark.parametrize(("value", "verdict"), [(0.95, "ok"), (0.9, "warn"), (0.8, "fail")])
def test_limits(value, verdict) -> None:
    assert LIMITS["mask_overlap"].verdict(value) == verdict


def test_measures_of_a_cut_brain() -> None:
    mask = np.zeros((60, 60, 60), dtype=np.uint8)
    mask[10:50, 10:50, 0:40] = 1
    assert cut_share(mask) == 0  # below, where the brain stem leaves the scan
    assert cut_share(mask[:, :, :30]) > 0.1
    native = Subject("x", np.ones(mask.shape, np.float32), np.diag([2.0, 2, 2, 1]), mask=mask)
    found = measures(native, {"bias_field": {"log_sd": 0.3}}, agreement=0.5)
    assert {measure.name: measure.verdict for measure in found} == {
        "brain_ml": "fail",
        "cut_share": "ok",
        "extractors_agree": "fail",
        "bias_log_sd": "warn",
    }
    assert worst(found) == "fail"

# SPDX-License-Identifier: Apache-2.0
"""Results belong to a scan, not to a name; nothing of another scan is replaced, forgotten or taken for it."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import custom.prediction.page as page
from custom.core.digests import read_checked_json
from custom.core.errors import ConfigError, DataError, DiskFullError
from custom.core.foreseen import find_foreseen
from custom.prediction.dataset import ScanDataset
from custom.prediction.derivatives import case_folder
from custom.prediction.find import ScanSource, find_scans
from custom.prediction.results import ResultsFolder

pytestmark = [
    pytest.mark.fault(72),
]


class Result:
    """As much of a result as its folder needs."""

    affine, kind, header, sha256 = np.eye(4), "nifti", b"", ""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def images(self) -> dict[str, Any]:
        array = np.full((3, 4, 5), self.value, np.float32)
        return {"anomaly_map": array, "mask": array.astype(np.uint8), "pseudohealthy": array}

    def summary(self) -> dict[str, Any]:
        return {"AnomalyVolumeMl": self.value, "AnomalyScore": self.value, "Findings": [], "Warnings": []}


def scan(path: Path, value: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.full((3, 4, 5), value, np.uint8), np.eye(4)), path)
    return path


@pytest.fixture(autouse=True)
def simple_pages(monkeypatch) -> None:
    def case_page(folder: Path, summary: dict[str, Any], result: Any, *_: Any) -> None:
        (folder / "figures").mkdir(exist_ok=True)
        (folder / "figures" / f"{summary['case_id']}_desc-anomaly_overview.png").write_bytes(b"png")
        (folder / f"{summary['case_id']}.html").write_text(f"{result.value}")

    monkeypatch.setattr(page, "write_case_report", case_page)


def predict(
    out: Path, given: Path, settings: dict[str, Any] | None = None, strict: bool = True
) -> list[dict[str, Any]]:
    results = ResultsFolder(out, settings or {"model_sha256": "a"}, "t2")
    for source in results.pending(find_scans(given)):
        if source.problem:
            results.fail(source, source.problem)
        else:
            results.save(source, Result(float(np.asarray(nib.load(source.path).dataobj).max())), 0.0)
    return results.finish(strict)


def listed(out: Path) -> list[str]:
    names = [case["case_id"] for case in read_checked_json(out / "summary.json", "")["cases"]]
    text = (out / "index.html").read_text()
    assert all(name in text for name in names)
    return names


def map_of(out: Path, case_id: str) -> float:
    image = nib.load(case_folder(out, case_id) / f"{case_id}_desc-anomaly_map.nii.gz")
    return float(np.asarray(image.dataobj).max())


@pytest.mark.fault(
    75,
    "two patients' files of one name in one output",
    "the second is named after its folder, and says so; nothing is replaced",
    "mended",
)
def test_two_patients_of_one_file_name_keep_their_results(tmp_path) -> None:
    a, b = scan(tmp_path / "A" / "t2.nii.gz", 1), scan(tmp_path / "B" / "t2.nii.gz", 2)
    out = tmp_path / "out"
    predict(out, a)
    (second,) = predict(out, b)
    assert second["case_id"] == "sub-Bt2"
    assert second["Notes"] == ["called sub-Bt2, because sub-t2 here is of another file"]
    assert (map_of(out, "sub-t2"), map_of(out, "sub-Bt2")) == (1, 2)
    assert sorted(listed(out)) == ["sub-Bt2", "sub-t2"]
    for path, case_id in ((a, "sub-t2"), (b, "sub-Bt2")):
        assert [(r["case_id"], r["status"]) for r in predict(out, path)] == [(case_id, "done before")]
    assert sorted(listed(out)) == ["sub-Bt2", "sub-t2"]


def test_a_scan_that_was_changed_or_moved_is_still_that_scan(tmp_path) -> None:
    path, out = scan(tmp_path / "A" / "t2.nii.gz", 1), tmp_path / "out"
    predict(out, path)
    scan(path, 3)
    assert [(r["case_id"], r["status"]) for r in predict(out, path)] == [("sub-t2", "done")]
    shutil.move(tmp_path / "A", tmp_path / "C")
    assert [(r["case_id"], r["status"]) for r in predict(out, tmp_path / "C" / "t2.nii.gz")] == [
        ("sub-t2", "done before")
    ]
    assert listed(out) == ["sub-t2"]


def test_contrasts_of_one_subject_are_told_apart(tmp_path) -> None:
    for name, value in (("T1w", 1), ("FLAIR", 2)):
        scan(tmp_path / "in" / f"sub-01_{name}.nii.gz", value)
    predict(tmp_path / "out", tmp_path / "in")
    assert (map_of(tmp_path / "out", "sub-01_mod-T1w"), map_of(tmp_path / "out", "sub-01_mod-FLAIR")) == (1, 2)


@pytest.mark.fault(
    78, "results of an older scan beside its failure", "removed, so that they are not taken for this scan's", "mended"
)
def test_a_page_of_an_older_scan_does_not_survive_its_failure(tmp_path) -> None:
    path, out = scan(tmp_path / "t2.nii.gz"), tmp_path / "out"
    predict(out, path)
    assert (out / "sub-t2.html").is_file()
    scan(path, 2)
    results = ResultsFolder(out, {"model_sha256": "a"}, "t2")
    (source,) = results.pending(find_scans(path))
    results.fail(source, f"sub-t2: cannot read {path}")
    with pytest.raises(DataError, match="1 of 1 scans gave no result"):
        results.finish()
    assert not [p for p in out.rglob("*t2*") if p.is_file()]
    assert read_checked_json(out / "summary.json", "")["cases"][0]["error"] == "sub-t2: cannot read t2.nii.gz"


@pytest.mark.fault(
    76, "a later batch in the same output", "summary and index keep earlier scans and failures", "mended"
)
def test_failures_of_earlier_batches_stay_listed_until_the_scan_is_done(tmp_path) -> None:
    out, good, bad = tmp_path / "out", scan(tmp_path / "good.nii.gz"), scan(tmp_path / "bad.nii.gz")
    results = ResultsFolder(out, {"model_sha256": "a"}, "t2")
    (source,) = results.pending(find_scans(bad))
    results.fail(source, "sub-bad: is broken")
    results.finish(strict=False)
    predict(out, good)
    assert listed(out) == ["sub-bad", "sub-good"]
    predict(out, bad)
    assert {c["case_id"]: c["status"] for c in read_checked_json(out / "summary.json", "")["cases"]} == {
        "sub-good": "done before",
        "sub-bad": "done",
    }


@pytest.mark.parametrize("what", ["html", "png", "map.json", "map.nii.gz", "summary.json"])
def test_a_changed_file_of_a_result_is_made_anew(tmp_path, what) -> None:
    path, out = scan(tmp_path / "t2.nii.gz"), tmp_path / "out"
    predict(out, path)
    found = next(p for p in out.rglob(f"*{what}") if p.name.startswith("sub-"))
    data = bytearray(found.read_bytes())
    place = data.index(b"AnomalyScore") if what == "summary.json" else len(data) // 2
    data[place] ^= 1
    found.write_bytes(data)
    assert [r["status"] for r in predict(out, path)] == ["done"]
    assert [r["status"] for r in predict(out, path)] == ["done before"]


@pytest.mark.fault(
    77, "two batches at once in one output", "the second is refused; shares of one batch are not", "mended"
)
def test_a_second_batch_in_the_folder_is_refused_and_shares_of_one_are_not(tmp_path) -> None:
    path, out = scan(tmp_path / "t2.nii.gz"), tmp_path / "out"
    first, second = (ResultsFolder(out, {}, "t2") for _ in range(2))
    first.pending(find_scans(path))
    with pytest.raises(ConfigError, match="in use by another process"):
        second.pending(find_scans(path))
    second.pending(find_scans(path), exclusive=False)
    first.finish()
    second.pending(find_scans(path))


@pytest.mark.fault(89, "`~` in input and output", "the home folder", "mended")
def test_tilde_is_the_home_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = scan(tmp_path / "t2.nii.gz")
    predict(Path("~/results"), Path("~/t2.nii.gz"))
    assert (tmp_path / "results" / "summary.json").is_file()
    assert map_of(tmp_path / "results", "sub-t2") == 1
    assert path.is_file()


@pytest.mark.fault(88, "a file name that is no UTF-8", "shown as `\\xNN` in table, pages and JSON", "mended")
def test_latin_1_file_names_reach_table_pages_and_json_as_text(tmp_path, capsys) -> None:
    name = os.fsencode(tmp_path) + b"/gr\xf6\xdfe.nii.gz"
    try:
        with open(name, "wb") as stream:
            stream.write(b"no scan")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    out = tmp_path / "out"
    results = ResultsFolder(out, {}, "t2")
    (source,) = results.pending(find_scans(os.fsdecode(name)))

    def broken(data: dict[str, Any]) -> dict[str, Any]:
        raise DataError(f"{data['image']} is no scan")

    (item,) = [ScanDataset([source], broken)[0]]
    results.fail(source, item["error"])
    with pytest.raises(DataError) as caught:
        results.finish()
    for text in (capsys.readouterr().out, str(caught.value), (out / "index.html").read_text()):
        assert r"gr\xf6\xdfe.nii.gz is no scan" in text
    assert json.loads((out / "summary.json").read_text())["cases"][0]["error"].encode("utf-8")


@pytest.mark.fault(
    91,
    "disk full in the middle of a batch of scans",
    "the batch ends with exit code 1 instead of failing scan after scan",
    "mended",
)
def test_a_full_disk_ends_the_batch_instead_of_failing_scan_after_scan(tmp_path) -> None:
    def full(data: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("applying transform") from OSError(errno.ENOSPC, "No space left on device")

    dataset = ScanDataset([ScanSource("sub-a", tmp_path)], full)
    with pytest.raises(RuntimeError) as caught:
        dataset[0]
    assert isinstance(find_foreseen(caught.value), DiskFullError)
    assert find_foreseen(caught.value).exit_code == 1

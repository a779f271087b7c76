# SPDX-License-Identifier: Apache-2.0
"""`uad bids`: subjects, sessions and runs to results, then tables and the page of the group."""

import csv
import json
import re

import pytest

from custom.cli.main import main
from custom.prediction.group_table import healthy_only, volumes_by_person
from tests.model_fixtures import blurring_model
from tests.prediction.test_predictor import RAS, write_scan
from tests.preparation.test_raw_scans import without_network

SCANS = ("sub-01/anat/sub-01_T1w", "sub-02/ses-1/anat/sub-02_ses-1_run-1_T1w", "sub-02/ses-2/anat/sub-02_ses-2_T1w")


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """Three T1 scans of two people, a broken one, and a participants table."""
    root = tmp_path_factory.mktemp("bids") / "data set"
    for seed, name in enumerate(SCANS):
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(parents=True)
        write_scan(path, RAS, seed=seed)
    (root / "sub-02" / "ses-2" / "anat" / "sub-02_ses-2_T2w.nii.gz").write_bytes(b"another contrast")
    broken = root / "sub-03" / "anat" / "sub-03_T1w.nii.gz"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no scan")
    table = "participant_id\tage\tsex\tsite\tgroup\nsub-01\t37\tF\tA\tcontrol\nsub-02\t71\tM\tA\tpatient\nsub-03\tn/a\tF\tB\tcontrol\n"
    (root / "participants.tsv").write_text(table)
    return root


@pytest.fixture(scope="module")
def bids(data_set):
    """The data set, the results of `participant`, and the exit codes."""
    root = data_set
    model, out = blurring_model(root.parent / "model"), root.parent / "out"
    common = ["bids", str(root), str(out), "participant", "--model", str(model), "--viewer", "none"]
    with without_network():
        codes = [
            main([*common, "--participant_label", "01", "--extractor", "none"]),
            main([*common, "--extractor", "none"]),
        ]
    return root, out, codes


def test_labels_choose_and_finished_scans_stay(bids) -> None:
    _, out, codes = bids
    assert codes == [0, 4]
    records = json.loads((out / "summary.json").read_text())["cases"]
    assert {r["case_id"]: r["status"] for r in records} == {
        "sub-01": "done before", "sub-02_ses-1_run-1": "done", "sub-02_ses-2": "done", "sub-03": "failed",
    }  # fmt: skip


def test_group(bids, capsys) -> None:
    root, out, _ = bids
    assert main(["bids", str(root), str(out), "group"]) == 4
    assert "group.tsv" in capsys.readouterr().out
    with (out / "group.tsv").open(newline="") as stream:
        rows = {row["scan"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert (rows["sub-02_ses-2"]["session"], rows["sub-02_ses-2"]["age"], rows["sub-03"]["age"]) == ("2", "71", "n/a")
    assert float(rows["sub-01"]["reconstruction_error"]) > 0
    dictionary = json.loads((out / "group.json").read_text())
    assert list(dictionary) == list(rows["sub-01"])
    page = (out / "index.html").read_text()
    assert "False positives by age, sex and site" in page
    assert 'data-sort="number"' in page
    assert "70 to 79" not in page  # a patient


def test_strata() -> None:
    people = {"sub-1": {"age": "37.5", "sex": "F", "group": "HC"}, "sub-2": {"age": "x", "sex": "M", "group": "MS"}}
    records = [
        {"case_id": "sub-1_ses-1", "status": "done", "AnomalyVolumeMl": 1.0, "Findings": []},
        {"case_id": "sub-1_ses-2", "status": "done", "AnomalyVolumeMl": 4.0, "Findings": [{}]},
        {"case_id": "sub-2", "status": "done", "AnomalyVolumeMl": 9.0, "Findings": [{}]},
        {"case_id": "sub-9", "status": "failed"},
    ]
    rows = {(row["what"], row["value"]): row for row in volumes_by_person(records, people)}
    assert set(rows) == {("age", "30 to 39"), ("sex", "F"), ("sex", "M"), ("group", "HC"), ("group", "MS")}
    assert rows["sex", "F"]["median_ml"] == 2.5
    assert rows["sex", "F"]["with_findings"] == 0.5
    assert [record["case_id"] for record in healthy_only(records, people)] == ["sub-1_ses-1", "sub-1_ses-2"]
    assert healthy_only(records, {}) == records


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["participant"], "several contrasts"), (["participant", "--contrast", "t1", "--session-label", "9"], "no .*T1w")],
)
def test_sentences(data_set, tmp_path, capsys, arguments, word) -> None:
    assert main(["bids", str(data_set), str(tmp_path / "o"), *arguments, "--workers", "1"]) != 0
    assert re.search(word, capsys.readouterr().err)


def test_no_bids_and_no_results(data_set, tmp_path, capsys) -> None:
    assert main(["bids", str(tmp_path), str(tmp_path / "o"), "group"]) != 0
    assert "no BIDS data set" in capsys.readouterr().err
    assert main(["bids", str(data_set), str(tmp_path / "o"), "group"]) != 0
    assert "participant' first" in capsys.readouterr().err

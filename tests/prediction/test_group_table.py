# SPDX-License-Identifier: Apache-2.0
"""Tables of a batch: a row per scan and per finding, every column explained."""

import csv
import json

from custom.prediction.group_table import write_group_tables

FINDING = {
    "volume_ml": 2.5,
    "centre_mm": [1.0, -2.0, 3.0],
    "where": "left",
    "peak": 0.9,
    "burden": 0.4,
    "percentile": 99.9,
}
DONE = {
    "case_id": "sub-1",
    "status": "done",
    "AnomalyVolumeMl": 3.0,
    "AnomalyScore": 0.9,
    "AnomalyScoreHealthyPercentile": 99.9,
    "Threshold": {"Value": 0.5, "Source": "a\ttab"},
    "Findings": [FINDING, {**FINDING, "volume_ml": 0.5, "region": "left frontal lobe"}],
    "Warnings": ["doubt"],
    "Preparation": {"registration": {"pose_ratio": 2.3}},
}


def read(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_rows_and_dictionaries(tmp_path) -> None:
    write_group_tables(tmp_path, [DONE, {"case_id": "sub-2", "status": "failed", "error": "no head"}])
    first, second = read(tmp_path / "group.tsv")
    assert (first["scan"], first["anomaly_ml"], first["findings"], first["pose_ratio"]) == ("sub-1", "3", "2", "2.3")
    assert first["threshold_source"] == "a tab"
    assert (second["status"], second["error"], second["anomaly_ml"]) == ("failed", "no head", "n/a")
    one, two = read(tmp_path / "findings.tsv")
    assert (one["number"], one["x_mm"], one["region"]) == ("1", "1", "n/a")
    assert two["region"] == "left frontal lobe"
    for name, row in (("group", first), ("findings", one)):
        dictionary = json.loads((tmp_path / f"{name}.json").read_text())
        assert list(dictionary) == list(row)
        assert all(entry["Description"] for entry in dictionary.values())

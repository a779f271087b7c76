# SPDX-License-Identifier: Apache-2.0
"""The results of all scans of a folder as tables: ``group.tsv``, a row per scan, and ``findings.tsv``, a row per finding.

Beside each lies a JSON dictionary that says what its columns mean, as BIDS asks for. Unknown values are ``n/a``.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.files import atomic_write_json, atomic_write_text

Record = Mapping[str, Any]
People = Mapping[str, Mapping[str, str]]
PERSONAL = ("age", "sex", "site", "group")
Column = tuple[str, str, Callable[[Record], Any]]


def _registration(record: Record, name: str) -> Any:
    return record.get("Preparation", {}).get("registration", {}).get(name)


SCANS: tuple[Column, ...] = (
    ("scan", "BIDS entities of the scan", lambda r: r["case_id"]),
    ("subject", "first BIDS entity of the scan", lambda r: r["case_id"].partition("_")[0]),
    ("session", "BIDS session, where there is one", lambda r: entity(r["case_id"], "ses")),
    ("status", "done, done before, or failed", lambda r: r["status"]),
    ("error", "why a failed scan gave no result", lambda r: r.get("error")),
    ("anomaly_ml", "volume above the threshold, ml, on the scan's own grid", lambda r: r.get("AnomalyVolumeMl")),
    (
        "findings",
        "number of connected regions above the threshold",
        lambda r: len(r["Findings"]) if "Findings" in r else None,
    ),
    ("highest_score", "highest anomaly score", lambda r: r.get("AnomalyScore")),
    (
        "highest_percentile",
        "its percentile among the voxels of healthy brains",
        lambda r: r.get("AnomalyScoreHealthyPercentile"),
    ),
    ("threshold", "score that the mask was cut at", lambda r: r.get("Threshold", {}).get("Value")),
    ("threshold_source", "where the threshold comes from", lambda r: r.get("Threshold", {}).get("Source")),
    ("warnings", "number of doubts about the scan", lambda r: len(r["Warnings"]) if "Warnings" in r else None),
    (
        "reconstruction_error",
        "mean absolute residual inside the brain (intensities 0 to 1)",
        lambda r: r.get("ReconstructionError"),
    ),
    ("scanner", "what the file says about the scanner", lambda r: r.get("Scanner")),
    (
        "brain_extraction",
        "how the brain was found",
        lambda r: r.get("Preparation", {}).get("brain_extraction", {}).get("source"),
    ),
    ("mask_overlap", "Dice coefficient with the template's mask", lambda r: _registration(r, "mask_overlap")),
    ("pose_ratio", "fit against the head turned over; below 2 is doubtful", lambda r: _registration(r, "pose_ratio")),
    ("bias_log_sd", "spread of the bias field", lambda r: r.get("Preparation", {}).get("bias_field", {}).get("log_sd")),
    ("method", "method of the model", lambda r: r.get("Settings", {}).get("method")),
    ("model_sha256", "digest of the model's weights", lambda r: r.get("Settings", {}).get("model_sha256")),
    ("version", "version of this package", lambda r: next((g["Version"] for g in r.get("GeneratedBy", [])), None)),
)
FINDINGS: tuple[Column, ...] = (
    ("scan", "BIDS entities of the scan", lambda f: f["case_id"]),
    ("number", "place in the order of burden", lambda f: f["number"]),
    ("volume_ml", "volume, ml", lambda f: f["volume_ml"]),
    ("x_mm", "centre in the scan's coordinates, RAS", lambda f: f["centre_mm"][0]),
    ("y_mm", "centre in the scan's coordinates, RAS", lambda f: f["centre_mm"][1]),
    ("z_mm", "centre in the scan's coordinates, RAS", lambda f: f["centre_mm"][2]),
    ("where", "direction from the centre of the brain", lambda f: f["where"]),
    ("region", "side and region by rules of thumb in template space", lambda f: f.get("region")),
    ("tissue", "tissue of the average brain at this place", lambda f: f.get("tissue")),
    ("ventricle_mm", "distance to the ventricles of the average brain, mm", lambda f: f.get("ventricle_mm")),
    ("peak", "highest anomaly score", lambda f: f["peak"]),
    ("percentile", "its percentile among the voxels of healthy brains", lambda f: f.get("percentile")),
    ("burden", "score above the threshold, summed over the volume, ml", lambda f: f.get("burden")),
)


def entity(case_id: str, name: str) -> str | None:
    """Return the value of a BIDS entity of a case id.

    >>> entity("sub-01_ses-2_run-1", "ses")
    '2'
    """
    found = [part.partition("-")[2] for part in case_id.split("_") if part.startswith(f"{name}-")]
    return found[0] if found else None


def person_of(record: Record, people: People) -> Mapping[str, str]:
    """Return what the participants table says about the subject of a scan."""
    return people.get(str(record["case_id"]).partition("_")[0], {})


def write_group_tables(folder: Path, records: Sequence[Record], people: People | None = None) -> None:
    """Write both tables and their dictionaries into ``folder``.

    Args:
        folder: of the results.
        records: summaries of scans, failures too.
        people: rows of a participants table by subject; age, sex, site and group become columns where they are known.
    """
    people = people or {}
    known = [name for name in PERSONAL if any(person.get(name) for person in people.values())]
    personal: tuple[Column, ...] = tuple(
        (name, f"{name} of the subject, from participants.tsv", lambda r, name=name: person_of(r, people).get(name))  # type: ignore[misc]
        for name in known
    )
    findings = [
        {**finding, "case_id": record["case_id"], "number": number}
        for record in records
        for number, finding in enumerate(record.get("Findings", []), start=1)
    ]
    for name, columns, rows in (("group", (*SCANS, *personal), records), ("findings", FINDINGS, findings)):
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerow([column for column, _, _ in columns])
        writer.writerows([_cell(value(row)) for _, _, value in columns] for row in rows)
        atomic_write_text(folder / f"{name}.tsv", text.getvalue())
        atomic_write_json(folder / f"{name}.json", {column: {"Description": what} for column, what, _ in columns})


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split())

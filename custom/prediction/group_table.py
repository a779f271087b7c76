# SPDX-License-Identifier: Apache-2.0
"""The results of all scans of a folder as tables: ``group.tsv``, a row per scan, and ``findings.tsv``, a row per finding.

Beside each lies a JSON dictionary that says what its columns mean, as BIDS asks for. Unknown values are ``n/a``.

Volumes by age, sex, site and group stand on the page of a batch: models of healthy anatomy mark more in the old than in the
young, and more at another site than at that of their training; in healthy people all of it is false positive. Who reads a
cohort's table should see that before a group difference is believed.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.files import atomic_write_json, atomic_write_text

Record = Mapping[str, Any]
People = Mapping[str, Mapping[str, str]]
PERSONAL = ("age", "sex", "site", "group")
HEALTHY_WORDS = ("control", "controls", "healthy", "healthy control", "hc", "ctl", "cn", "con", "normal")
Column = tuple[str, str, str | Callable[[Record], Any]]  # name, meaning, and the keys to its value, or what computes it


def _number_of(name: str) -> Callable[[Record], int | None]:
    return lambda record: len(record[name]) if name in record else None


SCANS: tuple[Column, ...] = (
    ("scan", "BIDS entities of the scan", "case_id"),
    ("subject", "first BIDS entity of the scan", lambda r: r["case_id"].partition("_")[0]),
    ("session", "BIDS session, where there is one", lambda r: entity(r["case_id"], "ses")),
    ("status", "done, done before, or failed", "status"),
    ("error", "why a failed scan gave no result", "error"),
    ("anomaly_ml", "volume above the threshold, ml, on the scan's own grid", "AnomalyVolumeMl"),
    ("findings", "number of connected regions above the threshold", _number_of("Findings")),
    ("highest_score", "highest anomaly score", "AnomalyScore"),
    ("highest_percentile", "its percentile among the voxels of healthy brains", "AnomalyScoreHealthyPercentile"),
    ("threshold", "score that the mask was cut at", "Threshold.Value"),
    ("threshold_source", "where the threshold comes from", "Threshold.Source"),
    ("warnings", "number of doubts about the scan", _number_of("Warnings")),
    ("reconstruction_error", "mean absolute residual inside the brain (intensities 0 to 1)", "ReconstructionError"),
    ("scanner", "what the file says about the scanner", "Scanner"),
    ("brain_extraction", "how the brain was found", "Preparation.brain_extraction.source"),
    ("mask_overlap", "Dice coefficient with the template's mask", "Preparation.registration.mask_overlap"),
    ("pose_ratio", "fit against the head turned over; below 2 is doubtful", "Preparation.registration.pose_ratio"),
    ("bias_log_sd", "spread of the bias field", "Preparation.bias_field.log_sd"),
    ("method", "method of the model", "Settings.method"),
    ("model_sha256", "digest of the model's weights", "Settings.model_sha256"),
    ("version", "version of this package", lambda r: next((g["Version"] for g in r.get("GeneratedBy", [])), None)),
)
FINDINGS: tuple[Column, ...] = (
    ("scan", "BIDS entities of the scan", "case_id"),
    ("number", "place in the order of burden", "number"),
    ("volume_ml", "volume, ml", "volume_ml"),
    ("x_mm", "centre in the scan's coordinates, RAS", lambda f: f["centre_mm"][0]),
    ("y_mm", "centre in the scan's coordinates, RAS", lambda f: f["centre_mm"][1]),
    ("z_mm", "centre in the scan's coordinates, RAS", lambda f: f["centre_mm"][2]),
    ("where", "direction from the centre of the brain", "where"),
    ("region", "side and region by rules of thumb in template space", "region"),
    ("tissue", "tissue of the average brain at this place", "tissue"),
    ("ventricle_mm", "distance to the ventricles of the average brain, mm", "ventricle_mm"),
    ("peak", "highest anomaly score", "peak"),
    ("percentile", "its percentile among the voxels of healthy brains", "percentile"),
    ("burden", "score above the threshold, summed over the volume, ml", "burden"),
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
    """Write both tables and their dictionaries into ``folder``; ``records`` are summaries of scans, failures too.

    ``people`` are rows of a participants table by subject; age, sex, site and group become columns where they are known.
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
        writer.writerows([_cell(_value(row, source)) for _, _, source in columns] for row in rows)
        atomic_write_text(folder / f"{name}.tsv", text.getvalue())
        atomic_write_json(folder / f"{name}.json", {column: {"Description": what} for column, what, _ in columns})


def _value(record: Record, source: str | Callable[[Record], Any]) -> Any:
    if callable(source):
        return source(record)
    value: Any = record
    for key in source.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).split())


def volumes_by_person(records: Sequence[Mapping[str, Any]], people: People) -> list[dict[str, Any]]:
    """Return a row per value of age (decades), sex, site and group: number of scans, volumes in ml, share with findings."""
    done = [record for record in records if record["status"] != "failed"]
    rows = []
    for name in PERSONAL:
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for record in done:
            value = _group_of(name, person_of(record, people).get(name, ""))
            if value is not None:
                groups.setdefault(value, []).append(record)
        for value, members in sorted(groups.items()):
            ml = [float(record["AnomalyVolumeMl"]) for record in members]
            row = {"what": name, "value": value, "scans": len(members)}
            row |= {"median_ml": float(np.median(ml)), "mean_ml": float(np.mean(ml))}
            rows.append(row | {"with_findings": float(np.mean([bool(record["Findings"]) for record in members]))})
    return rows


def healthy_only(records: Sequence[Mapping[str, Any]], people: People) -> list[Mapping[str, Any]]:
    """Return the scans of people whom the participants table calls healthy (column ``group``); all, if it calls no one so."""
    groups = [person_of(record, people).get("group", "").strip().lower() for record in records]
    chosen = [record for record, group in zip(records, groups, strict=True) if group in HEALTHY_WORDS]
    return chosen or list(records)


def _group_of(name: str, text: str) -> str | None:
    text = text.strip()
    if text.lower() in ("", "n/a", "nan"):
        return None
    if name != "age":
        return text
    try:
        age = float(text)
    except ValueError:
        return None
    if not (math.isfinite(age) and age >= 0):
        return None
    decade = int(age // 10) * 10
    return f"{decade} to {decade + 9}"

# SPDX-License-Identifier: Apache-2.0
"""Volumes above the threshold by age, sex, site and group: in healthy people they are false positives.

Models of healthy anatomy mark more in the old than in the young, and more at another site than at that of their training;
who reads a cohort's table should see that before a group difference is believed.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .group_table import PERSONAL, People, person_of

HEALTHY_WORDS = ("control", "controls", "healthy", "healthy control", "hc", "ctl", "cn", "con", "normal")
Row = dict[str, Any]


def volumes_by_person(records: Sequence[Mapping[str, Any]], people: People) -> list[Row]:
    """Return a row per value of age (decades), sex, site and group: number of scans, volumes in ml, share with findings."""
    done = [record for record in records if record["status"] != "failed"]
    rows = []
    for name in PERSONAL:
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for record in done:
            value = _value(name, person_of(record, people).get(name, ""))
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


def _value(name: str, text: str) -> str | None:
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

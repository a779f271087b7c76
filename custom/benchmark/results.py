# SPDX-License-Identifier: Apache-2.0
"""Finished evaluations, read from folders or from MLflow, and the check that they may stand in one table.

An evaluation is ``metrics.json`` (protocol and summary) and ``per_case.csv`` (a row per case, score and threshold). Two
results are comparable in a column (contrast and test set) if they agree on the scans tested and tuned on (digests of
voxels and truths), the preparation, the post-processing used, and the grid; within a fold also on the healthy scans.
"""

import csv
import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.digests import CONTENT_KEY, file_sha256, read_checked_json
from ..core.errors import ConfigError, DataError
from ..core.files import read_json
from .jobs import recorded as read_job

_LOG = logging.getLogger(__name__)
FILES = ("metrics.json", "per_case.csv")
Values = dict[str, float | None]
# what tracking and replaced models keep: the same results again, or old ones
_COPIES = {"mlartifacts", "mlruns", "previous"}


@dataclass
class Result:
    """One evaluation of one model.

    Attributes:
        method: name of the row.
        folder: with the two files.
        metrics: content of ``metrics.json``.

    >>> protocol = {"method": "ddpm", "contrast": "t1", "fold": 0}
    >>> result = Result("ddpm, 3 t", Path("evaluation"), {"protocol": protocol, "datasets": {"demo_tumour": {}}})
    >>> result.kind, result.contrast, result.fold, result.test_sets
    ('ddpm', 't1', 0, ['demo_tumour'])
    """

    method: str
    folder: Path
    metrics: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Method that the bundle names, e.g. "threshold"."""
        return str(self.protocol.get("method", ""))

    @property
    def protocol(self) -> Mapping[str, Any]:
        """How the result was made."""
        block: Mapping[str, Any] = self.metrics["protocol"]
        return block

    @property
    def contrast(self) -> str:
        """Contrast of the scans."""
        return str(self.protocol["contrast"])

    @property
    def fold(self) -> int:
        """Fold of the model."""
        return int(self.protocol["fold"])

    @property
    def test_sets(self) -> list[str]:
        """Names of the test sets."""
        return list(self.metrics["datasets"])

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], dict[str, dict[str, str]]]:
        rows: dict[tuple[str, str, str], dict[str, dict[str, str]]] = {}
        groups = {block["group"] for block in self.metrics["datasets"].values()}
        with open(self.folder / "per_case.csv", newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                if row["variant"] and row["group"] in groups:
                    key = (row["dataset"], row["variant"], row["operating_point"])
                    rows.setdefault(key, {})[row["case_id"]] = row
        return rows

    def load(self) -> None:
        """Read everything now; afterwards the folder may go."""
        self._rows  # noqa: B018 - cached

    def case_ids(self, test_set: str) -> set[str]:
        """Return the names of the scans of a test set."""
        return {case for (name, _, _), rows in self._rows.items() if name == test_set for case in rows}

    def per_case(self, test_set: str, variant: str, point: str, metric: str) -> Values | None:
        """Return ``{case: value}`` (None where undefined); None if the result has no such row at all."""
        rows = self._rows.get((test_set, variant, point))
        if rows is None:
            return None
        first = next(iter(rows.values()))
        if metric not in first:
            known = [name for name, text in first.items() if _number(text) is not None]
            raise ConfigError(
                f"{self.folder / 'per_case.csv'} has no column {metric!r}; numbers are: {', '.join(known)}."
            )
        return {case: _number(row[metric]) for case, row in rows.items()}


def read_result(folder: str | Path, method: str | None = None) -> Result:
    """Read the evaluation in ``folder``; its row is called ``method``, or what its protocol says.

    Raises:
        DataError: a file is missing or damaged.
    """
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"no finished evaluation: {' and '.join(missing)} missing; run the evaluation first.", case=str(folder)
        )
    try:
        metrics = _metrics_of(folder)
        return Result(method or metrics["protocol"]["method"], folder, metrics)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"metrics.json is damaged ({error}); evaluate again.", case=str(folder)) from error


def _metrics_of(folder: Path) -> dict[str, Any]:
    """Return ``metrics.json``, checked together with ``per_case.csv``; one without digest is of an older version."""
    metrics = read_json(folder / "metrics.json", "evaluate again.")
    if CONTENT_KEY not in metrics:
        _LOG.warning("%s carries no digest, so damage would not be noticed; evaluate again", folder / "metrics.json")
        return metrics
    metrics = read_checked_json(folder / "metrics.json", "evaluate again.")
    if metrics["per_case_sha256"] != file_sha256(folder / "per_case.csv"):
        raise DataError(
            "per_case.csv is not the file that metrics.json was written with; evaluate again.", case=str(folder)
        )
    return metrics


def find_results(folders: Iterable[str | Path]) -> list[Result]:
    """Return every evaluation in or below the folders; rows of a matrix keep the names they have there.

    ``NAME=FOLDER`` gives all evaluations below a folder another name.

    Raises:
        DataError: a folder without any evaluation.
    """
    found: list[Result] = []
    for text in map(str, folders):
        label, equals, rest = text.partition("=")
        own = bool(equals) and not Path(text).exists()
        folder = Path(rest if own else text)
        files = sorted(
            path
            for path in folder.rglob("metrics.json")
            if path.with_name("per_case.csv").is_file() and not _COPIES & set(path.relative_to(folder).parts)
        )
        if not files:
            raise DataError(
                "no finished evaluation (metrics.json and per_case.csv) in or below this folder.", case=str(folder)
            )
        named = [(path.parent, _name_in_matrix(path.parent)) for path in files]
        found += [read_result(place, label if own else name or None) for place, name in named if own or name != ""]
    return found


def results_from_mlflow(tracking_uri: str, experiments: Sequence[str] = (), parent: str | None = None) -> list[Result]:
    """Return the evaluations tracked at an MLflow server or database.

    Files are fetched to a temporary folder and read there; it is gone when this returns.

    Args:
        tracking_uri: ``http://...`` or ``sqlite:///...``.
        experiments: names; all if empty.
        parent: only runs below this run, at any depth.

    Raises:
        ConfigError: nothing there, or an unknown experiment.
    """
    from mlflow.tracking import MlflowClient  # slow to import

    client = MlflowClient(tracking_uri)
    known = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
    unknown = [name for name in experiments if name not in known]
    if unknown:
        raise ConfigError(f"{tracking_uri} has no experiment {unknown[0]!r}; it has {', '.join(sorted(known))}.")
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs([known[n] for n in experiments or known], page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    parents = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in runs}
    found = []
    with tempfile.TemporaryDirectory(prefix="matrix_results_") as place:
        for run in runs:
            if parent is not None and parent not in _ancestors(run.info.run_id, parents):
                continue
            row = run.data.params.get("row")
            if row == "":  # part of a sweep
                continue
            if {item.path for item in client.list_artifacts(run.info.run_id)} >= set(FILES):
                target = Path(place) / run.info.run_id
                target.mkdir()
                for name in FILES:
                    client.download_artifacts(run.info.run_id, name, str(target))
                found.append(read_result(target, row))
                found[-1].load()
    if not found:
        raise ConfigError(f"{tracking_uri} has no finished evaluation with {' and '.join(FILES)}.")
    return found


def check_comparable(results: Sequence[Result], test_set: str) -> None:
    """Refuse results that must not stand in one column.

    Args:
        results: of one contrast, all with this test set.
        test_set: the column.

    Raises:
        ConfigError: which two differ, and in what.
    """
    healthy: dict[int, tuple[Any, Result]] = {}
    for result in results:
        parts, others = (_column_protocol(one, test_set) for one in (result, results[0]))
        different = [name for name in parts if parts[name] != others[name]]
        if different:
            raise ConfigError(
                f"{result.folder} and {results[0].folder} must not stand in one table ({test_set}): they differ in "
                f"{' and '.join(different)}. Evaluate both in the same way, or force it."
            )
        group = result.protocol["plan"]["healthy_calibration"]
        digest = result.protocol.get("data", {}).get(group)
        known = healthy.setdefault(result.fold, (digest, result))
        if known[0] != digest:
            raise ConfigError(
                f"{result.folder} and {known[1].folder} are both of fold {result.fold} but have other healthy validation "
                "scans; they come from different splits. Evaluate both on the same, or force it."
            )


def _column_protocol(result: Result, test_set: str) -> dict[str, Any]:
    protocol, block = result.protocol, result.metrics["datasets"][test_set]
    data = protocol.get("data", {})
    return {
        "contrast": result.contrast,
        "test group": block["group"],
        "tuning group": block["tuning_group"],
        "test scans": data.get(block["group"]),
        "tuning scans": data.get(block["tuning_group"]),
        "preparation": protocol.get("preparation"),
        "post-processing": next(iter(protocol.get("postprocessing", {}).values()), None),
        "voxel size": protocol.get("spacing_mm"),
    }


def _name_in_matrix(folder: Path) -> str | None:
    """Return the row of an evaluation, "" for one that is no row (a sweep), None outside a matrix."""
    job = folder.parent / "job.json"
    if not job.is_file():
        return None
    content = read_job(job)
    rows: dict[str, str] = content.get("labels", {}).get("rows", {})
    return rows.get(folder.name, "")


def _ancestors(run_id: str, parents: Mapping[str, str | None]) -> set[str]:
    found: set[str] = set()
    current = parents.get(run_id)
    while current and current not in found:
        found.add(current)
        current = parents.get(current)
    return found


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None

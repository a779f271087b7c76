# SPDX-License-Identifier: Apache-2.0
"""The results of a batch: what is done already, what was made now, what failed; files, reports and the table at the end.

A case is finished if its summary, its images and its page are there unchanged and were made from the same voxels, mask,
model and settings (all by SHA-256). Finished cases are passed over, so an interrupted batch goes on where it stopped.
Results of another scan are never replaced: a scan whose name is taken gets another one. Summary and index of the folder
list every scan that it has results of, whichever batch made them.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.digests import DamagedFileError, file_sha256, read_checked_json, write_checked_json
from ..core.errors import ConfigError, DataError
from ..core.files import expanded
from ..runs.lock import RunLock
from .case_result import CaseResult
from .derivatives import case_files, case_folder, image_names, write_copy, write_description, write_image
from .find import ScanSource
from .group_table import write_group_tables
from .names import shown
from .views import View

Record = dict[str, Any]
_GENERATED_BY = [{"Name": "uad-brain-mri", "Version": __version__}]
FORMATS = ("nifti", "source", "dicom")
_UNITS = {
    "anomaly_map": "Anomaly score after post-processing, larger is more anomalous; 0 outside the examined brain",
    "mask": "1 where the anomaly score is above the threshold; research use only",
    "pseudohealthy": "The model's healthy version of the scan, in the scan's intensities; 0 outside the brain",
}


class ResultsFolder:
    """Where the results of a batch go.

    Args:
        folder: output folder.
        settings: everything that decides a map beside the scan (JSON values): model, score, threshold, seed, protocol.
        contrast: contrast of the model; names the pseudo-healthy image.
        output_format: "nifti", "source" (additionally NRRD or MetaImage for such scans) or "dicom" (additionally DICOM
            SEG and parametric map for DICOM series).
        report: write the HTML reports.
        viewer: "niivue" or "none", see :func:`custom.prediction.page.write_case_report`.
        view: "neurological" or "radiological".

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     results = ResultsFolder(folder, settings={"score": "l1"}, contrast="t1", report=False)
    ...     (source,) = results.pending([ScanSource("sub-1", Path("sub-1.nii.gz"))])
    ...     results.fail(source, "sub-1: it is empty")
    ...     records = results.finish(strict=False)  # prints the table of the batch
    scan   status       findings        ml  warnings
    sub-1  failed              -         -  sub-1: it is empty
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        contrast: str,
        output_format: str = "nifti",
        report: bool = True,
        viewer: str = "niivue",
        view: View = "neurological",
    ) -> None:
        if output_format not in FORMATS:
            raise ConfigError(f"output_format {output_format!r} is unknown; choose one of {', '.join(FORMATS)}.")
        self.folder = expanded(folder)
        self.settings = json.loads(json.dumps(settings))
        self.contrast = contrast
        self.output_format = output_format
        self.report = report
        self.viewer, self.view = viewer, view
        self.records: dict[str, Record] = {}
        self._lock = RunLock(self.folder)

    def pending(self, sources: Sequence[ScanSource], exclusive: bool = True) -> list[ScanSource]:
        """Return the scans that are still to be done; the others' summaries are taken from the disk.

        Args:
            sources: the scans of this batch.
            exclusive: refuse a second batch in this folder until :meth:`finish`; False where several processes share
                the scans of one batch.

        Raises:
            ConfigError: another batch is at work in the folder, or the folder cannot be written.
        """
        if exclusive:
            self._lock.acquire()
        self.records = {}
        waiting = []
        for given in sources:
            source = self._named(given)
            self.records[source.case_id] = {}
            known = None if source.problem else self._finished(source)
            if known is None:
                waiting.append(source)
            else:
                self.records[source.case_id] = {**known, "status": "done before"}
        return waiting

    def release(self) -> None:
        """Let other batches into the folder; :meth:`finish` does it too."""
        self._lock.release()

    def fail(self, source: ScanSource, message: str) -> None:
        """Note that a case could not be done; folders are cut from the message, the table and the pages are shared.

        Earlier results of this case, made from other voxels or with other settings, are removed: beside the failure,
        they would be taken for results of this scan.
        """
        for path in filter(None, (source.path, source.mask)):
            message = message.replace(f"{path.parent}/", "").replace(f"{shown(path.parent)}/", "")
        self.records[source.case_id] = {"case_id": source.case_id, "status": "failed", "error": shown(message)}
        summary = _summary_path(self.folder, source.case_id)
        if summary.is_file():
            for path in (summary, *case_files(self.folder, source.case_id)):
                path.unlink(missing_ok=True)

    def save(self, source: ScanSource, result: CaseResult, seconds: float) -> Record:
        """Write all files of a case, its summary last, and return the summary."""
        names = image_names(source.case_id, self.contrast)
        folder = case_folder(self.folder, source.case_id)
        summary = {
            "case_id": source.case_id,
            "status": "done",
            "Key": self._key(source, identity := _identity(source, result.sha256)),
            "Scan": identity,
            **result.summary(),
            "Settings": self.settings,
            "GeneratedBy": _GENERATED_BY,
            "ResearchUseOnly": True,
            "Seconds": round(seconds, 2),
        }
        shared = {key: value for key, value in summary.items() if key not in ("status", "Key", "Findings", "Seconds")}
        write_description(self.folder, _GENERATED_BY)
        summary_path = _summary_path(self.folder, source.case_id)
        summary_path.unlink(missing_ok=True)  # until the last file is there, it is not done
        for role, array in result.images().items():
            path = folder / names[role]
            write_image(path, array, result.affine, result.header, {"Description": _UNITS[role], **shared})
            if self.output_format == "source" and result.kind == "itk":
                write_copy(path, array, result.affine, source.path.suffix)
        summary["Notes"] = [*([source.note] if source.note else []), *self._dicom(source, result, folder)]
        if self.report:
            from .page import write_case_report  # matplotlib takes a second to load

            write_case_report(self.folder, summary, result, self.viewer, self.view)
        summary["Outputs"] = {
            os.path.relpath(path, folder): file_sha256(path) for path in case_files(self.folder, source.case_id)
        }
        write_checked_json(summary_path, summary)
        self.records[source.case_id] = summary
        return summary

    def finish(self, strict: bool = True) -> list[Record]:
        """Write summary and report of the folder, print the table of this batch and return its records.

        Raises:
            DataError: (``strict``) at least one scan failed; everything else is on disk.
        """
        records = [record for record in self.records.values() if record]
        self.folder.mkdir(parents=True, exist_ok=True)
        together = [*(r for r in earlier_records(self.folder) if r["case_id"] not in self.records), *records]
        write_checked_json(self.folder / "summary.json", {"cases": together, "Settings": self.settings})
        write_group_tables(self.folder, together)
        if self.report:
            from .page import write_batch_report

            write_batch_report(self.folder, together, self.settings, self.viewer)
        self._lock.release()
        print(summary_table(records))
        failed = [record for record in records if record["status"] == "failed"]
        if failed and strict:
            sys.stdout.flush()
            sentences = "\n  ".join(record["error"] for record in failed)
            raise DataError(
                f"{len(failed)} of {len(records)} scans gave no result, the others are done:\n  {sentences}"
            )
        return records

    def _named(self, source: ScanSource) -> ScanSource:
        """Return the scan with the first of its names that no other scan's results have."""
        first = source.case_id
        for case_id in (source.case_id, *source.other_ids):
            if case_id in self.records:
                continue
            owner = self._owner(case_id)
            if owner is None or owner["Place"] == _place(source) or owner["Sha256"] == _content(source):
                note = None if case_id == first else f"called {case_id}, because {first} here is of another file"
                return replace(source, case_id=case_id, note=note)
        where = shown(self.folder.name)
        problem = f"{first} in {where} is of another file; rename the scan or choose another output folder"
        return replace(source, case_id=f"{first}_run-{len(self.records) + 1}", problem=source.problem or problem)

    def _owner(self, case_id: str) -> Record | None:
        """Return which scan the results called ``case_id`` are of; None if there are none, or none that says it."""
        folder = case_folder(self.folder, case_id)
        beside = (folder / f"{name}.json" for name in image_names(case_id, self.contrast).values())
        for path in (_summary_path(self.folder, case_id), *beside):
            if path.is_file():
                try:
                    owner: Record = read_checked_json(path, "")["Scan"]
                    return {"Place": owner["Place"], "Sha256": owner["Sha256"]}
                except (DamagedFileError, KeyError, TypeError):
                    continue
        return None

    def _dicom(self, source: ScanSource, result: CaseResult, folder: Path) -> list[str]:
        if self.output_format != "dicom":
            return []
        if result.kind != "dicom":
            return ["no DICOM written: the scan is not a DICOM series"]
        from .dicom_out import write_dicom

        return write_dicom(folder, source, result, self.settings)

    def _key(self, source: ScanSource, identity: Mapping[str, str]) -> str:
        mask = file_sha256(source.mask) if source.mask else None
        options = [self.output_format, self.report, self.viewer, self.view]
        text = json.dumps([__version__, identity["Sha256"], mask, self.settings, options], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _finished(self, source: ScanSource) -> Record | None:
        folder, path = case_folder(self.folder, source.case_id), _summary_path(self.folder, source.case_id)
        if not path.is_file():
            return None
        try:
            record = read_checked_json(path, "")
            names = {os.path.relpath(file, folder) for file in case_files(self.folder, source.case_id)}
            whole = record["Outputs"].items()
            same = set(record["Outputs"]) <= names and all(file_sha256(folder / name) == sha for name, sha in whole)
            return record if same and record["Key"] == self._key(source, _identity(source)) else None
        except (DamagedFileError, OSError, KeyError, TypeError, AttributeError):
            return None


def earlier_records(folder: Path) -> list[Record]:
    """Return what batches did in a folder: results by their own summaries, failures by the folder's."""
    found: dict[str, Record] = {}
    try:
        known = read_checked_json(folder / "summary.json", "")["cases"]
        found = {record["case_id"]: record for record in known if record["status"] == "failed"}
    except (DamagedFileError, KeyError, TypeError):
        pass  # it is written anew, without earlier failures
    for path in sorted(folder.glob("sub-*/**/*_desc-anomaly_summary.json")):
        try:
            record = read_checked_json(path, "")
            found[str(record["case_id"])] = {**record, "status": "done before"}
        except (DamagedFileError, KeyError):
            continue  # a damaged one is no result; its scan is done again when it is given again
    return [record for _, record in sorted(found.items())]


def _summary_path(root: Path, case_id: str) -> Path:
    return case_folder(root, case_id) / f"{case_id}_desc-anomaly_summary.json"


def _identity(source: ScanSource, sha256: str = "") -> dict[str, str]:
    """Return digests of the voxels' file(s) and of where they lie; the place itself may hold names.

    ``sha256`` is that of the file as it was read, if it is known: the file may have been replaced since.
    """
    return {"Sha256": sha256 or str(_content(source)), "Place": _place(source)}


def _content(source: ScanSource) -> str | None:
    try:
        files = sorted(p for p in source.path.iterdir() if p.is_file()) if source.path.is_dir() else [source.path]
        digests = [file_sha256(path) for path in files]
    except OSError:
        return None
    return digests[0] if source.path.is_file() else hashlib.sha256("".join(digests).encode()).hexdigest()


def _place(source: ScanSource) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(source.path))).hexdigest()


def summary_table(records: Sequence[Record]) -> str:
    """Return the table for the terminal: one line per scan."""
    width = max([len(record["case_id"]) for record in records] + [4])
    lines = [f"{'scan':<{width}}  {'status':<11}  {'findings':>8}  {'ml':>8}  warnings"]
    for record in records:
        if record["status"] == "failed":
            lines.append(f"{record['case_id']:<{width}}  {'failed':<11}  {'-':>8}  {'-':>8}  {record['error']}")
        else:
            counts = f"{len(record['Findings']):>8}  {record['AnomalyVolumeMl']:>8.2f}"
            lines.append(f"{record['case_id']:<{width}}  {record['status']:<11}  {counts}  {len(record['Warnings'])}")
    return "\n".join(lines)

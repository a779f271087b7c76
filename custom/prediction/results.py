# SPDX-License-Identifier: Apache-2.0
"""The results of a batch: what is done already, what was made now, what failed; files, reports and the last word.

A case is finished if its summary and its images are there unchanged and were made from the same voxels, mask, model
and settings (all by SHA-256). Finished cases are passed over, so an interrupted batch goes on where it stopped.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.digests import file_sha256
from ..core.errors import ConfigError, DataError
from ..core.files import atomic_write_json
from .case_result import CaseResult
from .derivatives import case_folder, image_names, write_copy, write_description, write_image
from .find import ScanSource

Record = dict[str, Any]
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
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        contrast: str,
        output_format: str = "nifti",
        report: bool = True,
    ) -> None:
        if output_format not in FORMATS:
            raise ConfigError(f"output_format {output_format!r} is unknown; choose one of {', '.join(FORMATS)}.")
        self.folder = Path(folder)
        self.settings = json.loads(json.dumps(settings))
        self.contrast = contrast
        self.output_format = output_format
        self.report = report
        self.records: dict[str, Record] = {}

    def pending(self, sources: Sequence[ScanSource]) -> list[ScanSource]:
        """Return the scans that are still to be done; the others' summaries are taken from the disk."""
        self.records = {source.case_id: {} for source in sources}
        waiting = []
        for source in sources:
            known = None if source.problem else self._finished(source)
            if known is None:
                waiting.append(source)
            else:
                self.records[source.case_id] = {**known, "status": "done before"}
        return waiting

    def fail(self, source: ScanSource, message: str) -> None:
        """Note that a case could not be done; folders are cut from the message, the table and the pages are shared."""
        for path in filter(None, (source.path, source.mask)):
            message = message.replace(f"{path.parent}/", "")
        self.records[source.case_id] = {"case_id": source.case_id, "status": "failed", "error": message}

    def save(self, source: ScanSource, result: CaseResult, seconds: float) -> Record:
        """Write all files of a case, its summary last, and return the summary."""
        names = image_names(source.case_id, self.contrast)
        folder = case_folder(self.folder, source.case_id)
        summary = {
            "case_id": source.case_id,
            "status": "done",
            "Key": self._key(source),
            **result.summary(),
            "Settings": self.settings,
            "GeneratedBy": [{"Name": "uad-brain-mri", "Version": __version__}],
            "ResearchUseOnly": True,
            "Seconds": round(seconds, 2),
        }
        shared = {key: value for key, value in summary.items() if key not in ("status", "Key", "Findings", "Seconds")}
        write_description(self.folder, __version__)
        hashes = {}
        for role, array in result.images().items():
            path = folder / names[role]
            write_image(path, array, result.affine, source, {"Description": _UNITS[role], **shared})
            hashes[f"{names[role]}.nii.gz"] = file_sha256(f"{path}.nii.gz")
            if self.output_format == "source" and result.kind == "itk":
                write_copy(path, array, result.affine, source.path.suffix)
        summary["Outputs"] = hashes
        summary["Notes"] = self._dicom(source, result, folder)
        if self.report:
            from .page import write_case_report  # matplotlib takes a second to load

            write_case_report(self.folder, summary, result)
        atomic_write_json(folder / f"{source.case_id}_desc-anomaly_summary.json", summary)
        self.records[source.case_id] = summary
        return summary

    def finish(self, strict: bool = True) -> list[Record]:
        """Write the batch's summary and report, print the table and return the records.

        Raises:
            DataError: (``strict``) at least one scan failed; everything else is on disk.
        """
        records = [record for record in self.records.values() if record]
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write_json(self.folder / "summary.json", {"cases": records, "Settings": self.settings})
        if self.report:
            from .page import write_batch_report

            write_batch_report(self.folder, records, self.settings)
        print(summary_table(records))
        failed = [record for record in records if record["status"] == "failed"]
        if failed and strict:
            sys.stdout.flush()
            sentences = "\n  ".join(record["error"] for record in failed)
            raise DataError(
                f"{len(failed)} of {len(records)} scans gave no result, the others are done:\n  {sentences}"
            )
        return records

    def _dicom(self, source: ScanSource, result: CaseResult, folder: Path) -> list[str]:
        if self.output_format != "dicom":
            return []
        if result.kind != "dicom":
            return ["no DICOM written: the scan is not a DICOM series"]
        from .dicom_out import write_dicom

        return write_dicom(folder, source, result, self.settings)

    def _key(self, source: ScanSource) -> str:
        files = sorted(p for p in source.path.iterdir() if p.is_file()) if source.path.is_dir() else [source.path]
        digests = [file_sha256(path) for path in files]
        mask = file_sha256(source.mask) if source.mask else None
        options = [self.output_format, self.report]
        text = json.dumps([__version__, digests, mask, self.settings, options], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _finished(self, source: ScanSource) -> Record | None:
        folder = case_folder(self.folder, source.case_id)
        try:
            record: Record = json.loads((folder / f"{source.case_id}_desc-anomaly_summary.json").read_text("utf-8"))
            whole = all(file_sha256(folder / name) == digest for name, digest in record["Outputs"].items())
            report = not self.report or (self.folder / f"{source.case_id}.html").is_file()
            return record if whole and report and record["Key"] == self._key(source) else None
        except (OSError, ValueError, KeyError):
            return None


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

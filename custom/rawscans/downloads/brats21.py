# SPDX-License-Identifier: Apache-2.0
"""BraTS 2021: a folder per case, ``BraTS2021_00000/BraTS2021_00000_{t1,t1ce,t2,flair,seg}.nii.gz``, at any depth.

The gliomas of BraTS 2023 are read too, ``BraTS-GLI-00000-000/BraTS-GLI-00000-000-{t1n,t1c,t2w,t2f,seg}.nii.gz``; their numbers
are other ones, and the last three digits count the times at which a patient was scanned. Brains are extracted and lie
rigidly in SRI24; they are not extracted again. Labels 1, 2 and 4 are one tumour. Cases of the validation set have no
segmentation.
"""

import re
from pathlib import Path

from ..raw_scan import RawScan
from .found import Found, named_like, unknown_of

_NAME = re.compile(
    r"(?P<case>BraTS2021_\d{5})_(?P<kind>t1|t1ce|t2|flair|seg)\.nii(\.gz)?"
    r"|(?P<case_2023>BraTS-GLI-\d{5}-\d{3})-(?P<kind_2023>t1n|t1c|t2w|t2f|seg)\.nii(\.gz)?"
)
_KINDS_2023 = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair", "seg": "seg"}


def find(root: Path, contrast: str) -> Found:
    """Return the scans of one contrast with their segmentations."""
    cases: dict[str, dict[str, Path]] = {}
    for match, path in named_like(root, _NAME):
        if path.parent.name == (case := match["case"] or match["case_2023"]):
            cases.setdefault(case, {})[match["kind"] or _KINDS_2023[match["kind_2023"]]] = path
    scans = [
        RawScan(_case_id(name), files[contrast], contrast, seg=files.get("seg"))
        for name, files in sorted(cases.items())
        if contrast in files
    ]
    without = sum(scan.seg is None for scan in scans)
    notes = (f"{without} cases have no segmentation (validation set)",) if without else ()
    return Found(
        tuple(scans), notes=notes, unknown=unknown_of(root, (p for files in cases.values() for p in files.values()))
    )


def _case_id(name: str) -> str:
    """Return subject, and the session where the name counts times: files of one patient stay in one fold."""
    if name.startswith("BraTS2021"):
        return f"sub-{name.replace('_', '')}"
    patient, _, time = name.rpartition("-")
    return f"sub-{patient.replace('-', '')}_ses-{time}"

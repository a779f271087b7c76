# SPDX-License-Identifier: Apache-2.0
"""BraTS 2021: a folder per case, ``BraTS2021_00000/BraTS2021_00000_{t1,t1ce,t2,flair,seg}.nii.gz``, at any depth.

Brains are extracted and lie rigidly in SRI24; they are not extracted again. Labels 1, 2 and 4 are one tumour. Cases of the
validation set have no segmentation.
"""

import re
from pathlib import Path

from ..raw_scan import RawScan
from .found import Found, images_below, unknown_of

_NAME = re.compile(r"(BraTS2021_\d{5})_(t1|t1ce|t2|flair|seg)\.nii(\.gz)?")


def find(root: Path, contrast: str) -> Found:
    """Return the scans of one contrast with their segmentations."""
    cases: dict[str, dict[str, Path]] = {}
    for path in images_below(root):
        match = _NAME.fullmatch(path.name)
        if match is not None and path.parent.name == match.group(1):
            cases.setdefault(match.group(1), {})[match.group(2)] = path
    scans = [
        RawScan(f"sub-{name.replace('_', '')}", files[contrast], contrast, seg=files.get("seg"))
        for name, files in sorted(cases.items())
        if contrast in files
    ]
    without = sum(scan.seg is None for scan in scans)
    notes = (f"{without} cases have no segmentation (validation set)",) if without else ()
    return Found(
        tuple(scans), notes=notes, unknown=unknown_of(root, (p for files in cases.values() for p in files.values()))
    )

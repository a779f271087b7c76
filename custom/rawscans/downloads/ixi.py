# SPDX-License-Identifier: Apache-2.0
"""IXI (brain-development.org): ``IXI002-Guys-0828-T1.nii.gz``, flat or in a folder per contrast; ``IXI.xls`` is not read.

Healthy, with faces; a subject is the number behind ``IXI``. Age and sex stand in the sheet, which repeats subjects: save it
as ``participants.tsv`` (participant_id, age, sex) to have them in the lists.
"""

import re
from pathlib import Path

from ..raw_scan import RawScan
from .found import Found, images_below, unknown_of

_NAME = re.compile(r"(IXI\d{3})-(Guys|HH|IOP)-(\d+)-(T1|T2|PD|MRA|DTI-\d+)\.nii(\.gz)?")


def find(root: Path, contrast: str) -> Found:
    """Return the scans of one contrast."""
    scans, known = [], []
    for path in images_below(root):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        known.append(path)
        if match.group(4).lower() == contrast:
            scans.append(RawScan(f"sub-{match.group(1)}{match.group(2)}{match.group(3)}", path, contrast))
    return Found(tuple(scans), unknown=unknown_of(root, known))

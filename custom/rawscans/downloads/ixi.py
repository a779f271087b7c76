# SPDX-License-Identifier: Apache-2.0
"""IXI (brain-development.org): ``IXI002-Guys-0828-T1.nii.gz``, flat or in a folder per contrast; ``IXI.xls`` is not read.

Healthy, with faces; a subject is the number behind ``IXI``. Age and sex stand in the sheet, which repeats subjects: save it
as ``participants.tsv`` (participant_id, age, sex) to have them in the lists.
"""

import re
from pathlib import Path

from ..raw_scan import RawScan
from .found import Found, named_like, unknown_of

_NAME = re.compile(r"(IXI\d{3})-(Guys|HH|IOP)-(\d+)-(T1|T2|PD|MRA|DTI-\d+)\.nii(\.gz)?")


def find(root: Path, contrast: str) -> Found:
    """Return the scans of one contrast."""
    known = named_like(root, _NAME)
    scans = (
        RawScan(f"sub-{match[1]}{match[2]}{match[3]}", path, contrast)
        for match, path in known
        if match[4].lower() == contrast
    )
    return Found(tuple(scans), unknown=unknown_of(root, (path for _, path in known)))

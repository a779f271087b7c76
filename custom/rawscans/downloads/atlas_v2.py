# SPDX-License-Identifier: Apache-2.0
"""ATLAS v2.0 (stroke, T1): ``Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz``.

Also the BIDS form of it, with the lesion masks below ``derivatives``. Scans lie in template space with their skull on, and
are defaced. The test set has no masks and is passed over.
"""

import re
from pathlib import Path

from ..raw_scan import RawScan
from .found import Found, named_like, unknown_of

_NAME = re.compile(r"(sub-r\d{3}s\d{3}_ses-\d+)_space-[A-Za-z0-9]+_(T1w|label-L_desc-T1lesion_mask)\.nii(\.gz)?")


def find(root: Path, contrast: str) -> Found:
    """Return the T1 scans that have a lesion mask."""
    cases: dict[str, dict[str, Path]] = {}
    known = named_like(root, _NAME)
    for match, path in known:
        cases.setdefault(match[1], {})[match[2]] = path
    whole = {name: files for name, files in sorted(cases.items()) if len(files) == 2 and contrast == "t1"}
    scans = [
        RawScan(name, files["T1w"], "t1", seg=files["label-L_desc-T1lesion_mask"]) for name, files in whole.items()
    ]
    left = len(cases) - len(scans)
    notes = (f"{left} scans have no lesion mask (test set) and were passed over",) if left and scans else ()
    return Found(tuple(scans), notes=notes, unknown=unknown_of(root, (path for _, path in known)))

# SPDX-License-Identifier: Apache-2.0
"""MSLUB, 3-D MR image database of MS patients: ``patient01/patient01_{T1W,T2W,FLAIR}.nii.gz``, ``..._consensus_gt``.

The consensus segmentation lies in FLAIR space, as do the scans beside it; those in ``raw/`` do not and are passed over.
The data set's own brain masks are wrong for some patients (a frontal lobe is missing, a whole head is in), so they are not
used: the brain is extracted. Scans are defaced.
"""

import re
from pathlib import Path

from ..raw_scan import RawScan
from .found import Found, named_like, unknown_of

_NAME = re.compile(r"(patient\d{2})_(T1W|T1WKS|T2W|FLAIR|brainmask|consensus_gt)\.nii(\.gz)?")
_SUFFIX = {"t1": "T1W", "t2": "T2W", "flair": "FLAIR"}


def find(root: Path, contrast: str) -> Found:
    """Return the scans of one contrast with their segmentations."""
    cases: dict[str, dict[str, Path]] = {}
    known = named_like(root, _NAME)
    for match, path in known:
        if "raw" not in path.relative_to(root).parts:
            cases.setdefault(match[1], {})[match[2]] = path
    suffix = _SUFFIX.get(contrast, contrast)
    scans = [
        RawScan(f"sub-{name}", files[suffix], contrast, seg=files.get("consensus_gt"))
        for name, files in sorted(cases.items())
        if suffix in files
    ]
    return Found(tuple(scans), unknown=unknown_of(root, (path for _, path in known)))

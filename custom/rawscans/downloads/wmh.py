# SPDX-License-Identifier: Apache-2.0
"""WMH challenge: ``training/Utrecht/0/pre/{FLAIR,T1}.nii.gz`` and ``wmh.nii.gz``, also ``Amsterdam/GE3T/100``; ``public/...``.

The segmentation lies on the FLAIR grid, so T1 is that of ``pre`` (on this grid, 3 mm), not ``3DT1``. Label 2 is other
pathology and becomes 0. Scans are defaced.
"""

from pathlib import Path

from ..raw_scan import RawScan
from .found import Found, images_below, unknown_of

_ROLES = {"t1": "T1", "flair": "FLAIR"}
_OTHER_PATHOLOGY = 2


def find(root: Path, contrast: str) -> Found:
    """Return the scans of one contrast with their segmentations."""
    scans, known = [], []
    for seg in images_below(root):
        if seg.name.removesuffix(".gz") != "wmh.nii" or not (seg.parent / "pre").is_dir():
            continue
        case = seg.parent
        known += images_below(case)
        image = next((case / "pre" / f"{_ROLES.get(contrast)}{end}" for end in (".nii.gz", ".nii")
                      if (case / "pre" / f"{_ROLES.get(contrast)}{end}").is_file()), None)  # fmt: skip
        if image is not None:
            place = [part for part in case.relative_to(root).parts if part not in ("training", "test", "public")]
            name = "".join(letter for letter in "".join(place) if letter.isascii() and letter.isalnum())
            scans.append(RawScan(f"sub-{name or case.name}", image, contrast, seg=seg, labels={_OTHER_PATHOLOGY: 0}))
    return Found(tuple(scans), unknown=unknown_of(root, known))

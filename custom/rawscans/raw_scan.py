# SPDX-License-Identifier: Apache-2.0
"""One scan to prepare."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class RawScan:
    """A scan and what belongs to it.

    Attributes:
        case_id: BIDS entities that the results' names start with.
        image: the scan.
        contrast: "t1", "t2", "flair" or another name.
        mask: brain mask on its grid, or None.
        seg: lesion mask on its grid, or None.
        labels: of ``seg``: label -> 1 diseased or 0 not; labels that are not named are taken as they are (above 0).

    >>> image, seg = Path("sub-01_T2w.nii.gz"), Path("sub-01_seg.nii.gz")
    >>> scan = RawScan("sub-01", image, "t2", seg=seg, labels={1: 1, 2: 0})  # label 2 is no disease
    >>> [label for label, diseased in scan.labels.items() if diseased]
    [1]
    """

    case_id: str
    image: Path
    contrast: str
    mask: Path | None = None
    seg: Path | None = None
    labels: Mapping[int, int] = field(default_factory=dict)

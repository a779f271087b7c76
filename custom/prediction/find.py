# SPDX-License-Identifier: Apache-2.0
"""What "SCAN|FOLDER|list.txt" stands for, and how the results of each scan are called.

Names follow BIDS derivatives (bids-specification 1.9, "Derivatives"): ``sub-01_ses-1_T1w.nii.gz`` gives results called
``sub-01_ses-1_desc-anomaly_map.nii.gz``; of any other name the letters and digits become the subject,
``patient07_t1.nii.gz`` gives ``sub-patient07t1``. A DICOM series is named after its folder, never after the patient.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DataError

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".nhdr")
_BIDS = re.compile(r"(sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)(?:_[A-Za-z0-9]+)?")
_NO_SCAN = re.compile(r"(_mask|_seg|_dseg|_desc-[a-z]+_(map|mask|T1w|T2w))$")


@dataclass(frozen=True)
class ScanSource:
    """One scan to be read.

    Attributes:
        case_id: BIDS entities that every result's name starts with (``sub-01_ses-1``).
        path: file, or folder of one DICOM series.
        mask: brain mask, or None.
        problem: why this scan cannot be used (known before it is read), or None.
    """

    case_id: str
    path: Path
    mask: Path | None = None
    problem: str | None = None


def find_scans(given: str | Path, mask: str | Path | None = None) -> list[ScanSource]:
    """Return the scans that ``given`` stands for, in the order of their names (of a list: in its order).

    Args:
        given: a scan, a folder with one DICOM series, a folder of scans (and of such folders), or a text file with one
            path per line, relative ones from the place of the list.
        mask: brain mask of a single scan, or a folder with masks that have the names of their scans. Without it a
            neighbour ``<name>_mask.nii.gz`` is taken where it exists.

    Raises:
        DataError: nothing there.
    """
    path = Path(given)
    if not path.exists():
        raise DataError(f"{path} does not exist; give a scan, a folder or a list of scans (.txt)")
    if path.suffix == ".txt":
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        paths = [path.parent / line for line in lines if line and not line.startswith("//")]
    elif path.is_dir() and not is_dicom_series(path):
        paths = sorted(p for p in path.iterdir() if _is_scan(p))
    else:
        paths = [path]
    if not paths:
        raise DataError(
            f"there is no scan in {path}: expected {', '.join(ENDINGS)} files or folders with a DICOM series; "
            "brain masks and results (_mask, _desc-...) do not count"
        )
    if mask is not None and Path(mask).is_file() and len(paths) > 1:
        raise DataError(f"one mask file for {len(paths)} scans; give a folder of masks named like the scans instead")
    seen: dict[str, Path] = {}
    sources: list[ScanSource] = []
    for scan in paths:
        case_id = case_id_of(scan)
        problem = None
        if case_id in seen:
            problem = (
                f"{scan.name} and {seen[case_id].name} would write the same results ({case_id}); rename one of them"
            )
            case_id = f"{case_id}_run-{len(sources) + 1}"
        seen.setdefault(case_id, scan)
        sources.append(ScanSource(case_id, scan, _mask_of(scan, mask), problem))
    return sources


def case_id_of(path: Path) -> str:
    """Return the BIDS entities for a file or folder name.

    >>> case_id_of(Path("sub-01_ses-1_T1w.nii.gz")), case_id_of(Path("patient07_t1.nii"))
    ('sub-01_ses-1', 'sub-patient07t1')
    """
    stem = stem_of(path)
    match = _BIDS.fullmatch(stem)
    if match:
        return match.group(1)
    letters = re.sub(r"[^A-Za-z0-9]", "", stem)
    return f"sub-{letters or 'scan'}"


def stem_of(path: Path) -> str:
    """Return the file name without the ending of its format."""
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name


def is_dicom_series(folder: Path) -> bool:
    """Tell whether a folder directly holds DICOM files."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return any(_is_dicom(p) for p in files[:5])


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _is_scan(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return is_dicom_series(path)
    return path.name.lower().endswith(ENDINGS) and not _NO_SCAN.search(stem_of(path))


def _mask_of(scan: Path, mask: str | Path | None) -> Path | None:
    if mask is not None and not Path(mask).is_dir():
        return Path(mask)
    folder = scan.parent if mask is None else Path(mask)
    names = [f"{stem_of(scan)}_mask"] if mask is None else [f"{stem_of(scan)}_mask", stem_of(scan)]
    candidates = [folder / f"{name}{ending}" for name in names for ending in ENDINGS]
    return next((candidate for candidate in candidates if candidate.is_file()), None)

# SPDX-License-Identifier: Apache-2.0
"""What the results of a scan are called.

Names follow BIDS derivatives (bids-specification 1.9, "Derivatives"): ``sub-01_ses-1_T1w.nii.gz`` gives results called
``sub-01_ses-1_desc-anomaly_map.nii.gz``; of any other name the letters and digits become the subject,
``patient07_t1.nii.gz`` gives ``sub-patient07t1``. A DICOM series is named after its folder, never after the patient.
Scans whose names would be the same are told apart by their suffix (``sub-01_mod-FLAIR``) or by the folders that they lie
in (``A/t2.nii.gz`` and ``B/t2.nii.gz`` give ``sub-At2`` and ``sub-Bt2``).
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import DataError
from ..core.files import expanded

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".nhdr")
BIDS = re.compile(r"(sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*)(?:_([A-Za-z0-9]+))?")
_LONGEST = 150  # letters of a case id: names of results have up to 60 more, and file systems take 255


def shown(path: str | Path) -> str:
    r"""Return a path as text that can be printed and stored; bytes that are no UTF-8 become ``\xNN``.

    >>> shown("gr\udcf6\udcdfe.nii")
    'gr\\xf6\\xdfe.nii'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def require_there(given: str | Path, mask: str | Path | None = None) -> None:
    """Refuse scans, or a mask of them, that do not exist.

    Raises:
        DataError: what is missing, and what can be given.
    """
    if not expanded(given).exists():
        raise DataError(f"{shown(expanded(given))} does not exist; give a scan, a folder or a list of scans (.txt)")
    if mask is not None and not expanded(mask).exists():
        raise DataError(f"the mask {shown(expanded(mask))} does not exist; give a mask, a folder of masks, or none")


def names_of(path: Path) -> Iterator[str]:
    """Yield names for the results of a scan, from the shortest to one that no other file has."""
    yield entities_of(path)
    stem = stem_of(path)
    match = BIDS.fullmatch(stem)
    entities, suffix = (match.group(1), match.group(2)) if match else ("", None)
    if suffix:
        entities = f"{entities}_mod-{suffix}"
        yield _short(entities)
    letters = _letters(stem)
    for parent in list(path.absolute().parents)[:3]:
        before = _letters(parent.name)
        if entities:
            entities = f"sub-{before}{entities.removeprefix('sub-')}"
        letters = f"{before}{letters}"
        yield _short(entities or f"sub-{letters or 'scan'}")
    place = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:12]
    yield f"{entities_of(path)}_id-{place}" if match else f"{entities_of(path)}{place}"


def distinct(names: list[list[str]]) -> list[list[str]]:
    """Shorten each list from the front until all first names differ; names that occur at all stay with one scan."""
    names = [list(dict.fromkeys(choices)) for choices in names]
    while True:
        counts = Counter(choices[0].lower() for choices in names)
        clashing = [choices for choices in names if counts[choices[0].lower()] > 1 and len(choices) > 1]
        if not clashing:
            return names
        for choices in clashing:
            del choices[0]


def _letters(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text)


def entities_of(path: Path) -> str:
    """Return the BIDS entities for a file or folder name.

    >>> entities_of(Path("sub-01_ses-1_T1w.nii.gz")), entities_of(Path("patient07_t1.nii"))
    ('sub-01_ses-1', 'sub-patient07t1')
    """
    stem = stem_of(path)
    match = BIDS.fullmatch(stem)
    return _short(match.group(1) if match else f"sub-{_letters(stem) or 'scan'}")


def _short(name: str) -> str:
    """Return a name, of a long one its beginning and a digest."""
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 8].rstrip('_-')}{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def stem_of(path: Path) -> str:
    """Return the file name without the ending of its format."""
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.name

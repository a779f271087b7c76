# SPDX-License-Identifier: Apache-2.0
"""What "SCAN|FOLDER|list.txt" stands for; what the results of each scan are called says :mod:`custom.prediction.names`."""

import logging
import os
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError, DataError, listed
from ..core.files import expanded
from ..volumes.dicom import is_dicom_series
from ..volumes.picture import ENDINGS as PICTURE_ENDINGS
from .names import BIDS, ENDINGS, distinct, entities_of, names_of, require_there, shown, stem_of

MASK_NAMES = ("_mask", "_brainmask", "_brain_mask", "_desc-brain_mask")
_NO_SCAN = re.compile(
    r"(?i)([_-](mask|brainmask|brain_mask|msk|seg|dseg|segmentation|label|labels|lesion|lesions|roi|truth|prob|probseg|probmap"
    r"|probability|pve_?\d|pveseg|aparc[+.]?[a-z0-9]*aseg|aseg|dist|warp|xfm|jacobian)|_desc-[a-z]+_(map|mask|T1w|T2w|FLAIR|MRI))$"
)
_LISTED = 5
_HINTS = 3
_FOLDERS_SEARCHED = 2000
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanSource:
    """One scan to be read.

    Attributes:
        case_id: BIDS entities that every result's name starts with (``sub-01_ses-1``).
        path: file, or folder of one DICOM series.
        mask: brain mask, or None.
        problem: why this scan cannot be used (known before it is read), or None.
        other_ids: names to take instead where results of another scan are called ``case_id``; the last is unique.
        note: what the user should know about the name, or None.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("P1.nii.gz", "P1_mask.nii.gz"):
    ...         (Path(folder) / name).touch()
    ...     [(source.case_id, source.path.name, source.mask.name) for source in find_scans(folder)]
    [('sub-P1', 'P1.nii.gz', 'P1_mask.nii.gz')]
    """

    case_id: str
    path: Path
    mask: Path | None = None
    problem: str | None = None
    other_ids: tuple[str, ...] = ()
    note: str | None = None

    def as_data(self) -> dict[Hashable, Any]:
        """Return what the preparation takes: the paths of scan and mask, and the name."""
        return {"image": str(self.path), "mask": str(self.mask) if self.mask else None, "case_id": self.case_id}


def find_scans(given: str | Path, mask: str | Path | None = None) -> list[ScanSource]:
    """Return the scans that ``given`` stands for, in the order of their names (of a list: in its order).

    Args:
        given: a scan, a folder with one DICOM series, a folder of scans (and of such folders), or a text file with one
            path per line, relative ones from the place of the list. Of a folder, files whose names say that they are masks,
            segmentations, probability maps or results are passed over, which is mentioned.
        mask: brain mask of a single scan, or a folder with a mask for every scan, called like it (``<name>.nii.gz``) or
            ``<name>_mask``. Without it a neighbour ``<name>_mask.nii.gz`` is taken where it exists (also ``_brainmask``,
            ``_brain_mask`` and BIDS' ``_desc-brain_mask``).

    Raises:
        DataError: nothing there, or a mask that does not exist.
    """
    path = expanded(given)
    require_there(given, mask)
    mask = None if mask is None else expanded(mask)
    if path.suffix.lower() == ".txt" and path.is_file():
        paths = _listed_scans(path)
    elif path.is_dir():
        paths = [path] if is_dicom_series(path) else sorted(p for p in path.iterdir() if _is_scan(p))
        _mention_others(path, paths)
    else:
        paths = [path]
    if not paths:
        raise DataError(
            f"there is no scan in {shown(path)}: expected {', '.join(ENDINGS)} files or folders with a DICOM series; "
            f"brain masks and results (_mask, _desc-...) do not count{f'; {below}' if (below := _scans_below(path, ())) else ''}"
        )
    if mask is not None and mask.is_file() and len(paths) > 1:
        raise DataError(f"one mask file for {len(paths)} scans; give a folder of masks named like the scans instead")
    places = [os.path.realpath(scan) for scan in paths]
    first = dict(zip(reversed(places), reversed(paths), strict=True))
    names = dict(zip(first, distinct([list(names_of(scan)) for scan in first.values()]), strict=True))
    sources = []
    for number, (scan, place) in enumerate(zip(paths, places, strict=True), start=1):
        found, problem = _mask_of(scan, mask)
        ids = names.pop(place, None)
        if ids is None:
            ids, problem = [f"{entities_of(scan)}_run-{number}"], f"{shown(scan.name)} is in the list twice"
        sources.append(ScanSource(ids[0], scan, found, problem, tuple(ids[1:])))
    return sources


def find_pictures(given: str | Path) -> list[Path] | None:
    """Return the 2-D pictures that ``given`` stands for, or None if it stands for scans.

    Args:
        given: a PNG, JPEG or TIFF file, a text file with one per line, or a folder that holds pictures, also in folders
            below, and no scan. Overlays and heat maps of earlier predictions do not count.

    Raises:
        DataError: a list of both scans and pictures.
    """
    path = expanded(given)
    if path.suffix.lower() == ".txt" and path.is_file():
        listed = _listed_scans(path)
        pictures = [p for p in listed if _is_picture(p)]
        if pictures and len(pictures) < len(listed):
            raise DataError("the list names scans and pictures; give them in two lists", case=shown(path.name))
        return pictures or None
    if path.is_dir():
        if is_dicom_series(path) or any(_is_scan(p) for p in path.iterdir()):
            return None
        return sorted(p for p in path.rglob("*") if _is_picture(p) and p.is_file()) or None
    return [path] if _is_picture(path) and path.is_file() else None


def _is_picture(path: Path) -> bool:
    is_result = path.stem.endswith(("_overlay", "_heatmap", "_mask"))
    return path.name.lower().endswith(PICTURE_ENDINGS) and not path.name.startswith(".") and not is_result


def one_scan(given: str | Path, mask: str | Path | None = None) -> ScanSource:
    """Return the one scan that ``given`` stands for.

    Raises:
        ConfigError: a folder or list of several scans.
        DataError: nothing there, or nothing that can be used.
    """
    sources = find_scans(given, mask)
    if len(sources) > 1:
        raise ConfigError(
            f"{shown(given)} holds {len(sources)} scans ({', '.join(shown(s.path.name) for s in sources[:3])}, ...), and one is "
            "predicted at a time; give one of them, or take predict_batch for all."
        )
    if sources[0].problem:
        raise DataError(sources[0].problem, case=sources[0].case_id)
    return sources[0]


def _listed_scans(path: Path) -> list[Path]:
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError("the list is not UTF-8 text; save the list as UTF-8", case=shown(path.name)) from error
    lines = [line.strip() for line in text.splitlines()]
    lines = [line[1:-1] if len(line) > 2 and line[0] == line[-1] == '"' else line for line in lines]  # "copy as path"
    wanted = [path.parent / expanded(line) for line in lines if line and not line.startswith("//")]
    if "\0" in text:
        raise DataError("the list holds null bytes, so it is no text; save the list as UTF-8", case=shown(path.name))
    return wanted


def _mention_others(folder: Path, taken: Sequence[Path]) -> None:
    """Warn of files and deeper folders that look like scans and are not taken."""
    files = [
        p for p in folder.iterdir() if p.is_file() and p.name.lower().endswith(ENDINGS) and not p.name.startswith(".")
    ]
    others = sorted(
        shown(p.name) for p in files if not _is_scan(p) and not _is_brain_mask(p) and "_desc-" not in p.name
    )
    if others:
        _LOG.warning(
            "passed over in %s, their names say that they are no scans: %s; give them by a list (.txt) if they are",
            shown(folder), listed(others, _LISTED),
        )  # fmt: skip
    if taken and (below := _scans_below(folder, taken)):
        _LOG.warning("not searched in %s: %s", shown(folder), below)


def _is_brain_mask(path: Path) -> bool:
    return stem_of(path).endswith(MASK_NAMES)


def _scans_below(folder: Path, taken: Sequence[Path]) -> str:
    """Return a hint at scans in deeper folders (PATIENT/STUDY/SERIES, sub-01/anat), which are not searched; "" for none.

    Args:
        folder: what the user gave.
        taken: what is predicted; the folders among it count as seen, what lies in them does not.
    """
    if not folder.is_dir():
        return ""
    series: list[str] = []
    files: list[str] = []
    for number, (place, folders, names) in enumerate(os.walk(folder)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if number > _FOLDERS_SEARCHED or len(series) >= _HINTS or len(files) >= _HINTS:
            break
        here = Path(place)
        if here == folder:
            continue
        if here not in taken and is_dicom_series(here):
            series.append(shown(here.relative_to(folder)))
        else:
            files += [shown((here / n).relative_to(folder)) for n in sorted(names) if _is_scan(here / n)]
    if series:
        return f"deeper folders hold DICOM series ({', '.join(series)}): give one of them"
    if files:
        return f"deeper folders hold scans ({', '.join(files[:_HINTS])}): give their folder, or a list (.txt)"
    return ""


def _is_scan(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return is_dicom_series(path)
    return path.name.lower().endswith(ENDINGS) and not _NO_SCAN.search(stem_of(path))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _mask_of(scan: Path, mask: Path | None) -> tuple[Path | None, str | None]:
    """Return the mask of a scan, and what is wrong if one was asked for and is not there."""
    if mask is not None and not mask.is_dir():
        return mask, None
    folder, stem = (scan.parent if mask is None else mask), stem_of(scan)
    entities = BIDS.fullmatch(stem)
    names = [f"{stem}{name}" for name in MASK_NAMES]
    names += [f"{entities.group(1)}_desc-brain_mask"] if entities else []
    names += [stem] if mask is not None else []
    candidates = [folder / f"{name}{ending}" for name in dict.fromkeys(names) for ending in ENDINGS]
    found = next((candidate for candidate in candidates if _is_file(candidate)), None)
    if found is not None or mask is None:
        return found, None
    there = sorted(shown(p.name) for p in mask.iterdir() if p.name.lower().endswith(ENDINGS))
    near = [name for name in there if name.startswith(entities_of(scan))] or there
    ending = next((end for end in ENDINGS if scan.name.lower().endswith(end)), ".nii.gz")
    return None, (
        f"no mask for {entities_of(scan)} in {shown(mask.name)}: expected {shown(stem)}_mask{ending} or {shown(stem)}{ending}, "
        f"found {listed(near, _LISTED) or 'no image'}"
    )

# SPDX-License-Identifier: Apache-2.0
"""Public data sets as they are downloaded: which of their files are scans and lesion masks of one contrast.

Files that a data set is not known to have are listed, never guessed.

IXI (brain-development.org)
    ``IXI002-Guys-0828-T1.nii.gz``, flat or in a folder per contrast. Healthy, with faces. Age and sex stand in ``IXI.xls``, which is
    not read and repeats subjects: save it as ``participants.tsv`` (participant_id, age, sex) to have them in the lists.
BraTS 2021, and the gliomas of BraTS 2023
    ``BraTS2021_00000/BraTS2021_00000_{t1,t1ce,t2,flair,seg}.nii.gz``,
    ``BraTS-GLI-00000-000/BraTS-GLI-00000-000-{t1n,t1c,t2w,t2f,seg}.nii.gz``; the last three digits count the times at which a
    patient was scanned. Brains are extracted and lie rigidly in SRI24; they are not extracted again. Labels 1, 2 and 4 are one
    tumour. Cases of the validation set have no segmentation.
MSLUB, 3-D MR image database of MS patients
    ``patient01/patient01_{T1W,T2W,FLAIR}.nii.gz``, ``..._consensus_gt``. The consensus segmentation lies in FLAIR space, as do the
    scans beside it; those in ``raw/`` do not and are not taken. The brain masks are wrong for some patients (a frontal lobe is
    missing, a whole head is in), so they are not used: the brain is extracted. Defaced.
ATLAS v2.0 (stroke, T1)
    ``sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz``, also the BIDS form with the lesion masks below ``derivatives``. In
    template space with the skull on, defaced. The test set has no masks and is not taken.
WMH challenge
    ``training/Utrecht/0/pre/{FLAIR,T1}.nii.gz`` and ``wmh.nii.gz``, also ``Amsterdam/GE3T/100``; ``public/...``. The segmentation lies
    on the FLAIR grid, so T1 is that of ``pre`` (on this grid, 3 mm), not ``3DT1``. Label 2 is other pathology and becomes 0. Defaced.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import ConfigError, DataError
from .raw_scan import RawScan

_OTHER_PATHOLOGY = 2  # label of WMH


@dataclass(frozen=True)
class Found:
    """Scans in the order of their names, notes for the user, and images that are not known.

    >>> found = Found((RawScan("sub-01", Path("sub-01_T1w.nii.gz"), "t1"),), unknown=(Path("notes.nii"),))
    >>> [scan.case_id for scan in found.scans]
    ['sub-01']
    """

    scans: tuple[RawScan, ...]
    notes: tuple[str, ...] = ()
    unknown: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Layout:
    """How the files of a data set are called.

    ``pattern`` is of a path from the root's own folder on, with groups ``case`` and ``kind``; ``contrasts`` are those kinds that are
    not called like their contrast; ``seg`` is the kind of lesion masks, and ``without_seg`` what is said of scans that have none,
    which are taken unless ``seg_needed``; files in folders called ``aside`` are known, and not taken.
    """

    pattern: str
    contrasts: Mapping[str, str] = field(default_factory=dict)
    seg: str = ""
    without_seg: str = ""
    seg_needed: bool = False
    aside: str = ""

    def find(self, root: Path, contrast: str) -> Found:
        """Return the scans of one contrast with their lesion masks.

        Raises:
            DataError: two files are the same scan by their names.
        """
        cases: dict[str, dict[str, Path]] = {}
        unknown = []
        for path in _images_below(root):
            below = path.relative_to(root)
            match = re.fullmatch(rf"(?:.*/)?{self.pattern}\.nii(?:\.gz)?", f"{root.absolute().name}/{below.as_posix()}")
            if match is None:
                unknown.append(path)
            elif self.aside not in below.parts:
                kind = match["kind"]
                kind = "seg" if kind == self.seg else self.contrasts.get(kind, kind.lower())
                known = cases.setdefault(_case_id(match["case"]), {}).setdefault(kind, path)
                if known != path:
                    raise DataError(
                        f"{known} and {path} are the same scan by their names: leave one of them",
                        case=_case_id(match["case"]),
                    )
        scans = [
            RawScan(case_id, files[contrast], contrast, seg=files.get("seg"))
            for case_id, files in sorted(cases.items())
            if contrast in files and ("seg" in files or not self.seg_needed)
        ]
        without = len(cases) - len(scans) if self.seg_needed else sum(scan.seg is None for scan in scans)
        notes = (f"{without} {self.without_seg}",) if self.without_seg and without and scans else ()
        return Found(tuple(scans), notes, tuple(unknown))


_LAYOUTS = {
    "ixi": _Layout(r"(?P<case>IXI\d{3}-(Guys|HH|IOP)-\d+)-(?P<kind>T1|T2|PD|MRA|DTI-\d+)"),
    "brats21": _Layout(
        r"(?P<case>BraTS2021_\d{5}|BraTS-GLI-\d{5}-\d{3})/(?P=case)[_-](?P<kind>t1|t1ce|t2|flair|t1n|t1c|t2w|t2f|seg)",
        contrasts={"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"},
        seg="seg",
        without_seg="cases have no segmentation (validation set)",
    ),
    "mslub": _Layout(
        r"(?P<case>patient\d{2})_(?P<kind>T1W|T1WKS|T2W|FLAIR|brainmask|consensus_gt)",
        contrasts={"T1W": "t1", "T2W": "t2"},
        seg="consensus_gt",
        aside="raw",
    ),
    "atlas_v2": _Layout(
        r"(?P<case>sub-r\d{3}s\d{3}_ses-\d+)_space-[A-Za-z0-9]+_(?P<kind>T1w|label-L_desc-T1lesion_mask)",
        contrasts={"T1w": "t1"},
        seg="label-L_desc-T1lesion_mask",
        without_seg="scans have no lesion mask (test set) and were passed over",
        seg_needed=True,
    ),
}


def find_download(name: str, root: Path, contrast: str) -> Found:
    """Return the scans of a data set as it was unpacked.

    Raises:
        ConfigError: no such data set.
        DataError: none of its files lie below ``root``.
    """
    if name not in (*_LAYOUTS, "wmh"):
        raise ConfigError(f"the data set {name!r} is unknown; choose one of {', '.join((*_LAYOUTS, 'wmh'))}")
    found = _LAYOUTS[name].find(root, contrast) if name in _LAYOUTS else _find_wmh(root, contrast)
    if not found.scans:
        raise DataError(f"no {contrast.upper()} scan of {name} below {root}: unpack it there as it was downloaded")
    return found


def _find_wmh(root: Path, contrast: str) -> Found:
    """Return the scans of the WMH challenge: every folder with ``wmh.nii.gz`` and a folder ``pre`` is a case."""
    scans, known = [], set[Path]()
    for seg in _images_below(root):
        case = seg.parent
        if seg.name.removesuffix(".gz") != "wmh.nii" or not (case / "pre").is_dir():
            continue
        known.update(_images_below(case))
        paths = (case / "pre" / f"{contrast.upper()}{ending}" for ending in (".nii.gz", ".nii"))
        image = next((path for path in paths if path.is_file()), None)
        if image is not None and contrast in ("t1", "flair"):
            place = [part for part in case.relative_to(root).parts if part not in ("training", "test", "public")]
            name = re.sub(r"[^A-Za-z0-9]", "", "".join(place))
            scans.append(RawScan(f"sub-{name or case.name}", image, contrast, seg=seg, labels={_OTHER_PATHOLOGY: 0}))
    return Found(tuple(scans), unknown=tuple(path for path in _images_below(root) if path not in known))


def _images_below(root: Path) -> list[Path]:
    """Return all NIfTI files below a folder, in the order of their names."""
    return sorted(path for path in root.rglob("*.nii*") if path.name.endswith((".nii", ".nii.gz")))


def _case_id(case: str) -> str:
    """Return subject, and the session where the name counts times: files of one patient stay in one fold."""
    if case.startswith("sub-"):
        return case
    patient, time = (case[:-4], f"_ses-{case[-3:]}") if case.startswith("BraTS-") else (case, "")
    return f"sub-{re.sub('[-_]', '', patient)}{time}"

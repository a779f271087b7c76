# SPDX-License-Identifier: Apache-2.0
"""A test set of planted lesions, made from the healthy scans of a data root and written beside them.

Written: ``Test/planted_<kind>/{<contrast>,mask,seg}/<case>-<kind>_*.nii.gz``, the lists ``planted_<kind>_test.csv`` and the
entries of ``dataset.json`` that make ``planted_<kind>`` names for ``--test_sets``. Which lesion a scan gets is decided by
(seed, kind, case). Where healthy scans are few, each is used several times, with another lesion each time
(``<case>-<kind>-2`` ...): the cases are then more than the brains, and ``dataset.json`` says so.
"""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib

from ..core.digests import read_own_json, write_checked_json
from ..core.errors import ConfigError, DataError
from ..core.files import atomic_path, atomic_write_text, changing
from ..core.progress import progress
from ..core.seeding import derive_seed
from ..core.stamps import stamp_lists
from ..volumes.read import read_label, read_scan
from ..volumes.records import ScanRecord, list_text
from ..volumes.resampling import spacing_of, to_closest_ras
from .planting import KINDS, plant


def write_planted(
    records: Sequence[ScanRecord],
    data_root: str | Path,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    copies: int = 1,
) -> dict[str, int]:
    """Plant a lesion of each kind into each scan; return the number of cases by data set.

    Args:
        records: healthy scans with brain masks, for example the val list of a fold; all of one contrast.
        data_root: where the files go; existing planted sets of these kinds are replaced.
        kinds: see :data:`.planting.KINDS`.
        seed: of the whole set.
        copies: how many cases each scan gives, each with a lesion of its own; the first is that of ``copies=1``.

    Raises:
        ConfigError: no scans, of several contrasts, or no copies.
        DataError: a scan without a brain mask, or an unusable file.
    """
    contrasts = {record.contrast for record in records}
    if len(contrasts) != 1:
        raise ConfigError(f"planting needs scans of one contrast, got {', '.join(sorted(contrasts)) or 'no scan'}.")
    if copies < 1:
        raise ConfigError(f"each scan must give one case or more, got copies={copies}.")
    root = Path(data_root)
    cases = [(record, copy) for record in records for copy in range(copies)]
    with changing(root / "planted"):
        (root / "splits").mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            path = root / "splits" / f"planted_{kind}_test.csv"
            # while scans are replaced, no list may name an image of the new seed beside a lesion mask of the old one
            path.unlink(missing_ok=True)
            rows = [_write(*case, root, kind, seed) for case in progress(cases, desc=f"planting {kind}", unit="scan")]
            text = list_text(rows, numbered=True)
            atomic_write_text(path, text)
            stamp_lists(path.parent, f"planted_{kind}", {path.name: text}, seed=seed)
        with changing(root / "dataset.json"):
            _declare(root, kinds, records[0], copies)
    return {f"planted_{kind}": len(cases) for kind in kinds}


def _write(record: ScanRecord, copy: int, root: Path, kind: str, seed: int) -> dict[str, str]:
    case = record.case_id
    if record.mask is None:
        raise DataError("a lesion can only be planted inside a brain mask, and the list names none", case=case)
    scan = read_scan(record.image, case)
    values, affine = to_closest_ras(scan.array, scan.affine)
    mask, _ = to_closest_ras(read_label(record.mask, scan, case).array, scan.affine)
    x, y, z = (float(s) for s in spacing_of(affine))
    own_seed = derive_seed(seed, case, copy) if copy else derive_seed(seed, case)
    planted = plant(values, mask > 0, kind, record.contrast, own_seed, (x, y, z))
    folder, stem = f"Test/planted_{kind}", f"{case}-{kind}-{copy + 1}" if copy else f"{case}-{kind}"
    paths = {}
    volumes = {record.contrast: planted.image, "mask": mask, "seg": planted.seg}
    for part, volume in volumes.items():
        paths[part] = f"{folder}/{part}/{stem}_{part}.nii.gz"
        (root / paths[part]).parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(root / paths[part]) as temporary:
            nib.save(nib.Nifti1Image(volume, affine), temporary)
    return {
        "img_name": f"{stem}_t1.nii.gz",  # lists name the T1 file, whatever the contrast
        "age": "" if record.age is None else f"{record.age:g}",
        "label": "1",
        "img_path": f"/{folder}/t1/{stem}_t1.nii.gz",
        "mask_path": f"/{paths['mask']}",
        "seg_path": f"/{paths['seg']}",
    }


def _declare(root: Path, kinds: Sequence[str], record: ScanRecord, copies: int) -> None:
    path = root / "dataset.json"
    content = read_own_json(path, "correct it, or remove it.") if path.is_file() else {"datasets": []}
    entries = content.get("datasets", [content])
    names = {f"planted_{kind}" for kind in kinds}
    kept = [entry for entry in entries if entry.get("name") not in names]
    several = f", {copies} cases a scan, each with its own lesion" if copies > 1 else ""
    made = [
        {
            "name": f"planted_{kind}", "healthy": False, "contrasts": [record.contrast], "folder": f"Test/planted_{kind}",
            "splits": ["test"], "subject_pattern": f"(.+)-{kind}",
            "title": f"{record.dataset} with planted lesions: {kind}{several}", "licence": f"that of {record.dataset}",
            "citation": f"made from healthy scans of {record.dataset} by custom.synthetic.planting",
        }
        for kind in kinds
    ]  # fmt: skip
    write_checked_json(path, {"datasets": [*kept, *made]})

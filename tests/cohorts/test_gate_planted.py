# SPDX-License-Identifier: Apache-2.0
"""Faults planted one by one into copies of a clean cohort: the gate finds each, names the file, and nothing else."""

import csv
import gzip
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from custom.cohorts.folds import make_splits
from custom.cohorts.gate import check

pytestmark = [
    pytest.mark.fault(1),
    pytest.mark.fault(4),
    pytest.mark.fault(5),
    pytest.mark.fault(6),
    pytest.mark.fault(7),
    pytest.mark.fault(8),
    pytest.mark.fault(9),
    pytest.mark.fault(10),
    pytest.mark.fault(
        13,
        "thick slices",
        "cohorts: error, they must be registered to the atlas grid; single scans: doubt in the report",
        "foreseen",
    ),
    pytest.mark.fault(14),
    pytest.mark.fault(15),
    pytest.mark.fault(16),
    pytest.mark.fault(17),
    pytest.mark.fault(18),
    pytest.mark.fault(19),
    pytest.mark.fault(20),
    pytest.mark.fault(21),
    pytest.mark.fault(23),
    pytest.mark.fault(24),
    pytest.mark.fault(25),
    pytest.mark.fault(29),
    pytest.mark.fault(30),
    pytest.mark.fault(32),
    pytest.mark.fault(33),
    pytest.mark.fault(34),
    pytest.mark.fault(35),
    pytest.mark.fault(36),
    pytest.mark.fault(37),
]

SHAPE = (24, 24, 20)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
DIM, DATATYPE, PIXDIM, VOX_OFFSET, SLOPE, QFORM_CODE, SFORM_CODE, QOFFSET, SROW, MAGIC = (
    *(40, 70, 76, 108, 112, 252, 254, 268, 280, 344),
)  # byte offsets in the NIfTI-1 header
HEALTHY = [f"H{i:02d}" for i in range(8)]
PATIENTS = [f"P{i:02d}" for i in range(4)]


def _save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)


@pytest.fixture(scope="session")
def clean_cohort(tmp_path_factory) -> Path:
    """``demo`` with two folds and ``demo_tumour``, T1 and T2, in the papers' layout."""
    root = tmp_path_factory.mktemp("cohort")
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    mask = (sum(a**2 for a in axes) < 0.8).astype(np.uint8)
    for number, name in enumerate([*HEALTHY, *PATIENTS]):
        folder = root / ("Train/demo" if name in HEALTHY else "Test/demo_tumour")
        rng = np.random.default_rng(number)
        for contrast in ("t1", "t2"):
            image = (rng.uniform(50, 150, SHAPE) * mask).astype(np.float32)
            _save(folder / contrast / f"{name}_{contrast}.nii.gz", image)
        _save(folder / "mask" / f"{name}_mask.nii.gz", mask)
        if name in PATIENTS:
            seg = np.zeros(SHAPE, np.uint8)
            seg[8:14, 8:14, 6:10] = 1
            _save(folder / "seg" / f"{name}_seg.nii.gz", seg)
    make_splits(root, "demo", folds=2, test_fraction=0.25, val_fraction=0.25)
    make_splits(root, "demo_tumour", val_fraction=0.5)
    (root / "splits" / "splits.json").rename(root / "splits.json.kept")
    return root


def _healthy(root: Path, kind: str = "t1", number: int = 0) -> Path:
    """A file of a scan of train fold 0."""
    return root / f"Train/demo/{kind}/{_rows(root, 'demo_train_fold0')[number]['img_name'][:3]}_{kind}.nii.gz"


def _patient(root: Path, kind: str) -> Path:
    return root / f"Test/demo_tumour/{kind}/P00_{kind}.nii.gz"


def _rows(root: Path, name: str) -> list[dict[str, str]]:
    with (root / f"splits/{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _write_rows(root: Path, name: str, rows: list[dict[str, str]], header: str = "") -> Path:
    path = root / f"splits/{name}.csv"
    names = list(rows[0]) if rows else header.split(",")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def _in_row(name: str, **cells: str) -> Callable[[Path], Path]:
    def plant(root: Path) -> Path:
        rows = _rows(root, name)
        rows[0].update(cells)
        return _write_rows(root, name, rows)

    return plant


def _header(path: Path, offset: int, form: str, *values: float) -> Path:
    raw = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(form, raw, offset, *values)
    path.write_bytes(gzip.compress(bytes(raw), 1))
    return path


def _in_header(offset: int, form: str, *values: float) -> Callable[[Path], Path]:
    return lambda root: _header(_healthy(root), offset, form, *values)


def _voxels(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray = AFFINE) -> Path:
    _save(path, change(np.asarray(nib.load(path).dataobj)), affine)
    return path


def _with(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


def _bytes(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def _moved(mm: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] = mm
    return affine


def _copied_row(source: str, target: str, **cells: str) -> Callable[[Path], Path]:
    def plant(root: Path) -> Path:
        rows = _rows(root, target)
        return _write_rows(root, target, [*rows, {**_rows(root, source)[0], **cells}])

    return plant


def _copied_scan(change: Callable[[np.ndarray], np.ndarray], target: str) -> Callable[[Path], Path]:
    """The first scan of train fold 0 appears under the name H99 in another list."""

    def plant(root: Path) -> Path:
        source = _rows(root, "demo_train_fold0")[0]
        name = source["img_name"][:3]
        for kind in ("t1", "t2", "mask"):
            array = np.asarray(nib.load(root / f"Train/demo/{kind}/{name}_{kind}.nii.gz").dataobj)
            array = array if kind == "mask" else change(array)
            _save(root / f"Train/demo/{kind}/H99_{kind}.nii.gz", array)
        row = {key: value.replace(name, "H99") for key, value in source.items()}
        _write_rows(root, target, [*_rows(root, target), row])
        return root / "Train/demo/t1/H99_t1.nii.gz"

    return plant


def _lesion_in_healthy(root: Path) -> Path:
    path = root / "Train/demo/seg/lesion_seg.nii.gz"
    _save(path, _with(np.zeros(SHAPE, np.uint8), (10, 10, 10), 1))
    _in_row("demo_train_fold0", seg_path="/Train/demo/seg/lesion_seg.nii.gz")(root)
    return path


def _stamp(root: Path) -> Path:
    (root / "splits.json.kept").rename(root / "splits/splits.json")
    return _in_row("demo_val_fold1", age="77")(root)


def _second_session(root: Path) -> Path:
    rows = _rows(root, "demo_train_fold0")
    return _write_rows(root, "demo_train_fold0", [*rows, rows[0]])


def _text(name: str, change: Callable[[str], str], encoding: str = "utf-8") -> Callable[[Path], Path]:
    def plant(root: Path) -> Path:
        path = root / f"splits/{name}.csv"
        path.write_bytes(change(path.read_text()).encode(encoding))
        return path

    return plant


def _removed(root: Path, path: Path) -> Path:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return path


def _renamed(root: Path) -> Path:
    path = _healthy(root)
    path.write_bytes(gzip.decompress(path.read_bytes()))
    return path


def _mask_beside_the_brain(root: Path) -> Path:
    left = (np.arange(24) < 6).astype(np.float32)[:, None, None]
    right = (np.arange(24) > 10).astype(np.uint8)[:, None, None]
    _voxels(_healthy(root), lambda a: a * left)
    return _voxels(_healthy(root, "mask"), lambda a: a * right)


def _scaled_label(root: Path) -> Path:
    return _voxels(_patient(root, "seg"), lambda a: a.astype(np.float32) * 0.4)


FAULTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    # bytes
    "missing scan": ("missing-file", lambda r: _removed(r, _healthy(r))),
    "missing mask": ("missing-file", lambda r: _removed(r, _healthy(r, "mask"))),
    "missing segmentation": ("missing-file", lambda r: _removed(r, _patient(r, "seg"))),
    "missing second contrast of one scan": ("missing-file", lambda r: _removed(r, _healthy(r, "t2"))),
    "empty file": ("empty-file", lambda r: _bytes(_healthy(r), lambda b: b"")),
    "truncated gzip": ("damaged", lambda r: _bytes(_healthy(r), lambda b: b[: len(b) // 2])),
    "gzip without its checksum": ("damaged", lambda r: _bytes(_healthy(r), lambda b: b[:-8])),
    "gzip with a wrong checksum": ("damaged", lambda r: _bytes(_healthy(r), lambda b: b[:-8] + b"\0\0\0\1" + b[-4:])),
    "fewer voxels than announced": (
        "damaged",
        lambda r: _bytes(_healthy(r), lambda b: gzip.compress(gzip.decompress(b)[:-100])),
    ),
    "not zipped": ("wrong-ending", _renamed),
    "text in a zipped file": ("not-nifti", lambda r: _bytes(_healthy(r), lambda b: gzip.compress(b"hello " * 500))),
    "wrong magic": ("not-nifti", _in_header(MAGIC, "4s", b"nix\0")),
    "half of a pair": ("not-nifti", _in_header(MAGIC, "4s", b"ni1\0")),
    "bytes behind the voxels": (
        "surplus-bytes",
        lambda r: _bytes(_healthy(r), lambda b: gzip.compress(gzip.decompress(b) + b"\0" * 10_000)),
    ),
    # header
    "four dimensions": ("not-3d", lambda r: _voxels(_healthy(r), lambda a: np.stack([a, a], axis=-1))),
    "two dimensions": ("not-3d", lambda r: _voxels(_healthy(r), lambda a: a[:, :, :1])),
    "trailing dimension": ("trailing-dimensions", lambda r: _voxels(_healthy(r), lambda a: a[..., None])),
    "negative dimension": ("bad-dimensions", _in_header(DIM, "<4h", 3, -24, 24, 20)),
    "absurd size": ("too-large", _in_header(DIM, "<4h", 3, 24000, 28000, 20000)),
    "complex voxels": ("not-real", lambda r: _voxels(_healthy(r), lambda a: a.astype(np.complex64))),
    "colours": (
        "not-real",
        lambda r: _voxels(_healthy(r), lambda a: np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])),
    ),
    "unknown datatype": ("bad-datatype", _in_header(DATATYPE, "<h", 17)),
    "offset into the header": ("bad-header", _in_header(VOX_OFFSET, "<f", 12.0)),
    "infinite slope": ("bad-scaling", _in_header(SLOPE, "<f", np.inf)),
    "slope that is no number": ("scaling-assumed", _in_header(SLOPE, "<2f", np.nan, 0.0)),
    "spacing 0": ("bad-spacing", _in_header(PIXDIM + 4, "<f", 0.0)),
    "spacing NaN": ("bad-spacing", _in_header(PIXDIM + 4, "<f", np.nan)),
    "zero affine": ("bad-affine", _in_header(SROW, "<12f", *[0.0] * 12)),
    "singular affine": ("bad-affine", _in_header(SROW, "<12f", *[2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 2, 0])),
    "affine with NaN": ("bad-affine", _in_header(SROW, "<f", np.nan)),
    "forms with other orientation": ("forms-disagree", _in_header(SROW, "<f", -2.0)),
    "forms 0.05 mm apart": ("forms-differ", _in_header(QOFFSET, "<f", 0.05)),
    "no orientation": ("orientation-unknown", _in_header(QFORM_CODE, "<2h", 0, 0)),
    "slices of 5 mm": (
        "spacing-unexpected",
        lambda r: _voxels(_healthy(r), lambda a: a, np.diag([2.0, 2.0, 5.0, 1.0])),
    ),
    # voxels
    "one NaN": ("nan-voxels", lambda r: _voxels(_healthy(r), lambda a: _with(a, (3, 4, 5), np.nan))),
    "one infinite voxel": ("infinite-voxels", lambda r: _voxels(_healthy(r), lambda a: _with(a, (3, 4, 5), np.inf))),
    "constant scan": ("no-signal", lambda r: _voxels(_healthy(r), lambda a: a * 0 + 7)),
    # grids and labels
    "mask of another shape": ("grid-shape", lambda r: _voxels(_healthy(r, "mask"), lambda a: a[:-2])),
    "mask 1 mm away": ("grid-position", lambda r: _voxels(_healthy(r, "mask"), lambda a: a, _moved(1.0))),
    "segmentation of another shape": ("grid-shape", lambda r: _voxels(_patient(r, "seg"), lambda a: a[:, :-1])),
    "segmentation 0.2 mm away": ("grid-position", lambda r: _voxels(_patient(r, "seg"), lambda a: a, _moved(0.2))),
    "interpolated segmentation": ("label-values", _scaled_label),
    "negative label": (
        "label-values",
        lambda r: _voxels(_healthy(r, "mask"), lambda a: _with(a.astype(np.int16), (0, 0, 0), -1)),
    ),
    "several labels": ("label-merged", lambda r: _voxels(_patient(r, "seg"), lambda a: _with(a, (10, 10, 8), 4))),
    "empty mask": ("mask-empty", lambda r: _voxels(_healthy(r, "mask"), lambda a: a * 0)),
    "mask everywhere": ("mask-implausible", lambda r: _voxels(_healthy(r, "mask"), lambda a: a * 0 + 1)),
    "mask of one slice": (
        "mask-implausible",
        lambda r: _voxels(_healthy(r, "mask"), lambda a: a * (np.arange(20) == 10).astype(np.uint8)),
    ),
    "mask beside the brain": ("mask-elsewhere", lambda r: _mask_beside_the_brain(r)),
    "no mask in the list": ("mask-none", lambda r: (_in_row("demo_train_fold0", mask_path="")(r), _healthy(r))[1]),
    "empty ground truth": ("seg-empty", lambda r: _voxels(_patient(r, "seg"), lambda a: a * 0)),
    "lesion outside the brain": (
        "seg-outside-mask",
        lambda r: _voxels(_patient(r, "seg"), lambda a: _with(a * 0, (0, 0, 0), 1)),
    ),
    # lists
    "no training list": ("list-missing", lambda r: _without_lists(r)),
    "list in UTF-16": ("list-unreadable", _text("demo_val_fold0", lambda t: t, "utf-16")),
    "semicolons": ("list-columns", _text("demo_val_fold0", lambda t: t.replace(",", ";"))),
    "other column names": ("list-columns", _text("demo_val_fold0", lambda t: t.replace("mask_path", "mask"))),
    "changed after it was made": ("list-changed", _stamp),
    "empty list": (
        "list-empty",
        lambda r: _write_rows(r, "demo_tumour_val", [], "img_name,age,label,img_path,mask_path,seg_path"),
    ),
    "comma in a cell": ("row-cells", _text("demo_val_fold0", lambda t: t.rstrip("\n") + ",more\n")),
    "id with a path": ("row-id", _in_row("demo_val_fold0", img_name="../../x_t1.nii.gz")),
    "label 2": ("row-label", _in_row("demo_val_fold0", label="2")),
    "age as a date": ("row-age", _in_row("demo_val_fold0", age="12. May")),
    "path out of the root": ("row-path", _in_row("demo_val_fold0", mask_path="/../other/H00_mask.nii.gz")),
    "scan in no contrast folder": ("row-contrast", _in_row("demo_val_fold0", img_path="/Train/demo/scans/H00.nii.gz")),
    "patient without segmentation": ("row-no-seg", _in_row("demo_tumour_val", seg_path="")),
    # scans against each other
    "scan listed twice": ("duplicate-scan", _second_session),
    "two sessions": ("repeated-subject", lambda r: _two_sessions(r)),
    "training scan in the test list": ("leak-subject", _copied_row("demo_train_fold0", "demo_test")),
    "validation scan in training": ("leak-subject", _copied_row("demo_val_fold1", "demo_train_fold1")),
    "validation lists overlap": ("leak-subject", _copied_row("demo_val_fold0", "demo_val_fold1")),
    "patient in val and test": ("leak-subject", _copied_row("demo_tumour_val", "demo_tumour_test")),
    "same voxels in one list": ("same-voxels", _copied_scan(lambda a: a, "demo_train_fold0")),
    "same voxels in the test list": ("leak-voxels", _copied_scan(lambda a: a, "demo_test")),
    "rescaled copy in one list": (
        "similar-voxels",
        _copied_scan(lambda a: np.rint(a * 2.5).astype(np.int16), "demo_train_fold0"),
    ),
    "noisy copy in the test list": (
        "leak-voxels",
        _copied_scan(
            lambda a: (a + (a > 0) * np.random.default_rng(9).normal(0, 2, a.shape)).astype(np.float32), "demo_test"
        ),
    ),
    "label 1 in a healthy list": (
        "pathology-in-healthy",
        _in_row("demo_test", label="1", seg_path="/Test/demo_tumour/seg/P00_seg.nii.gz"),
    ),
    "lesion voxels in a healthy list": ("pathology-in-healthy", _lesion_in_healthy),
    "one training scan": (
        "too-few",
        lambda r: _write_rows(r, "demo_train_fold1", _rows(r, "demo_train_fold1")[:1]),
    ),
    "fold without validation": ("missing-fold", lambda r: _removed(r, r / "splits/demo_val_fold0.csv")),
}
WARNINGS = {
    *("trailing-dimensions", "scaling-assumed", "forms-differ", "orientation-unknown", "label-merged"),
    *("mask-implausible", "mask-elsewhere", "mask-none", "seg-empty", "seg-outside-mask", "repeated-subject"),
}
FOLLOW = {  # what one fault brings with it
    "orientation-unknown": {"grid-position"},
    "spacing-unexpected": {"grid-position"},
    "mask-elsewhere": {"mask-implausible"},
    "row-contrast": {"too-few"},
}


def _without_lists(root: Path) -> Path:
    for path in (root / "splits").glob("demo_tumour*"):
        path.unlink()
    return root / "splits/demo_tumour_val.csv"


def _two_sessions(root: Path) -> Path:
    """IXI knows sessions: the part of the id before the first dash is the person."""
    header = "img_name,age,label,img_path,mask_path,seg_path"
    rows = []
    for i, name in enumerate(("IXI001-A", "IXI001-B", "IXI002-A")):
        for kind in ("t1", "t2", "mask"):
            target = root / f"Train/ixi/{kind}/{name}_{kind}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / f"Train/demo/{kind}/H0{i}_{kind}.nii.gz", target)
            if kind != "mask":
                _voxels(target, lambda a, i=i: a[::-1] + i * (a[::-1] > 0))
        rows.append(f"{name}_t1.nii.gz,,0,/Train/ixi/t1/{name}_t1.nii.gz,/Train/ixi/mask/{name}_mask.nii.gz,")
    path = root / "splits/IXI_train_fold0.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    (root / "splits/IXI_val_fold0.csv").write_text("\n".join([header, rows[2]]) + "\n")
    path.write_text("\n".join([header, *rows[:2]]) + "\n")
    return path


def test_the_clean_cohort_has_no_finding(clean_cohort):
    checked = check(clean_cohort, cache=False)
    assert checked.faults == ()
    assert (checked.scans, checked.files) == (24, 40)


@pytest.mark.parametrize("name", FAULTS)
def test_every_planted_fault_is_found(clean_cohort, tmp_path, name):
    code, plant = FAULTS[name]
    root = tmp_path / "root"
    shutil.copytree(clean_cohort, root)
    file = plant(root).relative_to(root).as_posix()
    faults = check(root, cache=False).faults
    found = [f for f in faults if f.code == code]
    assert any(file in f.file for f in found), faults
    assert {f.code for f in faults} <= {code} | FOLLOW.get(code, set()), faults
    assert all((f.severity == "warning") == (code in WARNINGS) for f in found)
    assert all(f.what and f.why and f.remedy for f in found)


def test_many_faults_at_once_are_all_told(clean_cohort, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(clean_cohort, root)
    planted = ["one NaN", "mask 1 mm away", "interpolated segmentation", "label 2", "age as a date", "two sessions"]
    wanted = {(FAULTS[name][0], FAULTS[name][1](root).relative_to(root).as_posix()) for name in planted}
    faults = check(root).faults
    assert wanted <= {(f.code, f.file) for f in faults}
    assert json.loads(json.dumps([f.as_json() for f in faults]))


def test_a_whole_contrast_may_be_absent_unless_it_is_asked_for(clean_cohort, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(clean_cohort, root)
    shutil.rmtree(root / "Train/demo/t2")
    assert check(root, cache=False).faults == ()
    (found,) = check(root, ["demo"], "t2", cache=False).faults
    assert (found.code, found.file) == ("missing-contrast", "Train/demo/t2")

# SPDX-License-Identifier: Apache-2.0
import base64
import csv
import gzip
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from custom.cli.main import main
from custom.cohorts.datasets import get_dataset
from custom.cohorts.gate import CODES, Checked, check, checking, gate_splits, table
from custom.cohorts.gate.cache import CACHE_FILE, FileCache
from custom.cohorts.gate.fault import fault, ordered
from custom.cohorts.gate.fingerprint import GRID, SAME_SCAN, fingerprint, similar_pairs
from custom.cohorts.gate.inspect import inspect_file
from custom.cohorts.gate.lists import read_lists
from custom.cohorts.split_csv import read_split
from custom.core.errors import ConfigError, DataError
from custom.volumes.records import LIST_COLUMNS

pytestmark = [
    pytest.mark.fault(22),
    pytest.mark.fault(
        67,
        "read-only folders, no network",
        "the gate's cache moves to the user's folder; nothing is downloaded",
        "foreseen",
    ),
]

NAMES = ["IXI001-A", "IXI002-A", "IXI003-A"]


@pytest.fixture
def root(make_root) -> Path:
    return make_root(NAMES, ["IXI009-A"], ["patient01", "patient02"])


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Names of the files that were really read."""
    names: list[str] = []
    inspect = checking.inspect_file

    def noted(path, kind):
        names.append(path.name)
        return inspect(path, kind)

    monkeypatch.setattr(checking, "inspect_file", noted)
    return names


def _age_files(root: Path) -> None:
    """Make all files an hour old: a file younger than a tick of the clock is not remembered."""
    for path in root.rglob("*.nii.gz"):
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - 3600 * 10**9))


def test_only_changed_files_are_read_again(root, opened):
    _age_files(root)
    first = check(root, workers=2)
    assert len(opened) == first.files == 14
    assert first.from_cache == 0
    opened.clear()
    second = check(root)
    assert opened == []
    assert (second.faults, second.from_cache) == (first.faults, 14)
    path = root / "Train/ixi/t1/IXI002-A_t1.nii.gz"
    stat = path.stat()
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw)  # same size and time of change, other inode
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (root / "Train/ixi/t1/IXI001-A_t1.nii.gz").write_bytes(b"")
    third = check(root)
    assert set(opened) <= {"IXI001-A_t1.nii.gz", "IXI002-A_t1.nii.gz"}
    assert "IXI001-A_t1.nii.gz" in opened
    assert [f.code for f in third.errors] == ["empty-file"]


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"version": 1, "files": 3}', '{"version": 0, "files": {}}', "[" * 50_000]
)
def test_a_damaged_cache_is_ignored(root, damage):
    clean = check(root, cache=False)
    (root / CACHE_FILE).write_text(damage)
    _age_files(root)
    assert check(root).faults == clean.faults
    assert check(root).from_cache == 14


@settings(max_examples=30, deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    field=st.sampled_from(["state", "report", "faults", "shape", "affine", "box", "print", "nonzero"]),
)
def test_foreign_entries_in_the_cache_are_no_reports(tmp_path_factory, value, field):
    root = tmp_path_factory.mktemp("c")
    path = root / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4)), path)
    os.utime(path, (1, 1))
    cache = FileCache(root)
    cache.put(path, "image", inspect_file(path, "image"))
    cache.save()
    content = json.loads((root / CACHE_FILE).read_text())
    entry = content["files"]["image a.nii.gz"]
    (entry if field in entry else entry["report"])[field] = value
    (root / CACHE_FILE).write_text(json.dumps(content))
    report = FileCache(root).get(path, "image")
    assert report is None or len(report.shape) in (0, 3)


def test_without_a_writable_root_the_cache_lies_in_the_users_folder(root, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (root / CACHE_FILE).mkdir()  # no file can take this name
    _age_files(root)
    check(root)
    assert [p.suffix for p in (tmp_path / "home/uad-brain-mri").iterdir()] == [".json"]
    assert check(root).from_cache == 14


@pytest.mark.fault(113, "a process without a home folder", "works; nothing is remembered in it", "mended")
def test_without_a_home_folder_files_are_checked_all_the_same(root, monkeypatch):
    """A container's user id without a name and without HOME."""

    def nobody(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", nobody)
    _age_files(root)
    check(root)
    assert check(root).from_cache == 14


def test_a_run_is_stopped_with_the_names_of_the_cases(root):
    assert gate_splits(root, "ixi", "t1", 0, ("train", "val")) == []
    (root / "Train/ixi/mask/IXI002-A_mask.nii.gz").unlink()
    (root / "Train/ixi/t1/IXI003-A_t1.nii.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"2 faults(.|\n)*IXI002-A(.|\n)*IXI003-A(.|\n)*uad check"):
        gate_splits(root, "ixi", "t1", 0, ("train", "val"))
    assert check(root, ["ixi"], "t1", 0, ("train",), allow=("missing-file", "wrong-ending")).errors == ()
    assert gate_splits(root, "mslub", "t1", parts=("val",)) == []
    assert gate_splits(root, "ixi", "t1", 0, ("val",)) == []
    with pytest.raises(DataError, match=r"list-missing.*IXI_train_fold3.csv"):
        gate_splits(root, "ixi", "t1", 3, ("train",))
    with pytest.raises(DataError, match="missing-contrast"):
        gate_splits(root, "ixi", "t2", 0, ("train",))


def test_a_leak_stops_a_run_also_if_the_other_part_is_not_read(root):
    text = (root / "splits/IXI_val_fold0.csv").read_text() + (
        root / "splits/IXI_train_fold0.csv"
    ).read_text().splitlines()[1]
    (root / "splits/IXI_val_fold0.csv").write_text(text + "\n")
    with pytest.raises(DataError, match=r"leak-subject: IXI001"):
        gate_splits(root, "ixi", "t1", 0, ("train",))


def test_questions_that_cannot_be_answered(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        check(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no known data set"):
        check(tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'ixi'"):
        check(tmp_path, ["ixii"])
    with pytest.raises(ConfigError, match="no fault is called nan"):
        check(tmp_path, allow=("nan",))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits_the_terminal_and_loses_nothing(width):
    long = fault(
        "row-path", "img_path '../../x' leaves " + "y" * 50, "ixi", "train fold 0", "IXI1", "splits/" + "z" * 60
    )
    evil = fault("row-id", "the case id '\x1b[31mred\x07' is not allowed", "ixi", "val", "", "splits/a.csv")
    text = table(Checked(tuple(ordered([long, evil])), 1, 2, 3, 4), width)
    assert max(map(len, text.splitlines())) <= width
    letters = "".join(text.split())
    assert letters.count("y") >= 50
    assert letters.count("z") >= 60
    assert "\x1b" not in text
    assert "\x07" not in text
    assert CODES["row-id"].remedy.split()[0] in text
    assert "2 errors, 0 warnings" in " ".join(text.split())


def test_command_line(root, repository, tmp_path, monkeypatch, capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        return main(["check", *arguments]), *capsys.readouterr()

    command = [sys.executable, "scripts/check_data.py", str(root), "--contrast", "t1"]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    assert subprocess.run(command, cwd=repository, env=environment, capture_output=True, check=False).returncode == 0
    image = root / "Test/MSLUB/t1/patient02_t1.nii.gz"
    image.write_bytes(image.read_bytes()[:99])
    json_file = tmp_path / "faults.json"
    code, out, _ = run(str(root), "--json", str(json_file), "--workers", "2", "--no-cache")
    assert code == 4
    assert "Test/MSLUB/t1" in out
    (found,) = json.loads(json_file.read_text())["faults"]
    assert (found["code"], found["case"]) == ("damaged", "patient02")
    assert {"what", "why", "remedy", "file", "severity", "dataset", "split"} <= set(found)
    assert run(str(root), "--allow", "damaged")[0] == 0
    code, _, error = run(str(root), "--datasets", "mslup")
    assert (code, error.count("\n")) == (2, 1)
    monkeypatch.setenv("UAD_DEBUG", "1")
    assert "Traceback" in run(str(root), "--datasets", "mslup")[2]


def _picture(array: np.ndarray) -> str:
    array = np.asarray(array, np.float32)
    there = np.argwhere(array != 0)
    box = tuple(zip(there.min(0).tolist(), there.max(0).tolist(), strict=True))
    return fingerprint(array, array != 0, box)


def _person(seed: int) -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (48, 56, 40)], indexing="ij")
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, (48, 56, 40)), 2)
    brain = 1 - 0.5 * sum(a**2 for a in axes)
    return np.where(sum(a**2 for a in axes) < 0.9, 100 * brain + 200 * field, 0)


def test_the_coarse_picture_knows_a_scan_again_and_tells_persons_apart():
    scan = _person(0)
    rng = np.random.default_rng(5)
    copies = {
        "rescaled": scan * 3.1,
        "rounded": np.rint(scan),
        "padded": np.pad(scan, 7),
        "noisy": np.where(scan, scan + rng.normal(0, 3, scan.shape), 0),
        "smooth": ndimage.gaussian_filter(scan, 0.6) * (scan != 0),
    }
    for name, copy in copies.items():
        assert list(similar_pairs([_picture(scan), _picture(copy)])), name
    persons = [_picture(_person(seed)) for seed in range(8)]
    assert not list(similar_pairs(persons))
    assert list(similar_pairs(["", "AAAA"])) == []
    assert 0 < SAME_SCAN < 1


def test_block_means_against_a_plain_loop():
    array = np.random.default_rng(1).uniform(1, 2, (20, 33, 16)).astype(np.float32)
    edges = [[i * n // GRID for i in range(GRID)] + [n] for n in array.shape]
    expected = np.array(
        [
            array[edges[0][i] : edges[0][i + 1], edges[1][j] : edges[1][j + 1], edges[2][k] : edges[2][k + 1]].mean()
            for i in range(GRID)
            for j in range(GRID)
            for k in range(GRID)
        ]
    )
    expected = (expected - expected.mean()) / expected.std()
    codes = np.frombuffer(base64.b64decode(_picture(array)), np.int8)
    np.testing.assert_allclose(codes, np.clip(expected / 4, -1, 1) * 127, atol=0.51)


def test_the_report_of_a_file_equals_what_nibabel_reads(tmp_path):
    array = np.zeros((8, 9, 10), np.int16)
    array[2:5, 3:7, 4:6] = np.arange(24).reshape(3, 4, 2) + 1
    affine = np.array([[-2.0, 0, 0, 30], [0, 0, 2, -20], [0, 2, 0, 5], [0, 0, 0, 1]])  # stored as L S A
    nib.save(nib.Nifti1Image(array, affine), tmp_path / "a.nii.gz")
    report = inspect_file(tmp_path / "a.nii.gz", "image")
    ras = nib.as_closest_canonical(nib.load(tmp_path / "a.nii.gz"))
    assert report.faults == ()
    assert report.shape == ras.shape
    np.testing.assert_allclose(report.affine, ras.affine)
    there = np.argwhere(np.asarray(ras.dataobj) != 0)
    assert report.box == tuple(zip(there.min(0).tolist(), there.max(0).tolist(), strict=True))
    assert report.nonzero == pytest.approx(24 / 720)
    assert report.sha256 == hashlib.sha256((tmp_path / "a.nii.gz").read_bytes()).hexdigest()


def test_a_gzip_bomb_is_unpacked_to_the_size_of_its_header_only(tmp_path):
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.eye(4)), tmp_path / "a.nii")
    bomb = tmp_path / "bomb.nii.gz"
    with gzip.open(bomb, "wb") as file:
        file.write((tmp_path / "a.nii").read_bytes())
        for _ in range(300):
            file.write(bytes(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = inspect_file(bomb, "image")
    assert [code for code, _ in report.faults] == ["surplus-bytes"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


_CELLS = st.sampled_from(
    [
        *(
            "",
            "0",
            "1",
            "0.0",
            "2",
            "nan",
            "inf",
            "-1",
            "44.5",
            "12. May",
            "a,b",
            '"',
            "x" * 300,
            "IXI1_t1.nii.gz",
            "..",
            "../x",
        ),
        *(
            "/Train/ixi/t1/IXI1_t1.nii.gz",
            "Train\\ixi\\t1\\IXI1_t1.nii.gz",
            "/a/../b",
            "C:/x/t1/y_t1.nii.gz",
            "/Train/IXI1.nii",
        ),
    ]
)


@given(rows=st.lists(st.fixed_dictionaries(dict.fromkeys(LIST_COLUMNS, _CELLS)), max_size=4))
def test_a_list_is_read_if_and_only_if_it_has_no_fault(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("lists")
    (root / "splits").mkdir()
    path = root / "splits/IXI_test.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, LIST_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    declaration = get_dataset("ixi", ".")
    (read,) = read_lists(root, declaration)
    found = read.as_split(root, declaration, "t1").records
    if read.faults:
        first = re.match(r"line \d+:", read.faults[0].what)[0]
        with pytest.raises(DataError, match=first) as caught:
            read_split(path, root, "t1", declaration, check_files=False)
        assert caught.value.code == read.faults[0].code
    else:
        assert list(found) == read_split(path, root, "t1", declaration, check_files=False)

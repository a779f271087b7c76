# SPDX-License-Identifier: Apache-2.0
"""A scan through the whole prediction: opened once, and the same result on any background of one value."""

import gzip
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from custom.prediction.predictor import predict_batch
from label.phantoms import write_marker_model, write_phantoms

_OPENED: list[str] = []
_WATCHING: list[bool] = []


def _hook(event: str, arguments: tuple) -> None:
    if _WATCHING and event == "open":
        _OPENED.append(str(arguments[0]))


sys.addaudithook(_hook)  # hooks cannot be taken out again; this one sleeps outside of the test


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return write_marker_model(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("phantoms"))["oblique"]


def test_a_scan_is_opened_once(run, phantom, tmp_path) -> None:
    scan = tmp_path / "patient07.nii.gz"
    scan.write_bytes(phantom.read_bytes())
    _OPENED.clear()
    _WATCHING.append(True)
    try:
        (record,) = predict_batch(run, scan, tmp_path / "out", report=False)
    finally:
        _WATCHING.clear()
    assert record["status"] == "done"
    assert _OPENED.count(str(scan)) == 1


def test_the_background_changes_nothing(run, phantom, tmp_path) -> None:
    image = nib.load(phantom)
    array = np.asarray(image.dataobj, dtype=np.float32)
    scans = tmp_path / "scans"
    scans.mkdir()
    for name, values in {
        "base": array,
        "minus": np.where(array > 0, array, -1),
        "offset": array + 12,
        "noise": array + np.random.default_rng(0).uniform(0, 1e-7, array.shape).astype(np.float32),
        "zscore": (array - array.mean()) / array.std(),
    }.items():
        nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), scans / f"{name}.nii.gz")
    records = predict_batch(run, scans, tmp_path / "out", report=False)
    assert {r["status"] for r in records} == {"done"}
    volumes = [r["AnomalyVolumeMl"] for r in records]
    assert volumes[0] > 0
    assert max(volumes) - min(volumes) < 0.01 * volumes[0]


def test_what_is_no_scan_is_said_and_the_others_go_on(run, phantom, tmp_path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    good = phantom.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 16
    image = nib.load(phantom)
    array = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image((array > 0).astype(np.uint8), image.affine), scans / "binary.nii.gz")
    for name, content in {
        "SCAN.NII.GZ": good,
        "flipped.nii.gz": bytes(flipped),
        "lfs.nii.gz": b"version https://git-lfs.github.com/spec/v1\n",
        "page.nii.gz": b"<!DOCTYPE html><html>Google Drive</html>",
        "more.nii.gz": good + b"more",
        "large.nii.gz": gzip.compress(gzip.decompress(good) + bytes(9)),
    }.items():
        (scans / name).write_bytes(content)
    records = {r["case_id"]: r for r in predict_batch(run, scans, tmp_path / "out", report=False)}
    assert records.pop("sub-SCAN")["status"] == "done"
    words = {
        "binary": "looks like a mask", "flipped": "damaged", "lfs": "git lfs pull", "page": "is a web page",
        "more": "goes on behind", "large": "goes on behind",
    }  # fmt: skip
    assert {case.removeprefix("sub-") for case in records} == set(words)
    for case, record in records.items():
        assert words[case.removeprefix("sub-")] in record["error"]

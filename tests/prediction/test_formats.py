# SPDX-License-Identifier: Apache-2.0
"""One phantom as NIfTI, NRRD, MetaImage and DICOM series through the batch: the marker stays where it is in all of them."""

import io
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from custom.prediction.predictor import predict_batch
from custom.volumes.itk_images import write_with_itk
from custom.volumes.read import read_stored
from label.phantoms import MARKER_MM, RADIUS_MM, write_marker_model, write_phantoms


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A model whose score is the brightness of the scan."""
    return write_marker_model(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """Oblique NIfTI scan."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms"))["oblique"]


def assert_on_the_marker(array: np.ndarray, affine: np.ndarray) -> None:
    world = np.argwhere(array > 0) @ affine[:3, :3].T + affine[:3, 3]
    assert np.linalg.norm(world.mean(axis=0) - MARKER_MM) < 1  # half a voxel of the model
    assert world[:, 0].max() < 0
    volume = len(world) * abs(np.linalg.det(affine[:3, :3]))
    assert volume == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3, rel=0.25)


def test_nrrd_and_metaimage_come_back_in_their_own_format(run, phantom, tmp_path) -> None:
    image = nib.load(phantom)
    for ending in ("nrrd", "mha"):
        write_with_itk(tmp_path / f"scans.{ending}", np.asarray(image.dataobj, dtype=np.float32), image.affine)
        scan, out = tmp_path / f"scans.{ending}", tmp_path / f"out_{ending}"
        predict_batch(run, scan, out, output_format="source", report=False)
        mask = nib.load(next(out.rglob("*_desc-anomaly_mask.nii.gz")))
        copy = read_stored(next(out.rglob(f"*_desc-anomaly_mask.{ending}")), "copy")
        assert np.array_equal(copy.array, np.asarray(mask.dataobj))
        for affine in (copy.affine, mask.affine):
            assert np.allclose(affine, image.affine, atol=1e-4)
        assert_on_the_marker(copy.array, copy.affine)


def test_dicom_folder_with_dicom_results(run, phantom, write_series, tmp_path, monkeypatch) -> None:
    """Two series in a folder, one of them broken; the bar on a terminal tells time and memory."""
    highdicom = pytest.importorskip("highdicom", reason="the extra [dicom] is not installed")
    image = nib.load(phantom)
    array = np.asarray(image.dataobj)
    write_series(tmp_path / "scans" / "one", array, image.affine)
    write_series(tmp_path / "scans" / "two", array[:, :, :12], image.affine, skip=(5,))
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    records = predict_batch(run, tmp_path / "scans", tmp_path / "out", output_format="dicom", report=False)
    assert [record["status"] for record in records] == ["done", "failed"]
    assert "slices are missing" in records[1]["error"]
    assert "2/2" in terminal.getvalue()
    assert "s/scan" in terminal.getvalue() or "scan/s" in terminal.getvalue()
    assert "GiB" in terminal.getvalue()
    folder = tmp_path / "out/sub-one/anat"
    mask = nib.load(folder / "sub-one_desc-anomaly_mask.nii.gz")
    assert_on_the_marker(np.asarray(mask.dataobj), mask.affine)
    segmentation = highdicom.seg.segread(folder / "sub-one_desc-anomaly_mask.dcm")
    assert segmentation.pixel_array.sum() == np.asarray(mask.dataobj).sum()
    assert (folder / "sub-one_desc-anomaly_map.dcm").is_file()
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "out").rglob("*.json")]
    assert not any("Secret" in text or str(tmp_path) in text for text in texts)
    assert json.loads((tmp_path / "out/summary.json").read_text())["cases"][0]["Notes"] == []

# SPDX-License-Identifier: Apache-2.0
"""Every format gives the same voxels at the same place; oracles are nibabel, pydicom and the known affine."""

import nibabel as nib
import numpy as np
import pytest

from custom.core.errors import DataError
from custom.volumes.itk_images import write_with_itk
from custom.volumes.read import read_label, read_scan
from custom.volumes.resampling import to_closest_ras

pytestmark = [
    pytest.mark.fault(64, "mixed or gappy DICOM series", "refused", "foreseen"),
]

OBLIQUE = np.array([[-3.8, 0.4, 0.6, 80.0], [0.5, 3.9, -0.4, -100.0], [-0.55, 0.42, 3.95, -60.0], [0, 0, 0, 1]])
OBLIQUE[:3, :3] = np.linalg.svd(OBLIQUE[:3, :3])[0] @ np.linalg.svd(OBLIQUE[:3, :3])[2] @ np.diag([4.0, 4.0, 4.5])


@pytest.mark.parametrize(
    "affine", [np.diag([-4.0, 4, 4, 1]), np.eye(4)[[2, 0, 1, 3]] * 4, OBLIQUE], ids=["LAS", "SRA", "oblique"]
)
def test_nifti_keeps_its_own_order(tmp_path, brain, affine) -> None:
    affine = affine.copy()
    affine[3, 3] = 1
    nib.save(nib.Nifti1Image(brain, affine), tmp_path / "a.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz", "a")
    assert np.array_equal(scan.array, brain)
    assert np.allclose(scan.affine, affine, atol=1e-4)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_itk_formats(tmp_path, brain, ending) -> None:
    write_with_itk(tmp_path / f"a{ending}", brain, OBLIQUE)
    scan = read_scan(tmp_path / f"a{ending}", "a")
    assert scan.kind == "itk"
    assert np.array_equal(scan.array, brain)
    assert np.allclose(scan.affine, OBLIQUE, atol=1e-4)


@pytest.mark.parametrize("upwards", [True, False])
def test_dicom_series(tmp_path, brain, write_series, upwards) -> None:
    """Slices are stacked along the normal of the image plane, whatever order they were made in."""
    affine = OBLIQUE.copy()
    affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1]) / 16 * (4.5 if upwards else -4.5)
    write_series(tmp_path / "series", brain, affine)
    scan = read_scan(tmp_path / "series", "a")
    assert scan.kind == "dicom"
    assert len(scan.files) == brain.shape[2]
    found, expected = to_closest_ras(scan.array, scan.affine), to_closest_ras(brain.round(), affine)
    assert np.array_equal(found[0], expected[0])
    assert np.allclose(found[1], expected[1], atol=1e-3)


def test_dicom_with_a_missing_slice_is_refused(tmp_path, brain, write_series) -> None:
    write_series(tmp_path / "series", brain[:, :, :12], np.diag([4.0, 4, 5, 1]), skip=(5,))
    with pytest.raises(DataError, match="10 mm apart, the others 5 mm"):
        read_scan(tmp_path / "series", "a")


def test_two_dicom_series_in_a_folder_are_refused(tmp_path, brain, write_series) -> None:
    for _ in range(2):
        write_series(tmp_path / "series", brain[:, :, :4], np.diag([4.0, 4, 5, 1]))
    with pytest.raises(DataError, match="2 series"):
        read_scan(tmp_path / "series", "a")


def test_mask_follows_the_scan(tmp_path, brain) -> None:
    nib.save(nib.Nifti1Image(brain, OBLIQUE), tmp_path / "a.nii.gz")
    nib.save(nib.Nifti1Image((brain > 0).astype(np.uint8), OBLIQUE), tmp_path / "a_mask.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz", "a")
    assert np.array_equal(read_label(tmp_path / "a_mask.nii.gz", scan, "a").array, brain > 0)
    moved = OBLIQUE.copy()
    moved[0, 3] += 3
    nib.save(nib.Nifti1Image((brain > 0).astype(np.uint8), moved), tmp_path / "b.nii.gz")
    with pytest.raises(DataError, match="mm away from the image"):
        read_label(tmp_path / "b.nii.gz", scan, "a")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_text_instead_of_a_scan(tmp_path, name) -> None:
    (tmp_path / name).write_text("this is not a scan")
    with pytest.raises(DataError, match=r"^case: "):
        read_scan(tmp_path / name, "case")


def test_nan_in_nrrd(tmp_path, brain) -> None:
    spoilt = brain.copy()
    spoilt[1, 2, 3] = np.nan
    write_with_itk(tmp_path / "a.nrrd", spoilt, np.eye(4))
    with pytest.raises(DataError, match="1 NaN"):
        read_scan(tmp_path / "a.nrrd", "a")

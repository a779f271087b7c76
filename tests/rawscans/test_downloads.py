# SPDX-License-Identifier: Apache-2.0
"""The five public data sets, generated with the names and folders that they are downloaded with."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from custom.cohorts.datasets import DATASETS
from custom.core.errors import ConfigError, DataError
from custom.rawscans.batch import _relabelled
from custom.rawscans.downloads import find_download

TREES = {
    "ixi": [
        "T1/IXI002-Guys-0828-T1.nii.gz",
        "T2/IXI002-Guys-0828-T2.nii.gz",
        "IXI014-HH-1236-T1.nii.gz",
        "strange.nii.gz",
    ],
    "brats21": [
        *(
            f"BraTS2021_Training_Data/BraTS2021_00000/BraTS2021_00000_{k}.nii.gz"
            for k in ("t1", "t1ce", "t2", "flair", "seg")
        ),
        "BraTS2021_00009/BraTS2021_00009_t1.nii.gz",
        *(f"GLI/BraTS-GLI-00002-001/BraTS-GLI-00002-001-{k}.nii.gz" for k in ("t1n", "t1c", "t2w", "t2f", "seg")),
    ],
    "mslub": [
        *(f"patient01/patient01_{k}.nii.gz" for k in ("T1W", "T2W", "FLAIR", "brainmask", "consensus_gt")),
        "patient01/raw/patient01_T1W.nii.gz",
    ],
    "atlas_v2": [
        *(
            f"ATLAS_2/Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_{k}.nii.gz"
            for k in ("T1w", "label-L_desc-T1lesion_mask")
        ),
        "ATLAS_2/Testing/R015/sub-r015s001/ses-1/anat/sub-r015s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz",
    ],
    "wmh": [
        *(f"training/Amsterdam/GE3T/100/{k}.nii.gz" for k in ("pre/T1", "pre/FLAIR", "orig/3DT1", "orig/FLAIR", "wmh")),
        *(f"test/Amsterdam/Philips_VU .PETMR_01./7/{k}.nii.gz" for k in ("pre/T1", "pre/FLAIR", "wmh")),
    ],
}
EXPECTED = {
    "ixi": {"sub-IXI002Guys0828": None, "sub-IXI014HH1236": None},
    "brats21": {
        "sub-BraTS202100000": "BraTS2021_00000_seg.nii.gz",
        "sub-BraTS202100009": None,
        "sub-BraTSGLI00002_ses-001": "BraTS-GLI-00002-001-seg.nii.gz",
    },
    "mslub": {"sub-patient01": "patient01_consensus_gt.nii.gz"},
    "atlas_v2": {"sub-r001s001_ses-1": "sub-r001s001_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask.nii.gz"},
    "wmh": {"sub-AmsterdamGE3T100": "wmh.nii.gz", "sub-AmsterdamPhilipsVUPETMR017": "wmh.nii.gz"},
}


@pytest.fixture(params=sorted(TREES))
def tree(request, tmp_path) -> tuple[str, Path]:
    for name in TREES[request.param]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return request.param, tmp_path


def test_scans_and_their_lesions(tree) -> None:
    name, root = tree
    found = find_download(name, root, "t1")
    assert {scan.case_id: scan.seg.name if scan.seg else None for scan in found.scans} == EXPECTED[name]
    assert [path.name for path in found.unknown] == (["strange.nii.gz"] if name == "ixi" else [])
    for scan in found.scans:
        assert "raw" not in scan.image.parts
        assert "orig" not in scan.image.parts


def test_nothing_is_guessed(tree) -> None:
    name, root = tree
    with pytest.raises(DataError, match="no SWI scan"):
        find_download(name, root, "swi")


def test_two_times_of_a_patient_are_one_subject(tmp_path) -> None:
    subject_of = DATASETS["brats21"].subject_of
    for case in ("BraTS-GLI-00002-000", "BraTS-GLI-00002-001"):
        (tmp_path / case).mkdir()
        (tmp_path / case / f"{case}-t2w.nii.gz").touch()
    scans = find_download("brats21", tmp_path, "t2").scans
    assert [scan.case_id for scan in scans] == ["sub-BraTSGLI00002_ses-000", "sub-BraTSGLI00002_ses-001"]
    assert {subject_of(scan.case_id) for scan in scans} == {"sub-BraTSGLI00002"}
    assert subject_of("BraTS2021_00002") == "BraTS2021_00002"


def test_unknown_set() -> None:
    with pytest.raises(ConfigError, match="oasis"):
        find_download("oasis", Path(), "t1")


def test_other_pathology_of_wmh_is_no_lesion(tmp_path) -> None:
    case = tmp_path / "training" / "Utrecht" / "0"
    (case / "pre").mkdir(parents=True)
    labels = np.zeros((6, 6, 6), dtype=np.uint8)
    labels[1], labels[3] = 1, 2
    for path in (case / "wmh.nii.gz", case / "pre" / "T1.nii.gz"):
        nib.Nifti1Image(labels, np.eye(4)).to_filename(path)
    (scan,) = find_download("wmh", tmp_path, "t1").scans
    assert np.array_equal(_relabelled(scan, labels > 0), labels == 1)


def test_two_files_of_one_name_are_refused_and_named(tmp_path) -> None:
    for name in ("T1/IXI002-Guys-0828-T1.nii.gz", "copy/IXI002-Guys-0828-T1.nii"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="same scan by their names") as raised:
        find_download("ixi", tmp_path, "t1")
    assert "copy/IXI002-Guys-0828-T1.nii" in str(raised.value)

# SPDX-License-Identifier: Apache-2.0
"""The scanner that a scan states: from BIDS' JSON file, which may hold anything."""

import json

import pytest

from custom.volumes.scanner import same_scanner, scanner_of_dicom, scanner_of_sidecar


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"Manufacturer": " GE\n", "ManufacturersModelName": "Discovery", "MagneticFieldStrength": 1.5}, "GE Discovery 1.5 T"),
        ({"Manufacturer": "GE", "MagneticFieldStrength": "strong"}, "GE"),
        ({"Manufacturer": ["GE"]}, ""),
        ({"MagneticFieldStrength": 3}, ""),
        ({"Manufacturer": "\x1b[31mGE"}, "[31mGE"),
        ([1, 2], ""),
    ],
)  # fmt: skip
def test_sidecar(tmp_path, said, name) -> None:
    (tmp_path / "sub-1_T1w.json").write_text(json.dumps(said))
    assert scanner_of_sidecar(tmp_path / "sub-1_T1w.nii.gz") == name


def test_no_sidecar_and_broken_ones(tmp_path) -> None:
    assert scanner_of_sidecar(tmp_path / "x.nii") == ""
    (tmp_path / "x.json").write_bytes(b"\xff\x00{")
    assert scanner_of_sidecar(tmp_path / "x.nii") == ""
    (tmp_path / "x.json").write_text("[" * 100_000)
    assert scanner_of_sidecar(tmp_path / "x.nii") == ""


def test_dicom_tags() -> None:
    assert scanner_of_dicom({"0008|0070": "SIEMENS", "0008|1090": "Skyra", "0018|0087": "3"}) == "SIEMENS Skyra 3 T"
    assert same_scanner("SIEMENS Skyra 3 T", "siemens_skyra 3T")
    assert not same_scanner("SIEMENS Skyra 3 T", "SIEMENS Prisma 3 T")

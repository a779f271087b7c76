# SPDX-License-Identifier: Apache-2.0
"""MSLUB: multiple sclerosis, consensus of three raters."""

from .base import DatasetDeclaration, counts, patient_files

DECLARATIONS = (
    DatasetDeclaration(
        name="mslub",
        title="MSLUB",
        citation="Lesjak et al., A novel public MR image dataset of multiple sclerosis patients with lesion "
        "segmentations based on multi-rater consensus, Neuroinformatics 2018, doi:10.1007/s12021-017-9348-7",
        licence="CC BY",
        contrasts=("t1", "t2"),
        healthy=False,
        folder="Test/MSLUB",
        split_files=patient_files("MSLUB"),
        expected_counts=counts(val=10, test=20),
        subject_pattern=r"(patient\d+)",
        how_to_get="https://lit.fe.uni-lj.si/en/research/resources/3D-MR-MS/",
        notes=(
            "The threshold comes from 10 and the result from 20 scans: the spread over folds is much smaller than the "
            "spread over subjects.",
        ),
    ),
)

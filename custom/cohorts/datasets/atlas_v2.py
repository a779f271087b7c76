# SPDX-License-Identifier: Apache-2.0
"""ATLAS v2.0: chronic stroke, T1 only."""

from .base import DatasetDeclaration, counts, patient_files

DECLARATIONS = (
    DatasetDeclaration(
        name="atlas_v2",
        title="ATLAS v2.0",
        citation="Liew et al., A large, curated, open-source stroke neuroimaging dataset, Scientific Data 2022, "
        "doi:10.1038/s41597-022-01401-7",
        licence="ATLAS data use agreement (INDI); encrypted archive",
        contrasts=("t1",),
        healthy=False,
        folder="Test/ATLAS_v2",
        split_files=patient_files("ATLAS_v2"),
        expected_counts=counts(val=175, test=480),
        subject_pattern=r"(sub-[A-Za-z0-9]+)",
        how_to_get="https://fcon_1000.projects.nitrc.org/indi/retro/atlas.html",
        notes=(
            "The papers name 175 and 480 scans; lists of 66 and 589 circulate with the released code (same 655 scans).",
            "Some lesions have 3 to 12 voxels and some lie below the 100 mm slab: their ground truth can be empty on "
            "the working grid.",
        ),
    ),
)

# SPDX-License-Identifier: Apache-2.0
"""WMH challenge: white matter hyperintensities of presumed vascular origin, three scanners."""

from .base import DatasetDeclaration, counts, patient_files

DECLARATIONS = (
    DatasetDeclaration(
        name="wmh",
        title="WMH challenge",
        citation="Kuijf et al., Standardized assessment of automatic segmentation of white matter hyperintensities, "
        "IEEE TMI 2019, doi:10.1109/TMI.2019.2905770",
        licence="CC BY-NC 4.0",
        contrasts=("t1",),
        healthy=False,
        folder="Test/WMH",
        split_files=patient_files("WMH"),
        expected_counts=counts(val=15, test=45),
        how_to_get="https://doi.org/10.34894/AECRSD",
        notes=(
            "Label 2 of the original segmentation is other pathology; every label above 0 counts as lesion here, so "
            "remove label 2 beforehand if it shall not.",
            "The challenge has T1 and FLAIR, no T2.",
        ),
    ),
)

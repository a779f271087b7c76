# SPDX-License-Identifier: Apache-2.0
"""BraTS 2021: pre-operative gliomas; the sub-regions of the segmentation count as one lesion."""

from .base import DatasetDeclaration, counts, patient_files

DECLARATIONS = (
    DatasetDeclaration(
        name="brats21",
        title="BraTS 2021",
        citation="Baid et al., The RSNA-ASNR-MICCAI BraTS 2021 Benchmark, arXiv:2107.02314",
        licence="terms of the RSNA-ASNR-MICCAI challenge (registration at Synapse)",
        contrasts=("t1", "t2"),
        healthy=False,
        folder="Test/Brats21",
        split_files=patient_files("Brats21"),
        expected_counts=counts(val=100, test=1151),
        subject_pattern=r"(BraTS2021_\d+|sub-[A-Za-z0-9]+)",
        how_to_get="register for the BraTS 2021 challenge data at https://www.synapse.org",
        notes=("The papers use T2 (and T1 in the supplement); labels 1, 2 and 4 are merged into one lesion mask.",),
    ),
)

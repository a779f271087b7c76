# SPDX-License-Identifier: Apache-2.0
"""TCGA-LGG: lower grade gliomas, masks fused from several networks; a small extra test set, not in the papers."""

from .base import DatasetDeclaration, patient_files

DECLARATIONS = (
    DatasetDeclaration(
        name="tcga_lgg",
        title="TCGA-LGG",
        citation="Pedano et al., TCGA-LGG, The Cancer Imaging Archive 2016, doi:10.7937/K9/TCIA.2016.L4LTD3TK",
        licence="CC BY 3.0",
        contrasts=("t1", "t2"),
        healthy=False,
        folder="Test/TCGA_LGG",
        split_files=patient_files("TCGA_LGG"),
        how_to_get="https://www.cancerimagingarchive.net/collection/tcga-lgg/",
        notes=("Segmentations made by fused networks (Kofler et al. 2020) are no expert consensus.",),
    ),
)

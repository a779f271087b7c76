# SPDX-License-Identifier: Apache-2.0
"""The public data sets of the papers, and TCGA-LGG."""

from .base import DatasetDeclaration, cross_validation_files, patient_files

DECLARATIONS = (
    # Healthy adults from three London hospitals: training, healthy validation and healthy test of the papers. The split
    # lists that circulate with the papers hold 25 subjects twice (two demographic rows): duplicates in train, 7 to 9
    # subjects both in train and test, validation lists that overlap between folds; `uad splits` makes clean ones. The
    # papers name 358 training scans; the circulating lists have 387 rows for 374 to 377 subjects.
    DatasetDeclaration(
        name="ixi",
        title="IXI",
        citation="IXI dataset, https://brain-development.org/ixi-dataset/",
        licence="CC BY-SA 3.0",
        contrasts=("t1", "t2"),
        healthy=True,
        folder="Train/ixi",
        split_files=cross_validation_files("IXI"),
        expected_counts={"train": 358, "val": 44, "test": 158},
        subject_pattern=r"(IXI\d+)",
        known_missing_t2=frozenset({"IXI116", "IXI182", "IXI309", "IXI500"}),
        how_to_get="download T1, T2 and the demographics from https://brain-development.org/ixi-dataset/",
    ),
    # Pre-operative gliomas. The papers use T2 (and T1 in the supplement); labels 1, 2 and 4 are merged into one lesion.
    DatasetDeclaration(
        name="brats21",
        title="BraTS 2021",
        citation="Baid et al., The RSNA-ASNR-MICCAI BraTS 2021 Benchmark, arXiv:2107.02314",
        licence="terms of the RSNA-ASNR-MICCAI challenge (registration at Synapse)",
        contrasts=("t1", "t2", "flair"),
        healthy=False,
        folder="Test/Brats21",
        split_files=patient_files("Brats21"),
        expected_counts={"val": 100, "test": 1151},
        subject_pattern=r"(BraTS2021_\d+|sub-[A-Za-z0-9]+)",
        how_to_get="register for the BraTS 2021 challenge data at https://www.synapse.org",
    ),
    # Multiple sclerosis, consensus of three raters. The threshold comes from 10 and the result from 20 scans: the spread
    # over folds is much smaller than the spread over subjects.
    DatasetDeclaration(
        name="mslub",
        title="MSLUB",
        citation="Lesjak et al., A novel public MR image dataset of multiple sclerosis patients with lesion "
        "segmentations based on multi-rater consensus, Neuroinformatics 2018, doi:10.1007/s12021-017-9348-7",
        licence="CC BY",
        contrasts=("t1", "t2", "flair"),
        healthy=False,
        folder="Test/MSLUB",
        split_files=patient_files("MSLUB"),
        expected_counts={"val": 10, "test": 20},
        subject_pattern=r"(patient\d+)",
        how_to_get="https://lit.fe.uni-lj.si/en/research/resources/3D-MR-MS/",
    ),
    # Chronic stroke. The papers name 175 and 480 scans; lists of 66 and 589 circulate with the released code (same 655
    # scans). Some lesions have 3 to 12 voxels and some lie below the 100 mm slab: their ground truth can be empty on the
    # working grid.
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
        expected_counts={"val": 175, "test": 480},
        subject_pattern=r"(sub-[A-Za-z0-9]+)",
        how_to_get="https://fcon_1000.projects.nitrc.org/indi/retro/atlas.html",
    ),
    # White matter hyperintensities of presumed vascular origin, three scanners; T1 and FLAIR, no T2. Label 2 of the
    # original segmentation is other pathology; every label above 0 counts as lesion here, so remove it if it shall not.
    DatasetDeclaration(
        name="wmh",
        title="WMH challenge",
        citation="Kuijf et al., Standardized assessment of automatic segmentation of white matter hyperintensities, "
        "IEEE TMI 2019, doi:10.1109/TMI.2019.2905770",
        licence="CC BY-NC 4.0",
        contrasts=("t1", "flair"),
        healthy=False,
        folder="Test/WMH",
        split_files=patient_files("WMH"),
        expected_counts={"val": 15, "test": 45},
        how_to_get="https://doi.org/10.34894/AECRSD",
    ),
    # Lower grade gliomas; not in the papers. Segmentations made by fused networks (Kofler et al. 2020), no expert consensus.
    DatasetDeclaration(
        name="tcga_lgg",
        title="TCGA-LGG",
        citation="Pedano et al., TCGA-LGG, The Cancer Imaging Archive 2016, doi:10.7937/K9/TCIA.2016.L4LTD3TK",
        licence="CC BY 3.0",
        contrasts=("t1", "t2", "flair"),
        healthy=False,
        folder="Test/TCGA_LGG",
        split_files=patient_files("TCGA_LGG"),
        how_to_get="https://www.cancerimagingarchive.net/collection/tcga-lgg/",
    ),
)

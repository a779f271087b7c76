# SPDX-License-Identifier: Apache-2.0
"""Make the synthetic demo cohort: healthy subjects and patients with known lesions; nothing is downloaded."""

import argparse

from ...core.files import require_writable
from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="folder to make")
    parser.add_argument("--healthy", type=int, help="healthy subjects")
    parser.add_argument("--healthy_test", type=int, help="of these, for testing")
    parser.add_argument("--patients_val", type=int, help="per lesion, for validation")
    parser.add_argument("--patients_test", type=int, help="per lesion, for testing")
    parser.add_argument(
        "--variety",
        default="demo",
        help="how much subjects and scanners differ: demo (default), or wide, for training models for scanners nobody has seen",
    )
    parser.add_argument("--flair", action="store_true", help="scan FLAIR too, beside T1 and T2")
    parser.add_argument("--spacing_mm", type=int, default=2, choices=(1, 2), help="voxel size (default 2)")
    parser.add_argument("--tiny", action="store_true", help="fewest subjects: only to see that things run")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same files (default 0)")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one per CPU core (default)")
    parser.add_argument("--overwrite", action="store_true", help="replace another synthetic cohort in the folder")


def run(arguments: argparse.Namespace) -> int:
    require_writable(arguments.output)
    from ...synthetic import CohortSize, make_demo_cohort
    from ...synthetic.contrast import COHORT_CONTRASTS

    tiny = {"healthy": 6, "healthy_test": 1, "patients_val": 1, "patients_test": 1}
    numbers = tiny if arguments.tiny else {}
    numbers |= {name: number for name in tiny if (number := getattr(arguments, name)) is not None}
    folder = make_demo_cohort(
        arguments.output,
        CohortSize(**numbers),
        arguments.seed,
        arguments.workers,
        arguments.overwrite,
        arguments.variety,
        (*COHORT_CONTRASTS, "flair") if arguments.flair else COHORT_CONTRASTS,
        arguments.spacing_mm,
    )
    training = ("uad", "train", "ddpm_ssim_ens", "--preset", "small", "--data", folder, "--dataset_name", "demo")
    # as long as the demonstration; slices enough to fill a batch from the tiny cohort too
    length = ("--slices_per_volume", "8", "--max_epochs", "40")
    closing({"cohort": folder}, {"train a small model on it": command_line(*training, *length)})
    return 0

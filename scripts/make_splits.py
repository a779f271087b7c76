# SPDX-License-Identifier: Apache-2.0
"""Make the split lists of a data set: test list and five folds for healthy scans, val and test for patients."""

import argparse
import sys

from custom.cohorts.folds import make_splits, read_ages
from custom.core.errors import UADError


def main() -> int:
    """Parse the command line, write the lists, print their names; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", required=True, help="folder with Train and Test; splits/ is made in it")
    parser.add_argument("--dataset", required=True, help="ixi, brats21, mslub, atlas_v2, wmh, demo, ...")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another division (default 0)")
    parser.add_argument("--folds", type=int, default=5, help="number of folds of healthy data sets (default 5)")
    parser.add_argument("--test_fraction", type=float, default=0.28, help="healthy test share (default 0.28)")
    parser.add_argument("--val_fraction", type=float, help="val share (default 0.11 healthy, one third patients)")
    parser.add_argument("--ages", help="CSV file with columns subject and age")
    parser.add_argument("--force", action="store_true", help="replace existing lists")
    args = parser.parse_args()
    try:
        ages = read_ages(args.ages) if args.ages else None
        files = make_splits(
            args.data_root, args.dataset, args.seed, args.folds, args.test_fraction, args.val_fraction, ages, args.force
        )
    except UADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for file in files:
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())

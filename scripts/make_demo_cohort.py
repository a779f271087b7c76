# SPDX-License-Identifier: Apache-2.0
"""Make the synthetic cohort: ``python scripts/make_demo_cohort.py demo_data``."""

import argparse
import sys

from custom.core.errors import UADError
from custom.synthetic import CohortSize, make_demo_cohort


def main() -> int:
    """Read the arguments and make the cohort."""
    size = CohortSize()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("output", help="folder to make")
    parser.add_argument("--healthy", type=int, default=size.healthy, help="healthy subjects (default %(default)s)")
    parser.add_argument(
        "--healthy-test", type=int, default=size.healthy_test, help="of these, for testing (default %(default)s)"
    )
    parser.add_argument(
        "--patients-val", type=int, default=size.patients_val, help="per lesion, for validation (default %(default)s)"
    )
    parser.add_argument(
        "--patients-test", type=int, default=size.patients_test, help="per lesion, for testing (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same files (default %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one per CPU core (default)")
    parser.add_argument("--overwrite", action="store_true", help="replace another synthetic cohort in the folder")
    args = parser.parse_args()
    try:
        size = CohortSize(args.healthy, args.healthy_test, args.patients_val, args.patients_test)
        print(make_demo_cohort(args.output, size, args.seed, args.workers, args.overwrite))
    except UADError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

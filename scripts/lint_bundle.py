# SPDX-License-Identifier: Apache-2.0
"""Say what in a bundle could run code that is not ours: ``python scripts/lint_bundle.py bundles/ddpm_ssim_ens``.

Nothing of the bundle is run. Exit code 0: nothing found, or trusted; 2: refused.
"""

import argparse
import sys
from pathlib import Path

from custom.errors import UADError
from custom.safety import bundle_digest, lint_bundle, trust, trusted_hashes


def main() -> int:
    """Read the arguments, lint, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", help="folder of a bundle, or one configuration file")
    parser.add_argument("--trust", action="store_true", help="trust this very version in spite of the findings")
    parser.add_argument(
        "--trust-file", type=Path, help="file of trusted hashes (default: in your configuration folder)"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args()
    try:
        findings = lint_bundle(args.bundle)
        for found in findings:
            print(found)
        if args.trust:
            print(f"trusted: {args.bundle}, sha256 {trust(args.bundle, args.trust_file)}")
            return 0
        trusted = bundle_digest(args.bundle) in trusted_hashes(args.trust_file)
    except UADError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{len(findings)} finding{'s' * (len(findings) != 1)}" + ", but this version is trusted" * trusted)
    return 2 if findings and not trusted else 0


if __name__ == "__main__":
    sys.exit(main())

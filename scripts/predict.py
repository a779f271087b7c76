# SPDX-License-Identifier: Apache-2.0
"""Anomaly maps and reports for scans: ``python scripts/predict.py SCAN|FOLDER|list.txt -o OUT --model RUN``."""

import argparse
import sys

from custom.core.errors import UADError
from custom.prediction.predictor import predict_batch
from custom.runs.start import find_foreseen


def main() -> int:
    """Read the arguments, predict, and return the exit code (0; 2: settings; 4: a scan gave no result)."""
    parser = argparse.ArgumentParser(
        description="Anomaly maps on the scans' own grids, with reports. Research use only."
    )
    parser.add_argument("input", help="scan (NIfTI, NRRD, MHA, DICOM folder), folder of scans, or .txt list")
    parser.add_argument("-o", "--output", required=True, help="folder for the results; finished scans there are kept")
    parser.add_argument("--model", required=True, help="folder of a trained and evaluated model")
    parser.add_argument("--mask", help="brain mask of the scan, or a folder of masks named like the scans")
    parser.add_argument(
        "--sensitivity", help="name of a calibrated threshold, or wanted healthy false-positive rate (0.01)"
    )
    parser.add_argument("--threshold", type=float, help="anomaly score that decides instead")
    parser.add_argument(
        "--contrast", choices=["t1", "t2", "flair"], help="contrast of the scans; warns if not the model's"
    )
    parser.add_argument("--format", default="nifti", choices=["nifti", "source", "dicom"], help="write this format too")
    parser.add_argument("--no-report", action="store_true", help="no HTML pages")
    parser.add_argument("--debug", action="store_true", help="stop at the first error and show it in full")
    args = parser.parse_args()
    try:
        records = predict_batch(
            args.model,
            args.input,
            args.output,
            mask=args.mask,
            sensitivity=args.sensitivity,
            threshold=args.threshold,
            contrast=args.contrast,
            output_format=args.format,
            report=not args.no_report,
            debug=args.debug,
        )
    except UADError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped by Ctrl-C; finished scans are kept, the same command does the others.", file=sys.stderr)
        return 130
    except OSError as error:
        if args.debug or (full := find_foreseen(error)) is None:
            raise
        print(f"error: {full}", file=sys.stderr)
        return full.exit_code
    return 4 if any(record["status"] == "failed" for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())

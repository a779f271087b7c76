# SPDX-License-Identifier: Apache-2.0
"""The demonstration: synthetic cohort, short training of the small preset, evaluation, figures; under ten CPU minutes.

Every step is an ordinary command of this package and is printed before it runs.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from custom.runs.sync import default_uri

CONFIGS = "bundles/ddpm_ssim_ens/configs"


def main() -> int:
    """Run the steps one after the other; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="demo_data", help="folder of the demo cohort")
    parser.add_argument("--output", default="output/demo", help="folder of the trained model and its results")
    parser.add_argument("--max-epochs", type=int, default=60, help="epochs of the training (8 steps of 16 slices each)")
    parser.add_argument("--quick", action="store_true", help="fewest subjects, one epoch: only to see that it runs")
    arguments = parser.parse_args()
    cohort: list[str] = []
    training: dict[str, Any] = {"max_epochs": arguments.max_epochs, "slices_per_volume": 8}
    evaluation: dict[str, Any] = {"limit": 3}
    if arguments.quick:
        cohort = ["--healthy", "6", "--healthy-test", "1", "--patients-val", "1", "--patients-test", "1"]
        training |= {"max_epochs": 1, "val_slices_per_volume": 1}
        evaluation = {"limit": 1, "sigma_sweep": False}
    training |= {"dataset_name": "demo", "contrast": "t2"}
    evaluation |= {"precision": "auto", "t_test": 300, "test_sets": "['demo_tumour','demo_stroke','demo_ms']"}
    tracking = default_uri(f"sqlite:///{Path(arguments.output).parent / 'mlflow.db'}")
    places = {"dataset_dir": arguments.data, "output_dir": arguments.output, "tracking_uri": tracking}
    steps = {
        "demo cohort": [sys.executable, "scripts/make_demo_cohort.py", arguments.data, *cohort],
        "training": _workflow("training", f"['{CONFIGS}/train.json','{CONFIGS}/small.json']", places | training),
        "evaluation": _workflow("evaluating", f"{CONFIGS}/evaluate.json", places | evaluation),
    }
    start = time.time()
    for name, command in steps.items():
        print(f"\n== {name} ==\n{' '.join(command)}", flush=True)
        code = subprocess.run(command, check=False).returncode
        if code:
            print(f"{name} failed with exit code {code}.", file=sys.stderr)
            return code
    print(f"\nDone in {(time.time() - start) / 60:.1f} minutes. Look at {arguments.output}/evaluation/:")
    print("  report.md      tables: every score with its thresholds\n  figures/       heat maps and curves")
    print(f"Compare runs: mlflow ui --backend-store-uri {tracking} --host 127.0.0.1")
    return 0


def _workflow(run_id: str, configs: str, overrides: dict[str, Any]) -> list[str]:
    command = [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", configs]
    return command + [word for key, value in overrides.items() for word in (f"--{key}", str(value))]


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""The demonstration: synthetic cohort, short training of the small preset, evaluation, figures; under ten CPU minutes.

Every step is an ordinary command of this package and is printed before it runs.
"""

import argparse
import subprocess
import sys
import time

CONFIGS = "bundles/ddpm_ssim_ens/configs"


def main() -> int:
    """Run the steps one after the other; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="demo_data", help="folder of the demo cohort")
    parser.add_argument("--output", default="output/demo", help="folder of the trained model and its results")
    parser.add_argument("--max-epochs", default="60", help="epochs of the training (8 steps of 16 slices each)")
    arguments = parser.parse_args()
    bundle = [sys.executable, "-m", "monai.bundle", "run"]
    small = f"{CONFIGS}/small.json"
    common = ["--dataset_dir", arguments.data, "--output_dir", arguments.output]
    steps = {
        "demo cohort": [sys.executable, "scripts/make_demo_cohort.py", arguments.data],
        "training": [
            *(*bundle, "training", "--config_file", f"['{CONFIGS}/train.json','{small}']", *common),
            *(
                "--dataset_name",
                "demo",
                "--contrast",
                "t2",
                "--slices_per_volume",
                "8",
                "--max_epochs",
                arguments.max_epochs,
            ),
        ],
        "evaluation": [
            *(*bundle, "evaluating", "--config_file", f"{CONFIGS}/evaluate.json", *common, "--precision", "auto"),
            *("--t_test", "300", "--limit", "3", "--test_sets", "['demo_tumour','demo_stroke','demo_ms']"),
        ],
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
    print("Compare runs: mlflow ui --backend-store-uri sqlite:///output/mlflow.db --host 127.0.0.1")
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""A scan that kills or stalls the process costs itself only."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import pytest
import torch

from custom.core.digests import read_checked_json
from tests.model_fixtures import blurring_model

pytestmark = [
    pytest.mark.fault(
        100,
        "a scan that kills the prediction (memory, a crash in a library) or never ends",
        "costs itself only: several scans are predicted in a process that another one watches and starts again; `--time_limit` minutes for reading and preparing a scan; in `uad prepare`, a killed worker. A single scan runs in the command's own process; in a `.txt` list by itself it is watched too",
        "mended",
    ),
]

LIGHT = """
import os, sys, time
from pathlib import Path
from custom.prediction.watch import begin, prepared, watched

def run(names):
    for name in names:
        if (reason := begin(Path(name))) is not None:
            print(name, "lost:", reason, flush=True)
            continue
        if name == "dies":
            os.abort()
        if name in ("hangs", "waits"):
            print(name, os.getpid(), flush=True)
            time.sleep(600)
        prepared(Path(name))
        print(name, "done", flush=True)
    return 4

if __name__ == "__main__":
    sys.exit(watched(run, sys.argv[2:], float(sys.argv[1])))
"""

REAL = """
import os, sys, time
from custom.cli.main import main
import custom.preparation.scan_dictionary as place

read = place.ReadScand.__call__

def deadly(self, data):
    if "dies" in str(data["image"]):
        os.kill(os.getpid(), 9)
    return read(self, data)

place.ReadScand.__call__ = deadly
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def _script(folder: Path, text: str) -> list[str]:
    path = folder / "script.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def _environment(repository: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}


def test_what_kills_or_stalls_a_process_is_passed_over_and_the_others_are_done(tmp_path, repository) -> None:
    finished = subprocess.run(
        [*_script(tmp_path, LIGHT), "0.05", "a", "dies", "b", "hangs", "c"],
        cwd=tmp_path, env=_environment(repository), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 4, finished.stderr
    last = finished.stdout.splitlines()[-5:]
    assert [line.split()[:2] for line in last] == [
        ["a", "done"], ["dies", "lost:"], ["b", "done"], ["hangs", "lost:"], ["c", "done"],
    ]  # fmt: skip
    assert "the process that worked on it was ended (SIGABRT)" in last[1]
    assert "not read and prepared within 0.05 minutes" in last[3]


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_process_at_work_ends_with_the_one_that_watches_it(tmp_path, repository, number) -> None:
    process = subprocess.Popen(
        [*_script(tmp_path, LIGHT), "60", "waits"], cwd=tmp_path, env=_environment(repository), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job of a shell ignores it
    )  # fmt: skip
    assert process.stdout is not None
    at_work = int(process.stdout.readline().split()[1])
    process.send_signal(number)
    process.stdout.read()  # ends when both have
    assert process.wait() != 0
    for _ in range(600):
        try:
            os.kill(at_work, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the process at work lives on")


@pytest.mark.slow
def test_a_scan_that_kills_the_prediction_costs_itself_only(tmp_path, repository, brain) -> None:
    torch.manual_seed(0)
    model = blurring_model(tmp_path / "model")
    affine = [[4.0, 0, 0, -94], [0, 4.0, 0, -110], [0, 0, 4.0, -86], [0, 0, 0, 1]]
    for name in ("sub-a_T1w", "sub-dies_T1w", "sub-z_T1w"):
        (tmp_path / "in").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(brain, affine), tmp_path / "in" / f"{name}.nii.gz")
    out = tmp_path / "out"
    finished = subprocess.run(
        [*_script(tmp_path, REAL), "predict", str(tmp_path / "in"), "-o", str(out), "--model", str(model), "--no-report"],
        cwd=tmp_path, env=_environment(repository), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 4, finished.stderr
    assert "Traceback" not in finished.stderr
    cases = {case["case_id"]: case for case in read_checked_json(out / "summary.json", "")["cases"]}
    assert {name: case["status"] for name, case in cases.items()} == {
        "sub-a": "done before", "sub-dies": "failed", "sub-z": "done",
    }  # fmt: skip
    assert "was ended (SIGKILL), as the system does when the memory is full" in cases["sub-dies"]["error"]

# SPDX-License-Identifier: Apache-2.0
"""A disk that is really full: a tmpfs of two megabytes in a mount namespace of its own, where the system permits one."""

import json
import shutil
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.fault(
        49,
        "disk full at a checkpoint",
        "room is looked for first; the earlier one stays whole, message with the bytes needed, exit code 1. On a tmpfs filled to the last byte, and with a kernel that refuses half-way",
        "foreseen",
    ),
    pytest.mark.fault(
        50, "disk full at results", "files appear whole or not at all; one sentence, exit code 1", "foreseen"
    ),
]

IN_NAMESPACE = 'mount -t tmpfs -o size=2m tmpfs "$0" && exec "$@"'
SCRIPT = """
import json, logging, shutil, sys
from pathlib import Path

import torch
from ignite.engine import Engine

from custom.core.files import atomic_write_text
from custom.core.errors import ResourceError
from custom.training.checkpoint_files import CheckpointFolder
from custom.runs.tracking import Tracking
from custom.runs.outbox import Outbox
from custom.core.foreseen import find_foreseen

logging.basicConfig(stream=sys.stderr)
root, found = Path(sys.argv[1]), {}
folder = CheckpointFolder(root / "checkpoints")
folder.save({"weights": torch.full((100_000,), 1.0)}, 1, {})
atomic_write_text(root / "metrics.json", "first")
Outbox(root / "run").start("run", "x", {})
filler = open(root / "filler", "wb", buffering=0)
try:
    while filler.write(bytes(4096)):  # to the last byte
        pass
except OSError:
    filler.close()


def message(call):
    try:
        call()
    except Exception as error:
        return str(find_foreseen(error)), find_foreseen(error).exit_code


def state():
    content, info = folder.newest()
    return [float(content["weights"].sum()), info["iteration"], (root / "metrics.json").read_text(),
            sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())]


found["announced"] = message(lambda: folder.save({"weights": torch.zeros(100_000)}, 2, {}))
usage, shutil.disk_usage = shutil.disk_usage, lambda _: type("Usage", (), {"free": 10**12})
found["in the middle"] = message(lambda: folder.save({"weights": torch.zeros(100_000)}, 3, {}))
shutil.disk_usage = usage
found["result"] = message(lambda: atomic_write_text(root / "metrics.json", "second" * 10_000))
engine = Engine(lambda *_: {"loss": torch.tensor(1.0)})
Tracking(root / "run", None, "x", {"long": "x" * 10_000}, every=1).attach(engine)
engine.run(range(3))
found["iterations"] = engine.state.iteration
found["while full"] = state()
(root / "filler").unlink()
(root / "run" / "tracking.jsonl").unlink()
folder.save({"weights": torch.full((100_000,), 2.0)}, 4, {})
found["with room again"] = state()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory, repository):
    """What the script saw on the full disk, and its log."""
    folder = tmp_path_factory.mktemp("full")
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    in_namespace = ["unshare", "-rm", "sh", "-c", IN_NAMESPACE, str(folder)]
    if subprocess.run([*in_namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs may be mounted here")
    command = [*in_namespace, sys.executable, "-c", SCRIPT, str(folder)]
    finished = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout), finished.stderr


WHOLE = ["checkpoints/iteration_00000001.json", "checkpoints/iteration_00000001.pt", "filler", "metrics.json"]


def test_earlier_checkpoint_and_results_stay_whole(found):
    weights, iteration, result, files = found[0]["while full"]
    assert (weights, iteration, result) == (100_000, 1, "first")
    assert files == [*WHOLE, "run/tracking.jsonl"]  # and nothing half-written


@pytest.mark.parametrize("moment", ["announced", "in the middle"])
def test_message_says_how_much_is_needed_and_that_nothing_is_lost(found, moment):
    text, code = found[0][moment]
    assert "it needs 40" in text
    assert "The earlier checkpoints are whole: free some space" in text
    assert code == 1


def test_result_that_does_not_fit_is_a_sentence(found):
    text, code = found[0]["result"]
    assert text.startswith("the disk is full")
    assert code == 1


@pytest.mark.fault(55)
def test_tracking_costs_one_warning(found):
    assert found[0]["iterations"] == 3
    assert found[1].count("the run goes on untracked") == 1


def test_training_goes_on_when_there_is_room_again(found):
    assert found[0]["with room again"][:2] == [200_000, 4]

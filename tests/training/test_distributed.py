# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
import torch.multiprocessing as mp

from custom.core.errors import ConfigError, DataError
from custom.training import distributed
from custom.training.checkpoint import CrashSafeCheckpoint, Interrupted
from custom.training.checkpoint_files import CheckpointFolder
from custom.training.sampler import SharedBatches

ROOT = Path(__file__).resolve().parents[2]
TRAIN = "bundles/ddpm_ssim_ens/configs/train.json"
SETTINGS = {
    "dataset_name": "demo", "contrast": "t1", "channels": "[32,32,32,32]", "num_res_blocks": "1", "num_head_channels": "32",
    "resblock_updown": "False", "batch_size": "4", "slices_per_volume": "2", "val_slices_per_volume": "3", "max_epochs": "6",
    "val_interval": "2", "checkpoint_interval": "1", "loss_interval": "1", "num_threads": "1", "tracking_uri": "None",
}  # fmt: skip

spec = importlib.util.spec_from_file_location("tiny_cohort_conftest", ROOT / "tests" / "bundles" / "conftest.py")
cohort = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cohort)
tiny_cohort = cohort.tiny_cohort


def _start(data: Path, output: Path, processes: int) -> subprocess.Popen:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes else []
    files = [TRAIN, *(["custom/configs/multi_gpu.json"] if processes else [])]
    settings = SETTINGS | {"dataset_dir": str(data), "output_dir": str(output)}
    options = [word for key, value in settings.items() for word in (f"--{key}", value)]
    command = [
        sys.executable,
        *launcher,
        "-m",
        "monai.bundle",
        "run",
        "training",
        "--config_file",
        str(files),
        *options,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with open(f"{output}.log", "ab") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def _numbers(output: Path, name: str) -> dict[int, float]:
    lines = [json.loads(line) for line in (output / "tracking.jsonl").read_text().splitlines()]
    return {line["step"]: line["metrics"][name] for line in lines if name in line.get("metrics", {})}


def _kill_one_rank(launcher: subprocess.Popen, checkpoints: Path, rank: str) -> None:
    deadline = time.monotonic() + 300
    while not list(checkpoints.glob("iteration_*.json")):
        assert launcher.poll() is None, "ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    victim = next(p for p in psutil.Process(launcher.pid).children() if p.environ().get("RANK") == rank)
    victim.send_signal(signal.SIGKILL)


def test_two_processes_are_killed_resume_and_equal_one(tiny_cohort, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    killed = _start(tiny_cohort, two, processes=2)
    single = _start(tiny_cohort, one, processes=0)
    try:
        _kill_one_rank(killed, two / "checkpoints", rank="1")
        assert killed.wait(300) != 0
        message = Path(f"{two}.log").read_text()
        assert "process 0 of 2 stops because another one was killed" in message
        assert f"resume from {two}/checkpoints" in message
        done = max(_numbers(two, "train/loss"))
        assert done < 12
        assert _start(tiny_cohort, two, processes=2).wait(300) == 0, Path(f"{two}.log").read_text()[-3000:]
        assert single.wait(300) == 0
    finally:
        for process in (killed, single):
            if process.poll() is None:
                process.kill()
    for name in ("train/loss", "validation/l1"):
        expected, found = _numbers(one, name), _numbers(two, name)
        assert found.keys() == expected.keys()
        for step, value in expected.items():
            assert found[step] == pytest.approx(value, rel=2e-6), (name, step)

    (first, _), (second, _) = (CheckpointFolder(folder / "checkpoints").newest() for folder in (one, two))
    for part in (lambda c: c["network"], lambda c: c["average"]["average"]):
        assert part(first).keys() == part(second).keys()  # no "module." in front
        largest = max(float((part(first)[key] - part(second)[key]).abs().max()) for key in part(first))
        assert largest < 5e-5  # an Adam step is at most 1e-4
    assert any(not torch.equal(second["average"]["average"][k], v) for k, v in second["network"].items())
    assert (two / "model.safetensors").is_file()


def _gloo_process(rank: int, port: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip
    distributed.join(timeout_s=60)
    assert (distributed.rank(), distributed.world_size()) == (rank, 2)
    assert distributed.agree(15 * rank) == 15
    assert distributed.agree(0) == 0

    def first_writes() -> str:
        mark = Path(folder) / "written"
        if rank == 0:
            time.sleep(0.2)
            mark.write_text("by process 0")
        return mark.read_text()

    assert distributed.main_first(first_writes) == "by process 0"

    def fails() -> None:
        assert rank == 0, "process 1 must not be asked"
        raise DataError("scan 7 is broken")

    with pytest.raises(ValueError, match="scan 7 is broken"):
        distributed.main_first(fails)
    output = {"loss": torch.tensor(float(rank))}
    distributed._average_loss(SimpleNamespace(state=SimpleNamespace(output=output)))
    assert output["loss"].item() == 0.5
    distributed.leave()


def test_collectives_of_two_gloo_processes(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.start_processes(_gloo_process, (port, str(tmp_path)), nprocs=2, start_method="fork")


def test_alone_nothing_is_distributed(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (distributed.rank(), distributed.world_size(), distributed.agree(2)) == (0, 1, 2)
    assert distributed.main_first(lambda: 5) == 5
    with pytest.raises(ConfigError, match="torchrun"):
        distributed.join()
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ConfigError, match="RANK is 'first'"):
        distributed.rank()


def test_other_errors_of_a_training_keep_their_type():
    trainer = SimpleNamespace(add_event_handler=lambda *_: None)

    def run(error: Exception):
        def raises() -> None:
            raise error

        trainer.run = raises
        distributed.run(trainer, "folder")

    with pytest.raises(RuntimeError, match="shapes"):
        run(RuntimeError("shapes do not fit"))
    with pytest.raises(distributed.LostProcess, match="resume from folder"):
        run(RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer"))


def test_a_signal_stops_all_processes_at_the_iteration_they_agree_on(tmp_path):
    answers = iter([0, 15])
    checkpoint = CrashSafeCheckpoint(tmp_path, {}, None, 1, write=False, agree=lambda _: next(answers))
    engine = SimpleNamespace(state=SimpleNamespace(iteration=1, epoch_length=5, output={"loss": 1.0}), scaler=None)
    checkpoint._notice(signal.SIGTERM, None)
    checkpoint.watch(engine)  # the others do not know yet
    engine.state.iteration = 2
    with pytest.raises(Interrupted, match="after iteration 2"):
        checkpoint.watch(engine)


@pytest.mark.parametrize(
    ("num_items", "batch_size", "world_size"), [(10, 4, 2), (9, 4, 2), (7, 3, 3), (5, 8, 2), (8, 4, 1)]
)
def test_shared_batches_are_the_plain_ones_dealt_out(num_items, batch_size, world_size):
    shares = [SharedBatches(num_items, batch_size, rank, world_size) for rank in range(world_size)]
    seen = sorted(index for share in shares for batch in share for index in batch)
    assert seen == list(range(num_items))
    for share in shares:
        assert len(list(share)) == len(share) > 0
        assert all(len({index // batch_size for index in batch}) == 1 for batch in share)
    if world_size == 1:
        assert list(shares[0]) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_validation_smaller_than_the_processes_is_refused():
    with pytest.raises(ConfigError, match="take fewer processes"):
        SharedBatches(1, 4, 0, 2)

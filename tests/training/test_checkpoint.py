# SPDX-License-Identifier: Apache-2.0
"""Interrupted trainings end with the weights of undisturbed ones, to the last bit."""

import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from custom.core.errors import ConfigError, UADError
from custom.training.averaging import AveragedWeights
from custom.training.checkpoint import CrashSafeCheckpoint
from custom.training.checkpoint_files import CheckpointFolder
from custom.training.sampler import EpochSampler

pytestmark = [
    pytest.mark.fault(48, "truncated checkpoint", "the one before is used and named", "foreseen"),
    pytest.mark.fault(59),
]

SCRIPT = """
import sys, time
sys.path.insert(0, {root!r})
sys.path.insert(0, {tests!r})
import test_checkpoint_training as t
from custom.runs.start import short_traceback
sys.excepthook = short_traceback
trainer = t.build(sys.argv[1], pause=float(sys.argv[2]))
print("ready", flush=True)
trainer.run()
print("finished", flush=True)
"""

ROOT = Path(__file__).resolve().parents[2]


class _Numbers(torch.utils.data.Dataset):
    """Item (epoch, index, position): inputs that depend on all of them."""

    def __len__(self):
        return 10

    def __getitem__(self, key):
        epoch, index, position = key
        value = torch.tensor([epoch * 0.01, index * 0.1, position * 0.05])
        return {"image": value, "label": value.sum(0, keepdim=True) ** 2, "case_id": f"case{index}"}


def build(folder, pause=0.0, poison=None, max_epochs=6, network=None, **kwargs):
    torch.manual_seed(0)
    network = network or torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    sampler = EpochSampler(10, 2, seed=5)
    average = AveragedWeights(network, 0.9)

    def prepare(batch, device, non_blocking, **_):
        time.sleep(pause)
        if poison is not None and poison in batch["case_id"]:
            batch["image"][0] = float("nan")
        return batch["image"], batch["label"]

    checkpoint = CrashSafeCheckpoint(
        Path(folder) / "checkpoints",
        {"network": network, "optimizer": optimizer, "average": average},
        sampler,
        every_epochs=kwargs.pop("every_epochs", 1),
        **kwargs,
    )
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=max_epochs,
        train_data_loader=torch.utils.data.DataLoader(_Numbers(), batch_sampler=sampler),
        network=network,
        optimizer=optimizer,
        loss_function=torch.nn.L1Loss(),
        prepare_batch=prepare,
        train_handlers=[average, checkpoint],
        decollate=False,
    )
    return trainer


def weights_hash(folder):
    content, info = CheckpointFolder(Path(folder) / "checkpoints").newest()
    digest = hashlib.sha256(str(info["iteration"]).encode())
    for part in (content["network"], content["average"]["average"]):
        for value in part.values():
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    build(folder).run()
    return weights_hash(folder)


@pytest.fixture
def start(tmp_path):
    """Start a slow training in a process of its own, on this module under another name."""
    (tmp_path / "test_checkpoint_training.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(root=str(ROOT), tests=str(tmp_path)), encoding="utf-8")

    def run(folder, pause=0.02):
        command = [sys.executable, str(script), str(folder), str(pause)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return run


def test_a_resumed_training_counts_the_time_before_it(tmp_path):
    build(tmp_path, pause=0.01, max_epochs=2).run()
    files = CheckpointFolder(tmp_path / "checkpoints")
    _, before = files.newest()
    assert before["training_seconds"] >= 0.1  # ten steps
    build(tmp_path, pause=0.01, max_epochs=4).run()
    assert files.newest()[1]["training_seconds"] >= before["training_seconds"] + 0.1


@pytest.mark.fault(51)
def test_kill_9_and_resume_gives_the_same_bits(start, tmp_path, undisturbed):
    folder = tmp_path / "run"
    for seconds in (0.15, 0.33):  # 30 iterations of 0.02 s: both fall into the training
        process = start(folder)
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()
    build(folder).run()
    assert weights_hash(folder) == undisturbed


@pytest.mark.fault(
    53,
    "SIGTERM, Ctrl-C",
    "training: checkpoint, exit code 143 or 130, line to go on; elsewhere finished work is on disk already",
    "foreseen",
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_says_how_to_go_on_and_resumes_mid_epoch(start, tmp_path, undisturbed, number, code):
    folder = tmp_path / "run"
    process = start(folder)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.25)
    process.send_signal(number)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == code, printed
    assert "everything is saved" in printed
    assert "Run the same command again" in printed
    assert "Traceback" not in printed
    build(folder).run()
    assert weights_hash(folder) == undisturbed


@pytest.mark.parametrize("stop_at", [7, 10, 12])
def test_resume_in_the_middle_of_an_epoch_sees_the_remaining_batches(tmp_path, undisturbed, stop_at):
    trainer = build(tmp_path)
    from ignite.engine import Events

    trainer.add_event_handler(Events.ITERATION_STARTED(once=stop_at), lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(UADError, match=f"after iteration {stop_at}"):
        trainer.run()
    build(tmp_path).run()
    assert weights_hash(tmp_path) == undisturbed


def test_only_the_newest_two_stay(tmp_path):
    build(tmp_path).run()
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [f"iteration_000000{n}.{end}" for n in (25, 30) for end in ("json", "pt")]


@pytest.mark.parametrize("damage", ["truncate", "flip", "no_json"])
def test_damaged_newest_falls_back_and_says_so(tmp_path, undisturbed, damage, caplog):
    build(tmp_path).run()
    newest = tmp_path / "checkpoints" / "iteration_00000030.pt"
    data = newest.read_bytes()
    if damage == "truncate":
        newest.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        newest.write_bytes(data[:-300] + bytes([data[-300] ^ 1]) + data[-299:])
    else:
        newest.with_suffix(".json").unlink()
    build(tmp_path).run()
    assert re.search(r"iteration_00000030.pt (is damaged|was never finished).* before it is used", caplog.text)
    assert weights_hash(tmp_path) == undisturbed


def test_other_network_is_refused(tmp_path):
    build(tmp_path).run()
    with pytest.raises(ConfigError, match="does not fit the network"):
        build(
            tmp_path, network=torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
        ).run()


def test_loss_that_is_no_number_stops_with_the_cases_and_the_last_good_state(tmp_path):
    build(tmp_path, max_epochs=1).run()
    before = weights_hash(tmp_path)
    with pytest.raises(UADError, match=r"not finite \(cases .*case3"):
        build(tmp_path, poison="case3").run()
    assert weights_hash(tmp_path) == before


@pytest.mark.fault(
    97,
    "two Ctrl-C in a training",
    "the first saves after the step, the second ends at once; the last checkpoint is whole",
    "unrecorded",
)
def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path):
    trainer = build(tmp_path)

    def twice(engine):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(600)

    trainer.add_event_handler(Events.ITERATION_STARTED(once=8), twice)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert signal.getsignal(signal.SIGINT) is before
    assert CheckpointFolder(tmp_path / "checkpoints").newest()[1]["iteration"] == 5


@pytest.mark.fault(
    98,
    "a training that was stopped has no weights yet",
    "the message says with which `--max_epochs` it ends and exports the best so far",
    "unrecorded",
)
def test_a_stopped_training_ends_with_fewer_epochs_and_its_weights_can_be_exported(tmp_path):
    trainer = build(tmp_path)
    trainer.add_event_handler(Events.ITERATION_STARTED(once=13), lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(UADError, match=r"after iteration 13; .* With --max_epochs 2, it ends there and exports"):
        trainer.run()
    again, steps, ended = build(tmp_path, max_epochs=2), [], []
    again.add_event_handler(Events.ITERATION_STARTED, lambda _: steps.append(1))
    again.add_event_handler(Events.COMPLETED, lambda _: ended.append(1))
    again.run()
    assert (steps, ended) == ([], [1])


def test_a_training_says_how_long_it_takes(tmp_path, capsys):
    build(tmp_path, max_epochs=1).run()
    said = capsys.readouterr().err
    assert "s a step, 3 steps to go" in said


@pytest.mark.fault(85, "a loss that runs away", "stopped beyond 1000 times what it began with", "mended")
def test_a_loss_that_runs_away_stops_with_a_sentence(tmp_path):
    trainer = build(tmp_path, max_epochs=60)
    trainer.optimizer.param_groups[0]["lr"] = 1e4
    with pytest.raises(UADError, match=r"the training diverges: the loss of iteration \d+ is .* Lower --lr"):
        trainer.run()


def test_a_loss_that_falls_from_a_large_value_is_no_divergence(tmp_path):
    checkpoint = CrashSafeCheckpoint(tmp_path, {}, None, every_epochs=1)
    engine = SimpleNamespace(state=SimpleNamespace(iteration=1))
    for loss in (500.0, 3.0, *[0.1] * 20, 4e4):
        checkpoint._check_divergence(engine, loss)
    with pytest.raises(UADError, match="diverges"):
        checkpoint._check_divergence(engine, 6e5)


@pytest.mark.fault(49)
def test_full_disk_keeps_the_earlier_checkpoint_whole(tmp_path):
    """A limit on the size of files stands for the full disk: the kernel refuses the write half-way."""
    folder = CheckpointFolder(tmp_path)
    folder.save({"network": torch.zeros(10)}, 1, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(UADError, match=r"could not be written.*needs \d+ bytes.*earlier checkpoints are whole"):
            folder.save({"network": torch.zeros(100_000)}, 2, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    content, info = folder.newest()
    assert info["iteration"] == 1
    assert torch.equal(content["network"], torch.zeros(10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iteration_00000001.json", "iteration_00000001.pt"]


def test_best_is_kept_with_its_metric_over_a_resumption(tmp_path):
    class Validator:
        class state:
            metrics = {}  # noqa: RUF012

    def run(values, max_epochs):
        trainer = build(tmp_path, max_epochs=max_epochs, metric="l1")
        checkpoint = next(h for h in trainer_handlers(trainer) if isinstance(h, CrashSafeCheckpoint))
        from ignite.engine import Events

        def validate(engine):
            Validator.state.metrics = {"l1": values[engine.state.epoch - 1]}
            checkpoint.validated(Validator, engine)

        trainer._event_handlers[Events.EPOCH_COMPLETED].insert(0, (validate, (trainer,), {}))
        trainer.run()

    run([0.5, 0.2], 2)
    run([None, None, 0.3, 0.4], 4)
    info = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    assert (info["epoch"], info["value"], info["metric"], info["iteration"]) == (2, 0.2, "l1", 10)


def trainer_handlers(trainer):
    return [getattr(h, "__self__", None) for handlers in trainer._event_handlers.values() for h, _, _ in handlers]

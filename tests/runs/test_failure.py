# SPDX-License-Identifier: Apache-2.0
"""An engine that fails ends with its error, after everyone has tidied up."""

import logging
import signal
import threading

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer

from custom.core.errors import ConfigError, UADError
from custom.runs.failure import on_failure
from custom.runs.lock import RunLock
from custom.runs.outbox import Outbox
from custom.runs.tracking import Tracking
from custom.training.checkpoint import CrashSafeCheckpoint
from custom.training.sampler import EpochSampler

pytestmark = [
    pytest.mark.fault(54),
]


def _boom(*_):
    raise RuntimeError("boom")


def _events(folder, kind):
    return [event[kind] for event, _ in Outbox(folder).lines() if kind in event]


@pytest.mark.parametrize("event", [Events.STARTED, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED])
def test_every_cleanup_runs_and_the_error_gets_out(event):
    engine, done = Engine(lambda *_: None), []
    on_failure(engine, lambda error: done.append(("first", str(error))))
    on_failure(engine, lambda error: done.append(("second", str(error))))
    engine.add_event_handler(event, _boom)
    with pytest.raises(RuntimeError, match="boom"):
        engine.run(range(3), max_epochs=2)
    assert done[:2] == [("first", "boom"), ("second", "boom")]
    assert engine.state.epoch <= 1


def test_cleanup_that_fails_itself_hides_neither_the_error_nor_the_others(caplog):
    engine, done = Engine(lambda *_: _boom()), []

    def full(error):
        raise OSError(28, "No space left on device")

    on_failure(engine, full)
    on_failure(engine, lambda error: done.append(str(error)))
    with pytest.raises(RuntimeError, match="boom"):
        engine.run(range(1))
    assert done[0] == "boom"
    assert "No space left on device" in caplog.text


class _Report:
    written = False

    def attach(self, engine):
        engine.add_event_handler(Events.COMPLETED, lambda _: setattr(self, "written", True))


def test_evaluation_with_a_broken_case_writes_no_report(tmp_path):
    def prepare(batch, device, non_blocking, **_):
        if int(batch["image"]) == 2:
            _boom()
        return batch["image"].float()[:, None], None

    report = _Report()
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=torch.utils.data.DataLoader([{"image": number} for number in range(5)]),
        network=torch.nn.Linear(1, 1),
        prepare_batch=prepare,
        val_handlers=[RunLock(tmp_path), report, Tracking(tmp_path, None, "x", {})],
        decollate=False,
    )
    with pytest.raises(RuntimeError, match="boom"):
        evaluator.run()
    assert not report.written
    assert _events(tmp_path, "status") == ["FAILED"]
    with RunLock(tmp_path):
        pass  # given back


def _engine(*handlers):
    engine = Engine(lambda *_: {})
    for handler in handlers:
        handler.attach(engine)
    return engine


def test_refused_second_run_leaves_the_record_of_the_first_alone(tmp_path):
    with RunLock(tmp_path):
        Outbox(tmp_path).start("first", "x", {})
        before = (tmp_path / "tracking.jsonl").read_bytes()
        with pytest.raises(ConfigError, match="in use by another process"):
            _engine(RunLock(tmp_path), Tracking(tmp_path, None, "x", {})).run(range(2))
        assert (tmp_path / "tracking.jsonl").read_bytes() == before


def test_lock_is_held_until_the_last_handler_has_written(tmp_path):
    held = []

    class Exporter:
        def attach(self, engine):
            engine.add_event_handler(Events.COMPLETED, self)

        def __call__(self, engine):
            with pytest.raises(ConfigError):
                RunLock(tmp_path).acquire()
            held.append(True)

    engine = _engine(RunLock(tmp_path), Exporter())
    for _ in range(2):
        engine.run(range(2))
    assert held == [True, True]
    RunLock(tmp_path).acquire()


def test_folder_that_cannot_be_locked_is_not_called_in_use(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be locked"):
        RunLock(tmp_path / "file").acquire()


def test_full_disk_under_the_outbox_costs_a_warning_and_not_the_run(tmp_path, monkeypatch, caplog):
    tracking = Tracking(tmp_path, None, "x", {"lr": 0.1}, every=1)
    engine = Engine(lambda *_: {"loss": torch.tensor(1.0)})
    tracking.attach(engine)

    def full(event):
        raise OSError(28, "No space left on device")

    engine.add_event_handler(
        Events.ITERATION_STARTED(once=2), lambda _: monkeypatch.setattr(tracking.outbox, "_append", full)
    )
    with caplog.at_level(logging.WARNING, "custom"):
        engine.run(range(5))
    assert engine.state.iteration == 5
    assert [record.message for record in caplog.records if "untracked" in record.message] == [
        f"{tmp_path / 'tracking.jsonl'} cannot be written (No space left on device); the run goes on untracked."
    ]


class _Numbers(torch.utils.data.Dataset):
    def __getitem__(self, key):
        value = torch.tensor([float(key[1])])
        return {"image": value, "label": value, "case_id": f"case{key[1]}"}


def _trainer(folder, max_epochs=3, **kwargs):
    network, sampler = torch.nn.Linear(1, 1), EpochSampler(4, 2, seed=0)
    checkpoint = CrashSafeCheckpoint(folder, {"network": network}, sampler, every_epochs=1, **kwargs)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=max_epochs,
        train_data_loader=torch.utils.data.DataLoader(_Numbers(), batch_sampler=sampler),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.001),
        loss_function=torch.nn.L1Loss(),
        train_handlers=[checkpoint],
        decollate=False,
    )
    return trainer, checkpoint


@pytest.mark.fault(59)
@pytest.mark.parametrize("check_every", [1, 100])
def test_weights_that_are_no_numbers_are_never_saved(tmp_path, check_every):
    trainer, checkpoint = _trainer(tmp_path, check_every=check_every)
    spoil = lambda _: trainer.network.weight.data.fill_(float("nan"))  # noqa: E731
    trainer.add_event_handler(Events.ITERATION_STARTED(once=3), spoil)
    with pytest.raises(UADError, match=r"not finite \(cases case\d, case\d\)"):
        trainer.run()
    content, info = checkpoint.files.newest()
    assert info["iteration"] == 2
    assert torch.isfinite(content["network"]["weight"]).all()


@pytest.fixture
def half_precision(tmp_path, monkeypatch):
    """Make a trainer with a loss scaler that works on the CPU and whose input is infinite in some iterations."""

    def make(poisoned, enabled=True):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16, enabled=enabled)
        monkeypatch.setattr(torch.cuda.amp, "GradScaler", lambda: scaler)
        trainer, checkpoint = _trainer(tmp_path, max_skipped_steps=2)
        trainer.amp = True

        def poison(engine):
            if engine.state.iteration in poisoned:
                engine.state.batch["image"] = engine.state.batch["image"] * float("inf")

        trainer.add_event_handler(Events.ITERATION_STARTED, poison)
        return trainer, checkpoint

    return make


def test_float16_overflow_skips_the_step_and_goes_on(half_precision, caplog):
    trainer, checkpoint = half_precision({3, 4, 6})
    weights = {}
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: weights.update({e.state.iteration: trainer.network.weight.item()})
    )
    with caplog.at_level(logging.INFO, "custom"):
        trainer.run()
    assert trainer.state.iteration == 6
    assert checkpoint.skipped_steps == 3
    assert weights[2] == weights[3] == weights[4] != weights[5] == weights[6]
    assert trainer.scaler.get_scale() == 2.0**13
    assert len([r for r in caplog.records if "float16 overflow" in r.message and "cases case" in r.message]) == 3
    content, info = checkpoint.files.newest()
    assert info["iteration"] == 6
    assert content["scaler"]["scale"] == 2.0**13


@pytest.mark.fault(
    59,
    "loss that is not a number",
    "float16: the step is skipped, up to `max_skipped_steps` in a row; otherwise stops with the cases and the last good state",
    "foreseen",
)
def test_float16_overflow_that_does_not_end_stops_with_the_last_good_state(half_precision):
    trainer, checkpoint = half_precision({3, 4, 5, 6})
    with pytest.raises(UADError, match=r"the loss of iteration 5 is not finite \(cases case\d, case\d\)"):
        trainer.run()
    content, info = checkpoint.files.newest()
    assert info["iteration"] == 4
    assert torch.isfinite(content["network"]["weight"]).all()


def test_gradients_that_overflow_for_ever_stop_though_the_loss_is_a_number(half_precision):
    trainer, _ = half_precision(set())
    trainer.network.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(UADError, match="for 3 steps in a row the gradient of iteration 3 is not finite"):
        trainer.run()


def test_with_a_scaler_that_is_off_the_first_loss_that_is_no_number_stops(half_precision):
    trainer, checkpoint = half_precision({3}, enabled=False)
    with pytest.raises(UADError, match="the loss of iteration 3 is not finite"):
        trainer.run()
    assert checkpoint.files.newest()[1]["iteration"] == 2


def test_training_in_a_thread_leaves_the_signals_alone(tmp_path):
    before, errors = signal.getsignal(signal.SIGTERM), []

    def run():
        try:
            _trainer(tmp_path, max_epochs=1)[0].run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_are_given_back_after_a_failure(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    trainer, _ = _trainer(tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), _boom)
    with pytest.raises(RuntimeError, match="boom"):
        trainer.run()
    assert signal.getsignal(signal.SIGTERM) is before

# SPDX-License-Identifier: Apache-2.0
"""Models, encoders, checkpoints and records of trainings, see :mod:`file_kind`."""

import functools
from pathlib import Path
from typing import Any

import torch
from file_kind import PREPARATION, Again, FileKind

from custom.core.digests import write_checked_json
from custom.models.cell_mask import CellMask
from custom.models.weights import load_weights, save_weights
from custom.prediction.calibration import Calibration
from custom.runs.model_folder import ModelFolder
from custom.runs.outbox import Outbox
from custom.runs.record import RunRecord
from custom.runs.sync import STATE_NAME, _state
from custom.training.checkpoint_files import CheckpointFolder
from custom.training.encoder import PretrainedEncoder, cases_sha256
from tests.model_fixtures import model_folder


def _make_checkpoints(folder: Path) -> list[Path]:
    files = CheckpointFolder(folder, keep_last=3)
    for number in (1, 2, 3):
        files.save({"network": {"w": torch.full((8,), float(number))}, "best_value": 0.25}, number, {"epoch": number})
    return sorted(folder.glob("*.pt"), reverse=True)


def _make_checkpoint_notes(folder: Path) -> list[Path]:
    return [path.with_suffix(".json") for path in _make_checkpoints(folder)]


def _read_checkpoint(folder: Path) -> Any:
    found = CheckpointFolder(folder, keep_last=3).newest()
    return (
        None if found is None else [found[0]["network"]["w"].numpy(), found[0]["best_value"], sorted(found[1].items())]
    )


def _make_outbox(folder: Path) -> list[Path]:
    for name in ("", "other"):
        outbox = Outbox(folder / name)
        outbox.start("run", "experiment", {"stage": "training"})
        outbox.params({"lr": 0.125})
        for step in range(3):
            outbox.metrics({"loss": 0.25 + step, "x": len(name)}, step)
        outbox.status("FINISHED")
    return [folder / "tracking.jsonl", folder / "other" / "tracking.jsonl"]


def _read_outbox(folder: Path) -> Any:
    outbox = Outbox(folder)
    events = [event for event, _ in outbox.lines()]
    torn = outbox.path.exists() and not outbox.path.read_bytes().endswith(b"\n")  # the last line was cut
    if torn or not events or "status" not in events[-1]:
        raise Again("marked as failed by the next start in the folder or on the machine")
    return [repr(event) for event in events]


def _make_tracking_state(folder: Path) -> list[Path]:
    for name, offset in (("", 1200), ("other", 70)):
        (folder / name).mkdir(exist_ok=True)
        write_checked_json(
            folder / name / STATE_NAME, {"http://127.0.0.1:5000": {"offset": offset, "run_id": f"ab{offset}"}}
        )
    return [folder / STATE_NAME]


def _make_run(folder: Path) -> list[Path]:
    record = RunRecord(folder, {"lr": 0.125, "method": "x"}, {"run": 3})
    record.begin()
    record.end("finished")
    return [record.path]


def _make_model(folder: Path) -> list[Path]:
    for name, seed in (("", 1), ("other", 2)):
        network = torch.nn.Conv2d(1, 1, 3)
        torch.manual_seed(seed)
        torch.nn.init.normal_(network.weight)
        model = ModelFolder.define(
            folder / name, bundle="ae_baseline", method="ae", contrast="t2", dataset="ixi", fold=seed, seed=seed,
            parts={"network": functools.partial(torch.nn.Conv2d, in_channels=1, out_channels=1, kernel_size=3), "preparation": PREPARATION}, training={"batch_size": 4},
        )  # fmt: skip
        save_weights(network, folder / name / "model.safetensors", {"seed": str(seed)})
        model.seal()
    return [folder / "model.json", folder / "other" / "model.json"]


def _make_weights(folder: Path) -> list[Path]:
    _make_model(folder)
    return [folder / "model.safetensors", folder / "other" / "model.safetensors"]


def _read_model(folder: Path) -> Any:
    model = ModelFolder.read(folder)
    network = load_weights(torch.nn.Conv2d(1, 1, 3), model.weights, model.weights_sha256)
    return [repr(sorted(model.flat().items())), *(value.numpy() for value in network.state_dict().values())]


_ENCODER = functools.partial(torch.nn.Conv2d, in_channels=1, out_channels=1, kernel_size=3)
_CASES = [{"case_id": "a"}, {"case_id": "b"}]


def _make_encoder(folder: Path) -> list[Path]:
    for name, seed in (("", 1), ("other", 2)):
        torch.manual_seed(seed)
        network = torch.nn.ModuleDict({"encoder": _ENCODER()})
        model = ModelFolder.define(
            folder / name, bundle="cddpm", method="spark", contrast="t2", dataset="ixi", fold=0, seed=seed,
            parts={"network": _ENCODER, "preparation": PREPARATION, "encoder": _ENCODER, "cell_mask": CellMask(0.65, 32)},
            training={"cases_sha256": cases_sha256(_CASES)},
        )  # fmt: skip
        save_weights(network, folder / name / "model.safetensors", {})
        model.seal()
    names = ("model.json", "model.safetensors")
    return [folder / place / name for place in ("", "other") for name in names]


def _read_encoder(folder: Path) -> Any:
    found = PretrainedEncoder.read(
        folder, encoder=_ENCODER, preparation=PREPARATION, contrast="t2", dataset="ixi", fold=0, cases=_CASES
    )
    return [repr(found.origin), *(value.numpy() for value in found.state.values())]


def _make_calibrated(folder: Path) -> list[Path]:
    for name, seed in (("", 1), ("other", 2)):
        torch.manual_seed(seed)
        parts, settings = {"network": _ENCODER, "preparation": PREPARATION}, {"t_test": 100 * seed, "draws": seed}
        model_folder(folder / name, parts, _ENCODER(), reconstruction=settings, reference=None)
    return [folder / "model.json", folder / "other" / "model.json"]


def _read_calibrated(folder: Path) -> Any:
    model = ModelFolder.read(folder)
    calibration = Calibration.of(model)
    network = load_weights(model.network(), model.weights, model.weights_sha256)
    known = [repr(calibration), repr(calibration.threshold(0.02)), repr(calibration.reconstruction)]
    return [*known, *(value.numpy() for value in network.state_dict().values())]


KINDS = (
    FileKind("checkpoint", _make_checkpoints, _read_checkpoint),
    FileKind("numbers of a checkpoint", _make_checkpoint_notes, _read_checkpoint),
    FileKind("model.json", _make_model, _read_model),
    FileKind("weights", _make_weights, _read_model),
    FileKind("run.json", _make_run, lambda folder: RunRecord.read(folder)),
    FileKind("tracking record", _make_outbox, _read_outbox, exchangeable=False),
    FileKind("tracking state", _make_tracking_state, lambda folder: repr(_state(folder))),
    FileKind("encoder of cDDPM", _make_encoder, _read_encoder),
    FileKind("calibration and statistics of a model", _make_calibrated, _read_calibrated),
)

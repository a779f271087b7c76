# SPDX-License-Identifier: Apache-2.0
"""Every kind of file that this package writes and reads again: how it is made, and what reading it gives.

``make(folder)`` writes the files and returns those that are damaged, and of the same kind those that ``read`` does not look at
(in ``other`` folders, older checkpoints), which may be put in the place of the others.
``read(folder)`` reads all that was written the way the package does and returns it as a value that can be compared.
"""

import dataclasses
import functools
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

import custom.prediction.page as page
import custom.synthetic.cohort as cohort
from custom.benchmark.jobs import recorded as read_job
from custom.benchmark.rendering import read_table, write_json
from custom.benchmark.results import read_result
from custom.benchmark.tables import Cell, Table
from custom.cohorts.cache import cached_case, file_digest
from custom.cohorts.datasets.own import declare, own_datasets
from custom.cohorts.folds import make_splits
from custom.cohorts.gate.cache import CACHE_FILE, FileCache
from custom.cohorts.gate.inspect import inspect_file
from custom.cohorts.gate.repair import _read_record, _write_down
from custom.cohorts.split_csv import load_split
from custom.core.digests import file_sha256, read_checked_json, write_checked_json
from custom.evaluation.collector import MapCollector
from custom.evaluation.shards import merge_shards, save_shard
from custom.evaluation.spool import CaseInfo
from custom.models.cell_mask import CellMask
from custom.models.weights import load_weights, save_weights
from custom.postprocessing import none
from custom.prediction.calibration import Calibration
from custom.prediction.derivatives import case_folder
from custom.prediction.find import find_scans
from custom.prediction.results import ResultsFolder
from custom.preparation.prepare import preparation
from custom.reconstruction.cached import CachedReconstruction
from custom.release.freeze import write_zip
from custom.release.manifest import verify_manifest, write_manifest
from custom.runs.model_folder import ModelFolder
from custom.runs.outbox import Outbox
from custom.runs.record import RunRecord
from custom.runs.sync import STATE_NAME, _state
from custom.synthetic import CohortSize
from custom.training.checkpoint_files import CheckpointFolder
from custom.training.encoder import PretrainedEncoder, cases_sha256
from custom.volumes.read import read_scan
from custom.volumes.records import ScanRecord
from tests.model_fixtures import model_folder


@dataclasses.dataclass(frozen=True)
class FileKind:
    """One kind of file: its name in the table, how it is made and how it is read.

    Attributes:
        exchangeable: an exchanged file can be noticed. What a user brings, and records that nothing else refers to, is what
            it is.
    """

    name: str
    make: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    exchangeable: bool = True

    def targets(self, files: list[Path]) -> list[Path]:
        """Return the files that are read."""
        if self.name.endswith("checkpoint"):
            return files[:1]
        return [path for path in files if path.parent.name != "other"]


def _volume(seed: int) -> torch.Tensor:
    return torch.rand(1, 6, 5, 4, generator=torch.Generator().manual_seed(seed))


# reconstructions, maps, shards


def _cached(folder: Path) -> CachedReconstruction:
    return CachedReconstruction(lambda volume, network, ids: volume * 2, folder, {"seed": 1})


def _make_reconstructions(folder: Path) -> list[Path]:
    cached = _cached(folder)
    for number in range(2):
        cached(_volume(number)[None], torch.nn.Identity(), [f"case{number}"])
    return sorted(folder.glob("*.npy"))


def _read_reconstructions(folder: Path) -> Any:
    cached = _cached(folder)
    return [cached(_volume(number)[None], torch.nn.Identity(), [f"case{number}"]).numpy() for number in range(2)]


def _collector(folder: Path) -> MapCollector:
    return MapCollector(
        {"difference": lambda a, b: (a - b.mean).abs()}, {"none": none()}, folder / "maps", (2.0, 2.0, 2.0)
    )


def _make_shards(folder: Path) -> list[Path]:
    for shard in range(2):
        collector = _collector(folder)
        image, other = _volume(shard)[0], _volume(shard + 7)[0]
        case = CaseInfo(f"case{shard}", "demo/test", 1)
        collector.add(case, image, other, torch.ones(6, 5, 4), image > 0.7)
        save_shard(collector, folder, shard, 2, {"weights": "x"})
    return sorted(folder.glob("shard_*.pt"))


def _make_maps(folder: Path) -> list[Path]:
    _make_shards(folder)
    return sorted((folder / "maps").rglob("*.npy"))


def _read_shards(folder: Path) -> Any:
    collector = _collector(folder)
    merge_shards(collector, None, [], folder, 2, {"weights": "x"})  # type: ignore[arg-type]
    names = (*collector.variants, "image", "reconstruction", "mask", "seg")
    maps = [collector.volume(case, name) for case in collector.of_group("demo/test") for name in names]
    precision = collector.whole["difference", "demo/test"].average_precision()
    return [*maps, precision, [case.case_id for case in collector.cases]]


# prepared scans and what is remembered of files


def _write_scan(path: Path, seed: int, label: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(20, 200, (24, 24, 12)).astype(np.int16)
    inside = np.zeros(values.shape, bool)
    inside[3:-3, 3:-3, 2:-2] = True
    nib.save(nib.Nifti1Image((inside if label else values * inside).astype(np.int16), np.diag([2.0, 2, 2, 1])), path)
    return path


def _records(folder: Path) -> list[ScanRecord]:
    paths = [folder / "in" / f"IXI00{n}_t1.nii.gz" for n in range(2)]
    mask = folder / "in" / "mask.nii.gz"
    return [ScanRecord(p.name[:6], p.name[:6], "t1", p, mask, None, 0, None, "ixi") for p in paths]


_PREPARATION = preparation("standard", shape=(24, 24, 12))


def _make_prepared(folder: Path) -> list[Path]:
    _write_scan(folder / "in" / "mask.nii.gz", 0, label=True)
    for number, record in enumerate(_records(folder)):
        _write_scan(record.image, number)
        cached_case(record, _PREPARATION, folder / "cache")
    return sorted((folder / "cache").rglob("*.npz"))


def _make_notes(folder: Path) -> list[Path]:
    _make_prepared(folder)
    return sorted((folder / "cache" / "files").rglob("*.json"))


def _read_prepared(folder: Path) -> Any:
    found = [cached_case(record, _PREPARATION, folder / "cache") for record in _records(folder)]
    digests = [file_digest(record.image, folder / "cache", record.case_id) for record in _records(folder)]
    return [*(value for case in found for value in vars(case).values()), digests]


def _make_reports(folder: Path) -> list[Path]:
    cache = FileCache(folder, 10**6)
    for number in range(2):
        path = _write_scan(folder / f"IXI00{number}_t1.nii.gz", number)
        os.utime(path, ns=(0, 0))
        cache.put(path, "image", inspect_file(path, "image", 10**6))
    cache.save()
    other = folder / "other" / CACHE_FILE
    other.parent.mkdir()
    other.write_text('{"version": 1, "files": {}}', encoding="utf-8")
    return [folder / CACHE_FILE, other]


def _read_reports(folder: Path) -> Any:
    cache = FileCache(folder, 10**6)
    paths = [folder / f"IXI00{number}_t1.nii.gz" for number in range(2)]
    return [repr(cache.get(path, "image") or inspect_file(path, "image", 10**6)) for path in paths]


# trainings


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
    if outbox.is_torn() or not events or "status" not in events[-1]:
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
            parts={"network": functools.partial(torch.nn.Conv2d, in_channels=1, out_channels=1, kernel_size=3), "preparation": _PREPARATION}, training={"batch_size": 4},
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


# lists, scans, results, releases


def _make_lists(folder: Path) -> list[Path]:
    for number in range(10):
        _write_scan(folder / f"Train/ixi/t1/IXI00{number}-A_t1.nii.gz", number)
    return make_splits(folder, "ixi", folds=2, ages={f"IXI00{n}": 20.0 + n for n in range(10)})


def _make_stamp(folder: Path) -> list[Path]:
    _make_lists(folder)
    return [folder / "splits" / "splits.json"]


def _read_lists(folder: Path) -> Any:
    names = [("test", None), ("train", 0), ("val", 0), ("train", 1), ("val", 1)]
    lists = (load_split(folder, "ixi", split, "t1", fold, check_files=False) for split, fold in names)
    return [repr([(r.case_id, r.label, r.age, str(r.image.relative_to(folder))) for r in rows]) for rows in lists]


def _make_scans(folder: Path) -> list[Path]:
    return [_write_scan(folder / f"{name}.nii.gz", number) for number, name in enumerate("ab")]


def _read_scans(folder: Path) -> Any:
    found = [read_scan(folder / f"{name}.nii.gz", name) for name in "ab"]
    return [array for scan in found for array in (scan.array, scan.affine)]


class _Result:
    affine, kind, header, sha256 = np.eye(4), "nifti", b"", ""

    def images(self) -> dict[str, Any]:
        array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
        return {"anomaly_map": array, "mask": (array > 30).astype(np.uint8), "pseudohealthy": array}

    def summary(self) -> dict[str, Any]:
        return {"AnomalyVolumeMl": 1.25, "AnomalyScore": 0.5, "Findings": [], "Warnings": []}


def _results(folder: Path) -> ResultsFolder:
    return ResultsFolder(folder / "out", {"model_sha256": "ab"}, "t2")


def _make_results(folder: Path) -> list[Path]:
    _make_scans(folder / "in")
    results, before = _results(folder), page.write_case_report
    page.write_case_report = lambda root, summary, *_: (root / f"{summary['case_id']}.html").write_text("page " * 20)  # type: ignore[assignment,return-value]
    try:
        for source in results.pending(find_scans(folder / "in"), exclusive=False):
            results.save(source, _Result(), 1.0)  # type: ignore[arg-type]
    finally:
        page.write_case_report = before
    root = folder / "out"
    files = sorted(path for path in case_folder(root, "sub-a").iterdir() if not path.name.startswith("."))
    return [*files, root / "sub-a.html"]


def _read_results(folder: Path) -> Any:
    results = _results(folder)
    waiting = [source.case_id for source in results.pending(find_scans(folder / "in"), exclusive=False)]
    if waiting:
        raise Again(", ".join(waiting))
    root = folder / "out"
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return [{str(path.relative_to(root)): file_sha256(path) for path in files}]


def _make_evaluation(folder: Path) -> list[Path]:
    for name, dice in (("a", 0.25), ("a/other", 0.5)):
        (folder / name).mkdir()
        rows = folder / name / "per_case.csv"
        line = f"demo,demo/test,case1,l1,tuned,{dice}"
        rows.write_text(f"dataset,group,case_id,variant,operating_point,dice\n{line}\n{line.replace('1', '2')}\n")
        metrics = {"protocol": {"method": "m"}, "datasets": {"demo": {"group": "demo/test", "dice": dice}}}
        write_checked_json(folder / name / "metrics.json", {**metrics, "per_case_sha256": file_sha256(rows)})
    return [folder / name / file for name in ("a", "a/other") for file in ("metrics.json", "per_case.csv")]


def _read_evaluation(folder: Path) -> Any:
    result = read_result(folder / "a")
    return [repr(result.metrics), repr(result.per_case("demo", "l1", "tuned", "dice"))]


def _make_release(folder: Path) -> list[Path]:
    for number, name in enumerate(("configs/inference.json", "models/model.pt", "docs/README.md")):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(np.random.default_rng(number).integers(48, 58, 300, np.uint8)))
    write_manifest(folder)
    return [path for path in folder.rglob("*") if path.is_file()]


def _read_release(folder: Path) -> Any:
    verify_manifest(folder)
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json"]


def _make_release_zip(folder: Path) -> list[Path]:
    _make_release(folder / "release")
    return [folder / "release.zip"] if write_zip(folder / "release", folder / "release.zip") else []


def _read_release_zip(folder: Path) -> Any:
    with tempfile.TemporaryDirectory() as place:
        try:
            shutil.unpack_archive(folder / "release.zip", place)
        except Exception as error:  # whatever unpacks it complains
            raise Again(str(error)) from error
        return _read_release(Path(place) / "release")


# what the commands about data and matrices write


def _make_declaration(folder: Path) -> list[Path]:
    for name in ("one", "two"):
        (folder / "Train" / name / "t1").mkdir(parents=True)
        declare(folder, name, True, r"(\d+)")
    return [folder / "dataset.json"]


def _read_declaration(folder: Path) -> Any:
    return repr(own_datasets(folder))


_COHORT = (CohortSize(healthy=6, healthy_test=1, patients_val=0, patients_test=0), 3, "demo")


def _make_cohort(folder: Path) -> list[Path]:
    places = (folder, folder / ".prepared" / "other")
    for number, place in enumerate(places):
        (place / "splits").mkdir(parents=True)
        (place / "splits" / "demo_test.csv").write_text(f",img_name\n0,{number}.nii.gz\n")
        (place / "DEMO.json").write_text(cohort._manifest(place, *_COHORT))
    return [place / "DEMO.json" for place in places]


def _read_cohort(folder: Path) -> Any:
    if not cohort.is_complete(folder, *_COHORT):
        raise Again("refused: no intact cohort")
    return repr(read_checked_json(folder / "DEMO.json", ""))


def _make_repairs(folder: Path) -> list[Path]:
    for number in range(2):
        _write_down(folder, {"file": f"a{number}.nii.gz", "voxels": 5 + number, "sha256_before": "0" * 64})
    return [folder / "repairs.json"]


def _make_job(folder: Path) -> list[Path]:
    write_checked_json(
        folder / "done.json", {"job": "a", "stages": {"training": {"digests": {"code": "1f"}, "seconds": 2.5}}}
    )
    write_checked_json(
        folder / "job.json", {"job": "a", "labels": {"rows": {"e": "DDPM"}}, "digests": {"training code": "1f"}}
    )
    return [folder / "done.json", folder / "job.json"]


def _make_table(folder: Path) -> list[Path]:
    cells = (Cell(0.25, 0.125, 3), "text")
    write_json(
        Table("title", ("method",), ("Dice", "n"), ((("a",), cells),), ("note",), 100.0),
        folder / "t.json",
        "uad matrix",
    )
    return [folder / "t.json"]


# encoders and calibrations

_ENCODER = functools.partial(torch.nn.Conv2d, in_channels=1, out_channels=1, kernel_size=3)
_CASES = [{"case_id": "a"}, {"case_id": "b"}]


def _make_encoder(folder: Path) -> list[Path]:
    for name, seed in (("", 1), ("other", 2)):
        torch.manual_seed(seed)
        network = torch.nn.ModuleDict({"encoder": _ENCODER()})
        model = ModelFolder.define(
            folder / name, bundle="cddpm", method="spark", contrast="t2", dataset="ixi", fold=0, seed=seed,
            parts={"network": _ENCODER, "preparation": _PREPARATION, "encoder": _ENCODER, "cell_mask": CellMask(0.65, 32)},
            training={"cases_sha256": cases_sha256(_CASES)},
        )  # fmt: skip
        save_weights(network, folder / name / "model.safetensors", {})
        model.seal()
    names = ("model.json", "model.safetensors")
    return [folder / place / name for place in ("", "other") for name in names]


def _read_encoder(folder: Path) -> Any:
    found = PretrainedEncoder.read(
        folder, encoder=_ENCODER, preparation=_PREPARATION, contrast="t2", dataset="ixi", fold=0, cases=_CASES
    )
    return [repr(found.origin), *(value.numpy() for value in found.state.values())]


def _make_calibrated(folder: Path) -> list[Path]:
    for name, seed in (("", 1), ("other", 2)):
        torch.manual_seed(seed)
        parts, settings = {"network": _ENCODER, "preparation": _PREPARATION}, {"t_test": 100 * seed, "draws": seed}
        model_folder(folder / name, parts, _ENCODER(), reconstruction=settings, reference=None)
    return [folder / "model.json", folder / "other" / "model.json"]


def _read_calibrated(folder: Path) -> Any:
    model = ModelFolder.read(folder)
    calibration = Calibration.of(model)
    network = load_weights(model.network(), model.weights, model.weights_sha256)
    known = [repr(calibration), repr(calibration.threshold(0.02)), repr(calibration.reconstruction)]
    return [*known, *(value.numpy() for value in network.state_dict().values())]


class Again(Exception):
    """The reader noticed the damage and would make the file again."""


KINDS = (
    FileKind("scan (.nii.gz)", _make_scans, _read_scans, exchangeable=False),
    FileKind("split list", _make_lists, _read_lists),
    FileKind("digests of the lists", _make_stamp, _read_lists),
    FileKind("what the gate knows of files", _make_reports, _read_reports),
    FileKind("prepared scan", _make_prepared, _read_prepared),
    FileKind("digest of a scan", _make_notes, _read_prepared),
    FileKind("reconstruction", _make_reconstructions, _read_reconstructions),
    FileKind("map of an evaluation", _make_maps, _read_shards),
    FileKind("shard of an evaluation", _make_shards, _read_shards),
    FileKind("checkpoint", _make_checkpoints, _read_checkpoint),
    FileKind("numbers of a checkpoint", _make_checkpoint_notes, _read_checkpoint),
    FileKind("tables of an evaluation", _make_evaluation, _read_evaluation),
    FileKind("model.json", _make_model, _read_model),
    FileKind("weights", _make_weights, _read_model),
    FileKind("run.json", _make_run, lambda folder: RunRecord.read(folder)),
    FileKind("tracking record", _make_outbox, _read_outbox, exchangeable=False),
    FileKind("tracking state", _make_tracking_state, lambda folder: repr(_state(folder))),
    FileKind("results of a scan", _make_results, _read_results),
    FileKind("release", _make_release, _read_release),
    FileKind("release, packed", _make_release_zip, _read_release_zip),
    FileKind("declared data sets", _make_declaration, _read_declaration),
    FileKind("record of a demo cohort", _make_cohort, _read_cohort),
    FileKind("record of repairs", _make_repairs, lambda folder: repr(_read_record(folder))),
    FileKind(
        "record of a job",
        _make_job,
        lambda folder: [repr(read_job(folder / name)) for name in ("done.json", "job.json")],
    ),
    FileKind("table of a matrix", _make_table, lambda folder: repr(read_table(folder / "t.json"))),
    FileKind("encoder of cDDPM", _make_encoder, _read_encoder),
    FileKind("calibration and statistics of a model", _make_calibrated, _read_calibrated),
)

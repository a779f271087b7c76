# SPDX-License-Identifier: Apache-2.0
"""Reconstructions, maps, tables, results of scans and releases, see :mod:`file_kind`."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from file_kind import Again, FileKind, write_scan

import custom.prediction.page as page
from custom.benchmark.jobs import recorded as read_job
from custom.benchmark.rendering import read_table, write_json
from custom.benchmark.results import read_result
from custom.benchmark.tables import Cell, Table
from custom.core.digests import file_sha256, write_checked_json
from custom.evaluation.collector import MapCollector
from custom.evaluation.shards import merge_shards, save_shard
from custom.evaluation.spool import CaseInfo
from custom.postprocessing import none
from custom.prediction.derivatives import case_folder
from custom.prediction.find import find_scans
from custom.prediction.results import ResultsFolder
from custom.reconstruction.cached import CachedReconstruction
from custom.release.freeze import write_zip
from custom.release.manifest import verify_manifest, write_manifest


def _volume(seed: int) -> torch.Tensor:
    return torch.rand(1, 6, 5, 4, generator=torch.Generator().manual_seed(seed))


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
    for number, name in enumerate("ab"):
        write_scan(folder / "in" / f"{name}.nii.gz", number)
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


KINDS = (
    FileKind("reconstruction", _make_reconstructions, _read_reconstructions),
    FileKind("map of an evaluation", _make_maps, _read_shards),
    FileKind("shard of an evaluation", _make_shards, _read_shards),
    FileKind("tables of an evaluation", _make_evaluation, _read_evaluation),
    FileKind("results of a scan", _make_results, _read_results),
    FileKind("release", _make_release, _read_release),
    FileKind("release, packed", _make_release_zip, _read_release_zip),
    FileKind(
        "record of a job",
        _make_job,
        lambda folder: [repr(read_job(folder / name)) for name in ("done.json", "job.json")],
    ),
    FileKind("table of a matrix", _make_table, lambda folder: repr(read_table(folder / "t.json"))),
)

# SPDX-License-Identifier: Apache-2.0
"""The whole benchmark: plan, jobs, tables, figures, tracking."""

import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.building import building
from ..core.errors import ConfigError, DiskFullError
from ..core.files import atomic_write_json, require_writable
from ..core.foreseen import says_disk_full
from ..runs.lock import RunLock
from .cells import Table, defined
from .engine import Engine, run_jobs
from .figures import draw_figure_2, draw_t_sweep, sigmas_of
from .jobs import COMMAND, Job, Outcome, pending_stages
from .plan import EVALUATION, Places, plan_jobs, rows_of
from .rendering import markdown, write_table
from .reproduction import ordering_table, reproduction_table
from .results import Result, read_result
from .spec import MatrixSpec
from .tables import Comparison, operating_point
from .tracking import MatrixTracking
from .views import (
    ablation_table,
    budget_table,
    draws_table,
    healthy_table,
    reconstruction_table,
    size_table,
    t_sweep_table,
)


def run_matrix(
    spec: MatrixSpec,
    places: Places,
    engine: Engine = "auto",
    workers: int = 1,
    scheduler: str | None = None,
    slurm: Mapping[str, Any] | None = None,
    force: bool = False,
    any_code: bool = False,
    only: str | None = None,
    command: Sequence[str] = COMMAND,
) -> int:
    """Do what is missing and make tables and figures; return the number of failed jobs.

    Args:
        spec, places: the matrix and its folders.
        engine: see :func:`custom.benchmark.engine.run_jobs`, as are ``workers``, ``scheduler`` and ``slurm``.
        force: results of different protocols may stand in one table.
        any_code: keep finished work that only the code has changed since.
        only: "plan" prints what would run; "tables" makes tables of what is finished.
        command: of a bundle run, behind the interpreter.
    """
    jobs = plan_jobs(spec, places, any_code, command)
    pending = [(job, *pending_stages(job)) for job in jobs]
    waiting = [job for job, stages, _ in pending if stages]
    for job, stages, why in pending:
        _say(f"{job.name}: {', '.join(stage.name for stage in stages) or 'nothing to do'} ({why})")
    _say(f"{len(jobs)} jobs, {len(waiting)} to do")
    if only == "plan":
        return 0
    output = Path(places.output_dir)
    with RunLock(output, write=only is None):  # tables of what is finished can be made meanwhile
        output.mkdir(parents=True, exist_ok=True)
        atomic_write_json(output / "matrix.json", dict(spec.source))
        if only == "tables":
            make_report(spec, output, jobs, force)
            return 0
        tracking = MatrixTracking(output, places.tracking_uri)
        names = [method.name for method in spec.methods]
        tracking.start(spec.name, {"folds": list(spec.folds), "seed": spec.seed, "methods": names})
        failed, start = 0, time.monotonic()
        for number, outcome in enumerate(run_jobs(waiting, engine, workers, scheduler, slurm), 1):
            failed += outcome.error is not None
            ended = f"failed: {outcome.error}" if outcome.error else f"{', '.join(outcome.ran) or 'nothing to do'} done"
            _say(f"[{number}/{len(waiting)}, {(time.monotonic() - start) / 60:.1f} min] {outcome.name}: {ended}")
            tracking.job(outcome.folder)
            _stop_if_full(output, outcome)
        headline = make_report(spec, output, jobs, force)
        tracking.finish(headline, [output / "tables", output / "figures"], failed)
    return failed


def make_report(spec: MatrixSpec, output: Path, jobs: Sequence[Job], force: bool = False) -> dict[str, float]:
    """Write all tables and figures of what is finished; return the headline numbers.

    Earlier ones stay until all are written.

    Raises:
        ConfigError: nothing is finished, or results must not stand in one table.
    """
    results = [r for m in spec.methods for row, name in rows_of(m) for r in _finished(jobs, m.name, name, row)]
    if not results:
        raise ConfigError(
            f"no job of the matrix has finished in {output} with these settings and this code (--any_code takes other code); "
            "there is nothing to make a table of."
        )
    with building(output / "report") as folder:
        headline = _write_report(spec, jobs, results, force, folder)
        for name in ("tables", "figures"):
            shutil.rmtree(output / name, ignore_errors=True)
            if (folder / name).is_dir():
                (folder / name).rename(output / name)
    return headline


def _write_report(
    spec: MatrixSpec, jobs: Sequence[Job], results: Sequence[Result], force: bool, output: Path
) -> dict[str, float]:
    scores = {row: method.scores for method in spec.methods for row, _ in rows_of(method)}
    point = operating_point(results, spec.operating_point)
    comparison = Comparison(results, scores, point, force, len(spec.folds))
    tables: dict[str, Table | None] = {
        "table1" if metric == "dice" else f"table1_{metric}": comparison.main(metric) for metric in spec.metrics
    }
    tables |= {
        "comparisons": comparison.comparisons(spec.comparisons, spec.metrics[0]),
        "healthy": healthy_table(comparison),
        "reconstruction": reconstruction_table(comparison),
        "noise_draws": draws_table(comparison),
        "lesion_size": size_table(comparison),
        "postprocessing": ablation_table(comparison, spec.metrics[0]),
        "budget": budget_table(comparison),
    }
    for name in spec.t_sweep:
        sweeps = {
            t: Comparison(found, scores, point, True, len(spec.folds))
            for t, found in _sweep(spec, jobs, results, name).items()
        }
        if len(sweeps) > 1:
            tables[f"t_sweep_{name}"] = t_sweep_table(sweeps, name)
            draw_t_sweep(sweeps, name, output / "figures" / f"t_sweep_{name}.png")
    if "published" in spec.source:
        tables |= {"reproduction": reproduction_table(comparison, spec.source)}
        if "average_precision" in spec.source["published"]:
            tables["reproduction_average_precision"] = reproduction_table(comparison, spec.source, "average_precision")
        tables |= {"orderings": ordering_table(comparison, spec.source)} if spec.source.get("orderings") else {}
    for stem, table in tables.items():
        if table is not None:
            write_table(table, output / "tables" / stem)
    for method in comparison.scores:
        if sigmas_of(comparison, method):
            draw_figure_2(comparison, method, output / "figures" / f"figure2_{method}.png")
    _write_cases(results, output / "tables" / "per_case.csv")
    print(markdown(comparison.main(spec.metrics[0])))
    cells = {(m, s, c): comparison.cell(c, m, s) for m, s in comparison.rows for c in comparison.columns}
    return {f"{c[1]}/{m}/{s}/dice": float(cell.mean or 0) for (m, s, c), cell in cells.items() if defined(cell)}


def _stop_if_full(output: Path, outcome: Outcome) -> None:
    """Raise a ``DiskFullError`` if that is why a job failed: every other one would fail after it."""
    if outcome.error is None:
        return
    if says_disk_full(outcome.error):
        raise DiskFullError(
            f"the disk is full ({outcome.folder}), so the jobs that are left were not begun. What has finished is kept; "
            "free some space and run the same command again to go on."
        )
    require_writable(output)


def _finished(jobs: Sequence[Job], method: str, name: str, row: str) -> Iterator[Result]:
    """Yield the finished evaluations of a method that lie in the folders ``name`` of its jobs, called ``row``."""
    for job in jobs:
        if job.labels["method"] == method and name not in {stage.name for stage in pending_stages(job)[0]}:
            yield read_result(Path(job.folder) / name, row)


def _sweep(spec: MatrixSpec, jobs: Sequence[Job], results: Sequence[Result], method: str) -> dict[int, list[Result]]:
    """Return ``{t: results}``, the main evaluation among them, with the baselines that every comparison needs."""
    found: dict[int, list[Result]] = {}
    for result in results:
        if result.method == method and isinstance(t := result.protocol.get("test_timesteps"), int):
            found.setdefault(t, []).append(result)
    for t in spec.t_sweep[method]:
        if measured := list(_finished(jobs, method, f"{EVALUATION}_t{t}", method)):
            found.setdefault(int(t), []).extend(measured)
    others = [result for result in results if result.kind in ("threshold", "atlas")]
    return {t: [*own, *others] for t, own in found.items()}


def _write_cases(results: Sequence[Result], path: Path) -> None:
    """Join the per-case files of all results with method, contrast and fold in front."""
    import pandas as pd

    tables = []
    for result in results:
        table = pd.read_csv(result.folder / "per_case.csv", dtype=str, keep_default_na=False)
        first = {"method": result.method, "contrast": result.contrast, "fold": result.fold}
        tables.append(pd.concat([pd.DataFrame(first, index=table.index), table], axis="columns"))
    pd.concat(tables).to_csv(path, index=False, lineterminator="\n")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

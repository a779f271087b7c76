# SPDX-License-Identifier: Apache-2.0
"""From the matrix file to jobs; whatever cannot work is refused here, in one sentence, before any training.

Checked are: configuration files and overrides of every method, the names of its scores, every split list and every file
in it for each contrast and fold, that thresholding and atlas are there, and that comparisons name existing rows.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..cohorts.datasets import get_dataset, tuned_on
from ..cohorts.split_csv import load_split
from ..core.errors import ConfigError, did_you_mean
from ..core.files import read_json
from ..core.resources import resource
from ..runs.arguments import check_arguments, resolved_config
from ..runs.model_folder import WEIGHTS
from .digests import code_digest, configuration_digest, file_digests
from .jobs import COMMAND, PRETRAINING, Job, Stage
from .spec import ContrastSpec, MatrixSpec, MethodSpec

BASELINES = {"threshold": "intensity thresholding", "atlas": "the voxel-wise atlas"}
EVALUATION, RECONSTRUCTIONS = "evaluation", "reconstructions"
Resolve = Callable[[tuple[str, ...]], dict[str, Any]]


@dataclass(frozen=True)
class Places:
    """Where things are: folders, absolute, and the tracking database or server (None: no tracking).

    >>> Places("data", "out").job_folder("ddpm", "t1", fold=0).as_posix()
    'out/runs/ddpm/t1_fold0'
    """

    dataset_dir: str
    output_dir: str
    cache_dir: str | None = None
    tracking_uri: str | None = None

    def job_folder(self, method: str, contrast: str, fold: int) -> Path:
        """Return the folder of one job."""
        return Path(self.output_dir) / "runs" / method / f"{contrast}_fold{fold}"


def plan_jobs(
    spec: MatrixSpec,
    places: Places,
    any_code: bool = False,
    command: Sequence[str] = COMMAND,
) -> list[Job]:
    """Return all jobs of a matrix, folds innermost.

    Args:
        spec, places: the matrix and its folders.
        any_code: keep finished work that only the code has changed since.
        command: between the interpreter and a stage's arguments.

    Raises:
        ConfigError: the matrix cannot work.
        DataError: a split list or a file in it is missing or wrong.
    """
    _check_contrasts(spec, places)
    resolve = cache(resolved_config)  # once for every command line
    jobs = [
        _job(resolve, spec, places, method, contrast, fold, any_code, tuple(command))
        for contrast in spec.contrasts
        for method in spec.methods
        if contrast in method.contrasts
        for fold in spec.folds
    ]
    _check_baselines(spec, jobs)
    _check_comparisons(spec)
    _check_data(resolve, spec, places, jobs)
    return jobs


def rows_of(method: MethodSpec) -> Iterator[tuple[str, str]]:
    """Yield (row name, folder of the evaluation) of a method: its own name, then its further evaluations."""
    yield method.name, EVALUATION
    for name in method.evaluations:
        yield name, f"{EVALUATION}_{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_')}"


def _job(
    resolve: Resolve, spec: MatrixSpec, places: Places, method: MethodSpec, contrast: str, fold: int, any_code: bool,
    command: tuple[str, ...],
) -> Job:  # fmt: skip
    data = spec.contrasts[contrast]
    folder = places.job_folder(method.name, contrast, fold)
    where: dict[str, Any] = {"dataset_dir": places.dataset_dir, "tracking_uri": places.tracking_uri}
    if places.cache_dir is not None:
        where["cache_dir"] = places.cache_dir
    model = {"dataset_name": data.dataset_name, "contrast": contrast, "fold": fold, "seed": spec.seed + fold}
    general = {**where, **model, "output_dir": str(folder), **spec.train, **data.train}
    lists, stages, own = _lists(places, _splits(places, data, False), fold), [], dict(method.train)
    if method.pretraining:
        encoder = {"output_dir": str(folder / PRETRAINING)}
        arguments = _arguments("training", method.pretraining, general, {**method.pretrain, **encoder})
        stages.append(_stage(PRETRAINING, resolve(arguments), arguments, f"{PRETRAINING}/{WEIGHTS}", None, lists))
        own["encoder_dir"] = encoder["output_dir"]
    training = _arguments("training", method.training, general, own)
    config = {**resolve(training), **({"encoder_dir": PRETRAINING} if method.pretraining else {})}  # wherever it lies
    stages.append(_stage("training", config, training, WEIGHTS, None, lists))
    general = {**where, "model_dir": str(folder), "reconstruction_dir": str(folder / RECONSTRUCTIONS), **spec.evaluate}
    general |= data.evaluate
    general |= {"test_sets": list(data.test_sets), "test_split": data.test_split, "tuning_sets": data.tuning_sets}
    extra = [(name, method.evaluations.get(row, {})) for row, name in rows_of(method)]
    extra += [(f"{EVALUATION}_t{t}", {"test_timesteps": t}) for t in spec.t_sweep.get(method.name, ())]
    for name, overrides in extra:
        own = {**method.evaluate, **overrides, "output_dir": str(folder / name)}
        arguments = _arguments("evaluating", method.evaluating, general, own)
        config = resolve(arguments)
        lists = _lists(places, _splits(places, data, True, bool(config.get("healthy_test"))), fold)
        stages.append(_stage(name, config, arguments, f"{name}/metrics.json", name, lists))
        _check_scores(method, config)
    labels = {
        "matrix": spec.name, "method": method.name, "contrast": contrast, "fold": fold, "seed": spec.seed + fold,
        "dataset_name": data.dataset_name, "test_sets": list(data.test_sets), "experiment": f"matrix {spec.name}",
        "kind": str(resolve(training).get("method", "")),
        "rows": {name: row for row, name in rows_of(method)},
    }  # fmt: skip
    name = f"{method.name}/{contrast}_fold{fold}"
    return Job(
        name,
        str(folder),
        tuple(stages),
        os.getcwd(),
        labels,
        command,
        any_code=any_code,
        parent_folder=places.output_dir,
    )


def _arguments(run: str, files: Sequence[str], general: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the command line; general overrides reach only configurations that know them, own ones must be known."""
    config: dict[str, Any] = {}
    for file in files:
        config.update(read_json(resource(file), "correct it, or leave it out of the matrix file."))
    needed = {key: value for key, value in general.items() if key.split("::")[0] in config}
    arguments = [run, "--config_file", files[0] if len(files) == 1 else str(list(files))]
    for key, value in {**needed, **own}.items():
        ignored = value is None and config.get(key) is not None  # MONAI's command line drops what is None
        arguments += [f"--{key}", "$None" if ignored else value if isinstance(value, str) else repr(value)]
    try:
        check_arguments(arguments, as_text=False)
    except ConfigError as error:
        raise ConfigError(f"{', '.join(files)}: {error}") from error
    return tuple(arguments)


def _stage(
    name: str,
    config: Mapping[str, Any],
    arguments: tuple[str, ...],
    product: str,
    clears: str | None,
    lists: Sequence[Path],
) -> Stage:
    found = [path for path in lists if path.is_file()]  # _check_data names the missing ones
    digests = {
        "configuration": configuration_digest(config),
        "code": code_digest(config),
        "split lists": file_digests(found),
    }
    return Stage(name, arguments, digests, product, clears)


def _splits(places: Places, data: ContrastSpec, test: bool, healthy_test: bool = False) -> list[tuple[str, str]]:
    """Return (data set, split) of the lists that a training reads, or an evaluation if ``test``, of healthy test scans too."""
    if not test:
        return [(data.dataset_name, "train"), (data.dataset_name, "val")]
    tuned = (tuned_on(name, data.tuning_sets, places.dataset_dir) for name in data.test_sets)
    tested = [(name, data.test_split) for name in data.test_sets]
    healthy = [(data.dataset_name, "test")] if healthy_test else []
    return [(data.dataset_name, "val"), *healthy, *tested, *((name, "val") for name in tuned if name)]


def _lists(places: Places, wanted: Iterable[tuple[str, str]], fold: int) -> list[Path]:
    """Return the files of :func:`_splits`."""
    folder = Path(places.dataset_dir) / "splits"
    return [folder / get_dataset(name, places.dataset_dir).split_file(split, fold) for name, split in wanted]


def _check_contrasts(spec: MatrixSpec, places: Places) -> None:
    for contrast, data in spec.contrasts.items():
        for name in (data.dataset_name, *data.test_sets):
            declared = get_dataset(name, places.dataset_dir)
            if contrast not in declared.contrasts:
                raise ConfigError(
                    f"matrix {spec.name}: {declared.title} is used in {' and '.join(declared.contrasts)} only, not in "
                    f"{contrast}; take it out of contrast {contrast}."
                )
            if declared.healthy != (name == data.dataset_name):
                raise ConfigError(
                    f"matrix {spec.name}, contrast {contrast}: dataset_name is a healthy set and test_sets are patients, "
                    f"but {name} is {'healthy' if declared.healthy else 'of patients'}."
                )


def _check_scores(method: MethodSpec, config: Mapping[str, Any]) -> None:
    known = set(config.get("scores") or ())
    expression = config.get("all_scores", "")
    if isinstance(expression, str):
        known |= set(re.findall(r"\b(\w+)=@", expression)) - {"ssim_ens"}
    if config.get("sigma_sweep") and isinstance(ensemble := config.get("ensemble"), Mapping):
        known |= {f"ssim_{sigma:g}" for sigma in ensemble.get("sigmas", ())} | {"ssim_mean", "ssim_ens"}
    chains = set(config.get("postprocessings") or ())
    for variant in method.scores:
        score, _, chain = variant.partition("@")
        if score not in known:
            raise ConfigError(
                f"method {method.name}: score {score!r} is unknown; {did_you_mean(score, known, '{!r}')}known: {', '.join(sorted(known))}."
            )
        if chain and chain not in chains:
            raise ConfigError(
                f"method {method.name}: post-processing {chain!r} of {variant!r} is unknown; "
                f"known: {', '.join(sorted(chains))}."
            )


def _check_baselines(spec: MatrixSpec, jobs: Sequence[Job]) -> None:
    for contrast in spec.contrasts:
        kinds = {job.labels["kind"] for job in jobs if job.labels["contrast"] == contrast}
        for kind, title in BASELINES.items():
            if kind not in kinds:
                raise ConfigError(
                    f"matrix {spec.name}, contrast {contrast}: {title} is missing; no table is printed without it, since "
                    f"it beats networks on some data. Add {{'bundle': '{kind}_baseline', ...}} to methods; it takes seconds."
                )


def _check_comparisons(spec: MatrixSpec) -> None:
    rows = {f"{row} {score}" for method in spec.methods for row, _ in rows_of(method) for score in method.scores}
    pairs = [*spec.comparisons, *spec.source.get("orderings", ())]
    for name in (*(name for pair in pairs for name in pair), *spec.source.get("published", {}).get("rows", ())):
        if name not in rows:
            raise ConfigError(
                f"matrix {spec.name}: comparison of {name!r}, which is no row; {did_you_mean(name, rows, '{!r}')}rows are 'METHOD SCORE'."
            )


def _check_data(resolve: Resolve, spec: MatrixSpec, places: Places, jobs: Sequence[Job]) -> None:
    seen: set[tuple[Any, ...]] = set()
    for job in jobs:
        contrast, fold = job.labels["contrast"], job.labels["fold"]
        data = spec.contrasts[contrast]
        healthy_test = any(resolve(stage.arguments).get("healthy_test") for stage in job.stages[1:])
        for name, split in (*_splits(places, data, False), *_splits(places, data, True, healthy_test)):
            number = fold if get_dataset(name, places.dataset_dir).has_folds(split) else None
            if (name, split, contrast, number) not in seen:
                seen.add((name, split, contrast, number))
                load_split(places.dataset_dir, name, split, contrast, number)

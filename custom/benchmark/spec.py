# SPDX-License-Identifier: Apache-2.0
"""The matrix file: what is trained, evaluated and shown, as JSON.

::

    {
      "name": "demo", "seed": 3141, "folds": [0, 1],                             fold k is trained with seed + k
      "contrasts": {"t2": {"dataset_name": "demo", "test_sets": ["demo_tumour"], "test_split": "test", "tuning_sets": null}},
      "train": {"max_epochs": 20}, "evaluate": {"healthy_test": false},          overrides of all methods
      "methods": {
        "ddpm": {
          "bundle": "ddpm_ssim_ens", "train_overlays": ["bundles/ddpm_ssim_ens/configs/small.json"],
          "pretraining": ["bundles/cddpm/configs/spark_pretraining.json"], "pretrain": {"max_epochs": 50},   encoder first
          "train": {"lr": 5e-4}, "evaluate": {"test_timesteps": 500}, "scores": ["l1", "ssim_ens"], "contrasts": ["t2"],
          "evaluations": {"ddpm, 3 t": {"test_timesteps": [250, 500, 750]}}             more rows from the same model
        }
      },
      "metrics": ["dice"], "operating_point": "tuned", "comparisons": [["ddpm ssim_ens", "ddpm l1"]],
      "t_sweep": {"ddpm": [250, 750]}, "published": ..., "tolerance": ...        see custom.benchmark.reproduction
    }

Without ``operating_point`` the threshold is ``tuned`` where there is one, else the first that most results have.
``training`` and ``evaluating`` (lists of configuration files) may stand in the place of ``bundle``. An override that a
bundle does not know is refused, unless it stands in the overrides of all methods: there it reaches those that know it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError, did_you_mean
from ..core.files import read_json
from ..core.resources import bundle_names, matrix_file, resource

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class ContrastSpec:
    """Data of one contrast.

    Attributes:
        dataset_name: healthy data set that is trained on.
        test_sets: patient data sets that are tested on.
        test_split: split of them that is tested, "test" or "val".
        tuning_sets: ``{test set: data set its threshold is tuned on}``; None: each on its own validation scans.
        train, evaluate: overrides of the two commands in this contrast.

    >>> ContrastSpec("ixi", test_sets=("brats21", "mslub")).test_split
    'test'
    """

    dataset_name: str
    test_sets: tuple[str, ...]
    test_split: str = "test"
    tuning_sets: Mapping[str, str] | None = None
    train: Mapping[str, Any] = field(default_factory=dict)
    evaluate: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodSpec:
    """One method.

    Attributes:
        name: of its rows and its folder.
        training, evaluating, pretraining: configuration files of the commands, later ones win.
        scores: that are rows of the table.
        train, evaluate, pretrain: overrides of the commands.
        contrasts: in which the method is run.
        evaluations: further rows of the same model, ``{row: overrides}``.

    >>> methods = {"atlas": {"bundle": "atlas_baseline", "scores": ["zscore"]}}
    >>> contrasts = {"t2": {"dataset_name": "demo", "test_sets": ["demo_tumour"]}}
    >>> content = {"name": "demo", "seed": 1, "folds": [0], "contrasts": contrasts, "methods": methods}
    >>> parse_spec(content).methods[0].training
    ('bundles/atlas_baseline/configs/train.json',)
    """

    name: str
    training: tuple[str, ...]
    evaluating: tuple[str, ...]
    scores: tuple[str, ...]
    train: Mapping[str, Any]
    evaluate: Mapping[str, Any]
    contrasts: tuple[str, ...]
    evaluations: Mapping[str, Mapping[str, Any]]
    pretraining: tuple[str, ...] = ()
    pretrain: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MatrixSpec:
    """A whole matrix file; the module's text explains its entries. ``source`` is the file as it was read.

    >>> spec = read_spec("demo")
    >>> spec.folds, list(spec.contrasts), [method.name for method in spec.methods][:2]
    ((0, 1), ['t2'], ['threshold', 'atlas'])
    """

    name: str
    seed: int
    folds: tuple[int, ...]
    contrasts: Mapping[str, ContrastSpec]
    methods: tuple[MethodSpec, ...]
    train: Mapping[str, Any]
    evaluate: Mapping[str, Any]
    metrics: tuple[str, ...] = ("dice",)
    operating_point: str | None = None
    comparisons: tuple[tuple[str, str], ...] = ()
    t_sweep: Mapping[str, Sequence[int]] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)


def _keys(kind: type, *others: str) -> set[str]:
    return {entry.name for entry in fields(kind)} | set(others)


_KEYS = _keys(MatrixSpec, "about", "published", "tolerance", "orderings", "doubts", "splits_rule") - {"source"}
_METHOD_KEYS = _keys(MethodSpec, "about", "bundle", "train_overlays", "evaluate_overlays") - {"name"}
_CONTRAST_KEYS = _keys(ContrastSpec)


def read_spec(path: str | Path) -> MatrixSpec:
    """Read a matrix file.

    Raises:
        ConfigError: no JSON, an unknown or missing key, an empty list, or a name that cannot be a folder.
    """
    path = Path(path)
    return parse_spec(read_json(matrix_file(path), "correct the matrix file."), str(path))


def parse_spec(content: Mapping[str, Any], where: str = "the matrix") -> MatrixSpec:
    """Return the parsed content of a matrix file; ``where`` is named in errors."""
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: a matrix is a JSON object, got {type(content).__name__}.")
    _known(content, _KEYS, where)
    for key in ("name", "seed", "folds", "contrasts", "methods"):
        if content.get(key) in (None, "", [], {}):
            raise ConfigError(f"{where}: {key!r} is missing or empty.")
    folds = tuple(content["folds"])
    if len(set(folds)) != len(folds) or not all(isinstance(fold, int) and fold >= 0 for fold in folds):
        raise ConfigError(f"{where}: folds must be different whole numbers from 0, got {list(folds)}.")
    contrasts = {name: _contrast(name, entry, where) for name, entry in content["contrasts"].items()}
    methods = tuple(_method(name, entry, tuple(contrasts), where) for name, entry in content["methods"].items())
    sweep = content.get("t_sweep", {})
    _known(sweep, {method.name for method in methods}, f"{where}, t_sweep")
    return MatrixSpec(
        name=_named(content["name"], where),
        seed=int(content["seed"]),
        folds=folds,
        contrasts=contrasts,
        methods=methods,
        train=content.get("train", {}),
        evaluate=content.get("evaluate", {}),
        metrics=tuple(content.get("metrics", ("dice",))),
        operating_point=content.get("operating_point"),
        comparisons=tuple((first, second) for first, second in content.get("comparisons", ())),
        t_sweep=sweep,
        source=content,
    )


def _contrast(name: str, entry: Mapping[str, Any], where: str) -> ContrastSpec:
    _known(entry, _CONTRAST_KEYS, f"{where}, contrast {name}")
    if not entry.get("dataset_name") or not entry.get("test_sets"):
        raise ConfigError(f"{where}, contrast {name}: needs dataset_name and a list test_sets.")
    return ContrastSpec(**dict(entry, test_sets=tuple(entry["test_sets"])))


def _method(name: str, entry: Mapping[str, Any], contrasts: tuple[str, ...], where: str) -> MethodSpec:
    where = f"{where}, method {_named(name, where)}"
    _known(entry, _METHOD_KEYS, where)
    training, evaluating = list(entry.get("training", ())), list(entry.get("evaluating", ()))
    if bundle := entry.get("bundle"):
        if bundle not in (known := bundle_names()):
            raise ConfigError(
                f"{where}: there is no bundle {bundle!r}; {did_you_mean(bundle, known, '{!r}')}known: {', '.join(known)}."
            )
        training = training or [f"bundles/{bundle}/configs/train.json"]
        evaluating = evaluating or [f"bundles/{bundle}/configs/evaluate.json"]
    training += entry.get("train_overlays", ())
    evaluating += entry.get("evaluate_overlays", ())
    if not training or not evaluating:
        raise ConfigError(f"{where}: name its bundle, or the lists training and evaluating of configuration files.")
    pretraining = tuple(entry.get("pretraining", ()))
    missing = [file for file in (*pretraining, *training, *evaluating) if not resource(file).is_file()]
    if missing:
        raise ConfigError(
            f"{where}: {missing[0]} does not exist. bundles/... and custom/configs/... are found in the package, other paths "
            "are relative to the current folder."
        )
    if not entry.get("scores"):
        raise ConfigError(f"{where}: the list scores is empty; its scores are the rows of the table.")
    own = tuple(entry.get("contrasts", contrasts))
    _known(dict.fromkeys(own), set(contrasts), f"{where}, contrasts")
    return MethodSpec(
        name, tuple(training), tuple(evaluating), tuple(entry["scores"]), entry.get("train", {}),
        entry.get("evaluate", {}), own, entry.get("evaluations", {}), pretraining, entry.get("pretrain", {}),
    )  # fmt: skip


def _named(name: Any, where: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: {name!r} cannot be a folder name; use letters, digits, '_', '-' and '.'.")
    return name


def _known(entry: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in entry:
        if key not in known:
            raise ConfigError(
                f"{where}: {key!r} is unknown; {did_you_mean(key, known, '{!r}')}known: {', '.join(sorted(known))}."
            )

# SPDX-License-Identifier: Apache-2.0
"""The configurations of a release: those of its bundle with every ``%`` macro in place, so that they need no other file.

What the model is stands in ``models/model.json`` and is read from there; nothing of it is written into a configuration.
``python -m monai.bundle`` and MONAI Label read ``inference.json``. Label adds rules of its own: no macros and no
``@_meta_``, ``device`` may be a string, the inferer must look at the weights itself.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ..core.errors import ConfigError
from ..core.files import read_json
from ..core.resources import rooted
from ..runs.model_folder import ModelFolder

_KINDS = {  # run id, its arguments, output folder
    "inference": ("inference", "--input SCAN|FOLDER|list.txt --output_dir OUT", "predictions"),
    "evaluate": ("evaluating", "--dataset_dir DATA --output_dir OUT", "evaluation"),
    "train": ("training", "--dataset_dir DATA --output_dir OUT", "finetuned"),
}
_JOINED = {"_target_": "custom.release.joined.join", "bundle_root": "@bundle_root"}
_MODELS = "$@bundle_root + '/models'"


def release_configs(bundle: str | Path, model: ModelFolder, name: str) -> dict[str, dict[str, Any]]:
    """Return ``{"inference": ..., "evaluate": ..., "train": ...}``; of a bundle without evaluation or training, fewer.

    Args:
        bundle: folder of the source bundle.
        model: that is released.
        name: of the release.

    Raises:
        ConfigError: the bundle takes no scans, or something in it cannot stand alone.
    """
    folder = Path(bundle) / "configs"
    if not (folder / "inference.json").is_file():
        raise ConfigError(f"{bundle} has no configs/inference.json, so it is not a bundle that scans can be given to.")
    configs = {}
    for kind, (run_id, arguments, output_dir) in _KINDS.items():
        if not (folder / f"{kind}.json").is_file():
            continue
        config = _resolved(folder / f"{kind}.json")
        config["about"] = (
            f"{name}: {kind} of a released model. python -m monai.bundle run {run_id} --config_file "
            f"{name}/configs/{kind}.json --bundle_root {name} {arguments}"
        )
        config |= {"bundle_root": ".", "output_dir": output_dir, "joined": dict(_JOINED)}
        if kind == "train":
            _train(config, model)
        else:
            config["model_dir"] = _MODELS
            config["model"] |= {"_requires_": "@joined"}
        if kind == "inference":
            _inference(config)
        _run_late(config)
        _require_self_contained(config, f"{kind}.json")
        configs[kind] = config
    return configs


def _inference(config: dict[str, Any]) -> None:
    released = {  # not @network, which goes to the device that a request to a Label server names
        "_target_": "custom.models.weights.load_weights",
        "network": "$@model.network()", "path": "$@model.weights", "sha256": "$@model.weights_sha256",
    }  # fmt: skip
    digest = {"_target_": "custom.release.checked.network_sha256", "network": released}
    checker = "custom.release.checked.CheckedInferer"
    config["inferer"] = {"_target_": checker, "inferer": config["inferer"], "weights_sha256": digest}
    label = {"_target_": "custom.release.for_label.ForMonaiLabeld", "keys": "image"}
    config["postprocessing"]["transforms"].append(label)


def _train(config: dict[str, Any], model: ModelFolder) -> None:
    """Let a training go on from the released weights, with the released parts."""
    reader = {"_target_": "custom.runs.model_folder.ModelFolder.read", "folder": _MODELS, "_requires_": "@joined"}
    config |= {"released": reader, "contrast": "$@released.contrast", "method": "$@released.method"}
    for part, reference in config["parts"].items():
        if part in model.content["parts"]:
            config[str(reference).removeprefix("@")] = f"$@released.build('{part}')"
    config["network_def"] = {
        "_target_": "custom.models.weights.load_weights",
        "network": "$@network_spec()", "path": "$@released.weights", "sha256": "$@released.weights_sha256",
    }  # fmt: skip


def _run_late(config: dict[str, Any]) -> None:
    """MONAI puts the bundle's folder on the path between "initialize" and the run; only then is its ``custom`` found."""
    for run_id in ("inference", "evaluating", "promoting", "training"):
        if run_id in config:
            config[run_id] = [*config["initialize"], *config[run_id]]
    config["initialize"] = []


def _resolved(path: Path) -> dict[str, Any]:
    parser = ConfigParser(rooted(read_json(path, "give the folder of a bundle.")))
    parser.resolve_macro_and_relative_ids()
    config: dict[str, Any] = json.loads(json.dumps(parser.get()))
    config.pop("_meta_", None)
    return config


def _require_self_contained(config: Mapping[str, Any], file: str) -> None:
    for place, text in _strings(config, ""):
        if text.startswith("%") or "@_meta_" in text:
            raise ConfigError(
                f"{file}: {place} still refers to another file ({text[:80]}); a release must stand alone."
            )
        if text.startswith(("/", "~")) or re.match(r"[A-Za-z]:\\", text):
            raise ConfigError(
                f"{file}: {place} holds a path of this machine ({text[:80]}); use one relative to bundle_root."
            )


def _strings(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(item, f"{place}::{key}".removeprefix("::"))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{place}::{index}")

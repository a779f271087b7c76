# SPDX-License-Identifier: Apache-2.0
"""Run a workflow of a bundle in this process, from any folder: the same configuration as ``python -m monai.bundle run``.

Other than on MONAI's own command line, overrides are objects: a path may hold ``#``, ``$``, ``%`` or ``@``, and no text of
a user is read as code.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cohorts.split_csv import require_list
from ..core.errors import ConfigError, DataError
from ..core.resources import bundle_folder, resource, rooted
from ..runs.knobs import KNOBS, check_knobs
from .overrides import Words, as_objects, choice_names, settings_of, typed

_RUN_IDS = {"train": "training", "spark_pretraining": "training", "evaluate": "evaluating", "inference": "inference"}


def config_files(bundle: Path, stage: str, presets: Sequence[str] = ()) -> list[Path]:
    """Return the configuration files of a stage of a bundle: its own, then the presets laid over it.

    Args:
        bundle: folder of the bundle.
        stage: "train", "spark_pretraining", "evaluate" or "inference".
        presets: names of JSON files in the bundle's ``configs`` or in ``custom/configs``, or paths of others.

    Raises:
        ConfigError: the bundle has no such stage, or there is no such preset.
    """
    own = bundle / "configs" / f"{stage}.json"
    if not own.is_file():
        raise ConfigError(f"{bundle} has no configs/{stage}.json, so it cannot {stage}.")
    files = [own]
    for preset in presets:
        places = [bundle / "configs" / f"{preset}.json", resource(f"custom/configs/{preset}.json"), Path(preset)]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            names = ", ".join(preset_names(bundle)) or "none"
            raise ConfigError(f"there is no preset {preset}; presets of {bundle.name}: {names}.")
        files.append(found)
    return files


def preset_names(bundle: Path) -> list[str]:
    """Return the names of a bundle's presets: its configuration files that only change settings of a stage."""
    return sorted({path.stem for path in (bundle / "configs").glob("*.json")} - {*_RUN_IDS, "metadata", "model"})


def read_config(files: Sequence[Path]) -> dict[str, Any]:
    """Return the merged content of configuration files, with macros as they stand there; MONAI is loaded only where it must."""
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.suffix == ".json"]
    if len(contents) == len(files) and not any(key.startswith("+") for content in contents for key in content):
        return {key: value for content in contents for key, value in content.items()}
    from monai.bundle import ConfigParser

    content: dict[str, Any] = ConfigParser.load_config_files([str(file) for file in files])
    return content


def run_bundle(
    bundle: Path,
    stage: str,
    values: Mapping[str, Any],
    settings: Mapping[str, Words] | None = None,
    presets: Sequence[str] = (),
    results: Sequence[str] = (),
) -> dict[str, Any]:
    """Run a stage and return some of its resolved entries.

    Args:
        bundle: folder of the bundle.
        stage: "train", "spark_pretraining", "evaluate" or "inference".
        values: overrides as objects; those that the configuration does not know are an error.
        settings: overrides as words of a command line, see :func:`~custom.cli.overrides.typed`.
        presets: see :func:`config_files`.
        results: names of entries whose values are returned.

    Raises:
        ConfigError: an override that cannot be, before anything is built.
    """
    files = config_files(bundle, stage, presets)
    config = read_config(files)
    label = f"{bundle.name}/configs/{stage}.json"
    overrides = {name: typed(name, words, config, label) for name, words in (settings or {}).items()}
    for name, value in values.items():
        if name in overrides:
            raise ConfigError(f"--{name} is given twice; give it once.")
        if name not in config:
            raise ConfigError(f"{name} is not a setting of {label}.")
        overrides[name] = value
    merged = {**config, **overrides}
    check_knobs(merged)
    root = overrides.get("dataset_dir")
    if root is not None and not Path(root).is_dir():
        raise DataError(f"the data root {root} does not exist; give the folder that holds splits, Train and Test")
    if root is not None and stage in ("train", "spark_pretraining") and "dataset_name" in merged:
        require_list(root, merged["dataset_name"], "train", merged.get("fold"))  # seconds before the check of the data
    overrides.setdefault("bundle_root", str(bundle))
    return run_files(files, _RUN_IDS[stage], overrides, results)


def run_files(
    files: Sequence[Path],
    run_id: str,
    overrides: Mapping[str, Any],
    results: Sequence[str] = (),
    configuration: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run a list of expressions of merged configuration files and return some of the resolved entries.

    Args:
        files: later ones are laid over earlier ones.
        run_id: name of the list of expressions.
        overrides: values of entries; text in them is no code, see :func:`~custom.cli.overrides.as_objects`.
        results: names of entries whose values are returned.
        configuration: further entries in MONAI's grammar.
    """
    from monai.bundle import ConfigWorkflow

    from ..runs.start import COMMAND_CONFIG

    workflow = ConfigWorkflow(
        config_file=[str(file) for file in files],
        run_id=run_id,
        workflow_type="train" if run_id == "training" else "infer",
    )
    pairs, given = as_objects(overrides)
    pairs |= configuration or {}
    workflow.parser.set(rooted(workflow.parser.get()))
    workflow.parser.update({name: rooted(value) for name, value in pairs.items()})
    workflow.parser.globals.update(given)
    workflow.parser.parse()  # imports what macros name, so that the record of the command is complete
    token = COMMAND_CONFIG.set({**workflow.parser.get(), **overrides})
    try:
        workflow.initialize()
        workflow.run()
        workflow.finalize()
        return {name: workflow.parser.get_parsed_content(name) for name in results}
    finally:
        COMMAND_CONFIG.reset(token)


def settings_table(bundle: Path, stage: str) -> str:
    """Return the settings of a stage with their defaults, a line each, for ``--help``; nothing heavy is imported."""
    config = read_config(config_files(bundle, stage))
    lines = [f"settings of {bundle.name} (--name value):"]
    for name, default in settings_of(config).items():
        knob = KNOBS.get(name)
        shown = choice_names(default) or ("computed" if str(default)[:1] in ("$", "@", "{") else json.dumps(default))
        about = f"{knob.help}; {knob.expected}; default {shown}" if knob else f"default {shown}"
        indent = " " * 27
        lines.append(
            textwrap.fill(
                about, 118, initial_indent=f"  --{name:<22} ", subsequent_indent=indent, break_long_words=False
            )
        )
    return "\n".join(lines)


def bundle_of(run_dir: str | Path) -> Path:
    """Return the folder of the bundle that a model was trained with.

    Raises:
        ConfigError: no trained model, or a bundle that is not there.
    """
    from ..runs.model_folder import ModelFolder

    return bundle_folder(ModelFolder.read(run_dir).bundle)

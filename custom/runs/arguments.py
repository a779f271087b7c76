# SPDX-License-Identifier: Apache-2.0
"""Refuse what MONAI's command line accepts in silence: misspelt overrides, values of the wrong kind or out of range.

``python -m monai.bundle run`` adds an unknown ``--key`` to the configuration and never looks at it again, and takes
``--max_epochs abc`` as a string. :func:`check_arguments` reads the same command line, ``--args_file`` and configuration
files and raises :class:`~custom.core.errors.ConfigError` before any work, naming the closest known key.
"""

import ast
import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ..core.errors import ConfigError, did_you_mean
from ..core.files import read_json
from ..core.resources import resource, rooted
from .knobs import RENAMED, check_knobs

_OWN_OPTIONS = {
    *("run_id", "init_id", "final_id", "meta_file", "config_file", "logging_file", "tracking", "args_file"),
    *("run_name", "save_execute_config"),
}
_PERHAPS_OWN = {"tracking_uri", "experiment_name"}  # settings where the configuration has them
_BROUGHT = {"bundle", "model", "network", "network_def", "calibration", "postprocessing_chain"}


def check_arguments(arguments: Sequence[str], as_text: bool = True) -> None:
    """Check the arguments behind ``monai.bundle run``.

    Args:
        arguments: ``["training", "--config_file", "a.json", "--lr", "0.1", ...]``.
        as_text: MONAI's command line reads the values, some of which it takes for code.

    Raises:
        ConfigError: unknown key, or a word where the configuration holds a number or true/false.
    """
    options = _options(arguments)
    if "tracking" in options:
        raise ConfigError(
            "--tracking is MONAI's own and does not work with these bundles; give the MLflow server or database by "
            "--tracking_uri, for example --tracking_uri http://127.0.0.1:5000."
        )
    if "config_file" not in options:
        return
    config: dict[str, Any] = {}
    trained: set[str] = set()
    for file in _config_files(options["config_file"]):
        if not file.is_file():
            raise ConfigError(
                f"there is no configuration {file} (--config_file); run from the repository's root, or check the path."
            )
        config.update(read_json(file, "give a JSON configuration to --config_file."))
        training = file.with_name("train.json")
        trained |= set(read_json(training, "copy the bundle again.")) if training.is_file() else set()
    given = {
        key: value
        for key, value in options.items()
        if key.split("::")[0] not in _OWN_OPTIONS | _PERHAPS_OWN or key in config
    }
    for key, value in given.items():
        _check_model(key, config, trained)
        _check_one(key, value, config)
        if as_text:
            _check_text(key, value)
            _check_nothing(key, value, config)
    check_knobs({**config, **{key: _value(value) for key, value in given.items()}})


def resolved_config(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of a command line with its overrides and with every imported part in place."""
    files, overrides = files_and_overrides(arguments)
    parser = ConfigParser()
    with contextlib.redirect_stdout(io.StringIO()):  # MONAI prints its security note once more
        parser.read_config([str(file) for file in files])
    parser.set(rooted(parser.get()))
    parser.update({key: rooted(value) for key, value in overrides.items()})
    parser.resolve_macro_and_relative_ids()
    config: dict[str, Any] = parser.get()
    return config


def files_and_overrides(arguments: Sequence[str]) -> tuple[list[Path], dict[str, Any]]:
    """Return the configuration files of a command line, and its settings as values.

    Raises:
        ConfigError: no configuration is named.
    """
    options = _options(arguments)
    if "config_file" not in options:
        raise ConfigError("no configuration is given; add --config_file FILE.")
    files = _config_files(options.pop("config_file"))
    return files, {key: _value(text) for key, text in options.items() if key.split("::")[0] not in _OWN_OPTIONS}


def _value(text: Any) -> Any:
    try:
        return ast.literal_eval(text) if isinstance(text, str) else text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _options(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the options of a command line as text, and behind them those of its ``--args_file`` as JSON values."""
    options: dict[str, Any] = {}
    waiting: str | None = None
    for argument in arguments:
        if argument.startswith("--"):
            key, equals, value = argument[2:].partition("=")
            key = key.replace("#", "::").replace("-", "_")  # python-fire takes --config-file for --config_file
            options[key] = value if equals else "True"
            waiting = None if equals else key
        elif waiting is not None:
            options[waiting], waiting = argument, None
    if "args_file" not in options:
        return options
    remedy = "give a JSON object of settings to --args_file."
    return {key.replace("#", "::"): value for key, value in read_json(options["args_file"], remedy).items()} | options


def _config_files(value: Any) -> list[Path]:
    files = ast.literal_eval(value) if isinstance(value, str) and value.startswith("[") else value
    names = [str(item) for item in files] if isinstance(files, (list, tuple)) else [str(files)]
    return [resource(name) for name in names]


def _check_model(key: str, config: Mapping[str, Any], trained: set[str]) -> None:
    """Refuse what a trained model brings along; ``trained`` are the names that its bundle's training knows."""
    name = key.split("::")[0]
    if "model" not in config:
        return
    if name in RENAMED and name not in config:
        raise ConfigError(f"--{key} is not an option any more: {RENAMED[name]}.")
    if name in _BROUGHT or (name in trained and name not in config):
        raise ConfigError(
            f"--{key} cannot be changed here: it belongs to the training, and the model in --model_dir brings it along in its "
            "model.json. Train another model with it, or leave it out."
        )


def _check_text(key: str, value: Any) -> None:
    """Refuse values that MONAI's command line would take for something else than a name."""
    if not isinstance(value, str):
        return
    if "#" in value:
        raise ConfigError(
            f"--{key} {value!r} contains #, which MONAI's command line reads as ::; use another name, or the command uad, "
            "which takes any."
        )
    if value.startswith(("$", "@")) and (key.endswith("_dir") or key in ("input", "mask")):
        raise ConfigError(
            f"--{key} {value!r} begins with {value[0]}, which MONAI's command line reads as code; write ./{value}, or use the "
            "command uad, which takes any name."
        )


def _check_nothing(key: str, value: Any, config: Mapping[str, Any]) -> None:
    """Refuse a None that MONAI's command line would drop, so that the default stayed without a word."""
    if value in ("None", "null", None) and isinstance(config.get(key), (bool, int, float, list)):
        raise ConfigError(
            f"--{key} None is dropped by MONAI's command line, and the default {config[key]} would stay; write --{key} '$None', or "
            "use the command uad, which takes None."
        )


def _check_one(key: str, value: Any, config: Mapping[str, Any]) -> None:
    known: Any = config
    for depth, part in enumerate(parts := key.split("::")):
        if isinstance(known, Mapping) and part not in known:
            names = ["::".join([*parts[:depth], name]) for name in known if not name.startswith("_")]
            close = did_you_mean("::".join(parts[: depth + 1]), names, "--{}").strip()
            hint = close or "see the top of the configuration file for the knobs."
            raise ConfigError(f"--{key} is not a setting of this configuration, it would have no effect; {hint}")
        if isinstance(known, str) and depth:
            raise ConfigError(
                f"--{key} reaches into '{'::'.join(parts[:depth])}', which is imported; override it whole."
            )
        known = known[part] if isinstance(known, Mapping) else None
    if isinstance(known, (bool, int, float)) and not _fits(value, known):
        kind = "True or False" if isinstance(known, bool) else "a number"
        raise ConfigError(f"--{key} must be {kind} (its default is {known}), got '{value}'.")


def _fits(text: Any, default: bool | int | float) -> bool:
    if not isinstance(text, str):
        text = repr(text)
    if text.startswith(("$", "@", "%")) or text in ("None", "null"):
        return True
    try:
        value = ast.literal_eval(text)  # "false" in lower case would reach the configuration as a word, which is true
    except (ValueError, SyntaxError):
        return False
    if isinstance(default, bool):
        return value in (True, False, 0, 1)
    if isinstance(default, int) and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, (int, float, list, tuple)) and not isinstance(value, bool)

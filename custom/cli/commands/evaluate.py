# SPDX-License-Identifier: Apache-2.0
"""Measure a trained model on patients: thresholds from validation scans, tables and figures of the test scans.

Without `--test_sets` every data set of patients in DATA that has a test list and the model's contrast is tested. Every
setting of the bundle's evaluate.json is an option, for example
`uad evaluate RUN --data DATA --test_sets demo_tumour demo_ms --test_limit 5`; `uad evaluate RUN --help` lists them.
With `--promote` the thresholds become those that predictions with this model use.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...core.errors import ConfigError
from ...core.files import require_writable
from ...core.resources import resource
from ...runs.model_names import model_folder
from ..bundle import bundle_of, run_bundle, settings_table
from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="folder of a trained model or of a release, or a name that `uad models` lists")
    parser.add_argument("--data", required=True, help="folder with splits, Train and Test")
    parser.add_argument("-o", "--output", help="folder of the results (default: RUN/evaluation; none for a release)")
    parser.add_argument("--preset", action="append", default=[], help="settings by name; may be repeated")


def settings_help(words: Sequence[str]) -> str:
    """Return the settings of the evaluation of the model that is named in ``words``."""
    for word in words:
        with suppress(ConfigError):  # no model
            return settings_table(bundle_of(model_folder(word)), "evaluate")
    return "`uad evaluate RUN --help` lists the bundle's settings."


def run(arguments: argparse.Namespace) -> int:
    model = _model_dir(arguments)
    bundle = bundle_of(model)
    values = {"dataset_dir": arguments.data, "model_dir": str(model)}
    if arguments.output:
        values["output_dir"] = arguments.output
    require_writable(arguments.output or arguments.run)
    found = run_bundle(bundle, "evaluate", values, arguments.settings, arguments.preset, ["output_dir"])
    folder = Path(found["output_dir"])
    closing(
        {"tables": folder / "report.md", "figures": folder / "figures", "every scan": folder / "per_case.csv"},
        {
            "anomaly maps of scans of your own": command_line(
                "uad", "predict", "SCAN", "-o", "out", "--model", arguments.run
            )
        },
    )
    return 0


def _release_of(folder: Path) -> Path | None:
    """Return the folder of the release that a model belongs to, None for that of a training."""
    folder = folder.resolve()
    if resource("custom/released").resolve() in folder.parents:
        return folder
    return folder.parent if folder.name == "models" and (folder.parent / "manifest.json").is_file() else None


def _model_dir(arguments: argparse.Namespace) -> Path:
    """Return the folder of the model; one of a release or of this package is only read."""
    folder = model_folder(arguments.run)
    release = _release_of(folder)
    if release is None:
        return folder
    if not arguments.output or release in (Path(arguments.output).resolve(), *Path(arguments.output).resolve().parents):
        raise ConfigError(
            f"{arguments.run} is a released model, and nothing is written into it; name another folder for the results: -o OUT."
        )
    promote = arguments.settings.get("promote")
    if promote is not None and " ".join(promote).lower() not in ("false", "no", "0", "off"):
        raise ConfigError(
            f"{arguments.run} is a released model, whose thresholds stay as they are; leave out --promote. `uad calibrate` makes a "
            "copy with thresholds for other scans."
        )
    return folder

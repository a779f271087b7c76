# SPDX-License-Identifier: Apache-2.0
"""An ``inference.json`` that needs no other file: macros resolved, trained settings and calibration as literals.

``python -m monai.bundle``, :mod:`custom.predict` and MONAI Label read it alike. Label adds rules of its own: no macros
and no ``@_meta_``, ``device`` may be a string, ``displayable_configs`` must be plain values.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ..core.errors import ConfigError
from ..prediction.calibration import Calibration
from ..prediction.predictor import inference_parser
from ..runs.settings import trained_settings
from ..runs.start import find_foreseen

_FROZEN = re.compile(r"^\$.*@(trained|calibration)\b")
_COMMAND = (
    "python -m monai.bundle run inference --config_file {name}/configs/inference.json --bundle_root {name} "
    "--input SCAN|FOLDER|list.txt --results_dir OUT"
)


def frozen_config(
    run_dir: str | Path, bundle: str | Path, name: str, file_sha256: str, weights_sha256: str
) -> dict[str, Any]:
    """Return the content of the release's ``inference.json``.

    Args:
        run_dir: trained and evaluated model.
        bundle: folder of its bundle.
        name: name of the release.
        file_sha256: digest of ``model.safetensors``.
        weights_sha256: :func:`~custom.release.checked.state_sha256` of the weights.

    Raises:
        ConfigError: something in the bundle cannot be frozen.
    """
    try:
        parser = inference_parser(run_dir, Path(bundle) / "configs" / "inference.json")
        calibration: Calibration = parser.get_parsed_content("calibration")
        settings = trained_settings(run_dir)
        config: dict[str, Any] = json.loads(json.dumps(parser.get()))
        _freeze_settings(config, parser)
    except (RuntimeError, ValueError) as error:  # MONAI wraps the errors of components
        raise find_foreseen(error) or error from None
    config |= {
        "about": f"{name}: frozen from a trained and calibrated model. " + _COMMAND.format(name=name),
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/models'",
        "results_dir": "predictions",
        "trained": settings,
        "calibration": {"_target_": "custom.prediction.calibration.Calibration", **_literal(calibration)},
        "displayable_configs": {"threshold": 0.0, "sensitivity": calibration.names},
        "inferer": {
            "_target_": "custom.release.checked.CheckedInferer",
            "inferer": config["inferer"],
            "weights_sha256": weights_sha256,
        },
        "network": {**config["network"], "sha256": file_sha256},
    }
    config["postprocessing"]["transforms"].append(
        {"_target_": "custom.release.for_label.ForMonaiLabeld", "keys": "image"}
    )
    # MONAI puts the bundle's folder on the path between "initialize" and the run; only then is its custom/ found.
    config["inference"] = [*config["initialize"], *config["inference"]]
    config["initialize"] = []
    _require_self_contained(config)
    return config


def _freeze_settings(config: dict[str, Any], parser: ConfigParser) -> None:
    for key, value in config.items():
        if isinstance(value, str) and _FROZEN.match(value):
            found = parser.get_parsed_content(key)
            try:
                config[key] = json.loads(json.dumps(found, allow_nan=False))
            except (TypeError, ValueError):
                raise ConfigError(f"the setting {key} ({value}) is no JSON value and cannot be frozen.") from None


def _literal(calibration: Calibration) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(calibration), allow_nan=False))
    return content


def _require_self_contained(config: Mapping[str, Any]) -> None:
    for place, text in _strings(config, ""):
        if text.startswith("%") or "@_meta_" in text:
            raise ConfigError(f"{place} still refers to another file ({text[:80]}); a release must stand alone.")
        if text.startswith(("/", "~")) or re.match(r"[A-Za-z]:\\", text):
            raise ConfigError(f"{place} holds a path of this machine ({text[:80]}); use one relative to bundle_root.")


def _strings(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(item, f"{place}::{key}".removeprefix("::"))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{place}::{index}")

# SPDX-License-Identifier: Apache-2.0
"""What ``model.json`` may hold: types and ranges of every entry, see :mod:`custom.runs.model_folder`."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..core.description import build, describe
from ..core.errors import ConfigError

FORMAT = 1
AGAIN = "copy the model again, or train it again."
_OLD = ("settings.json", "calibration.json")


def check_content(content: Mapping[str, Any], path: Path) -> None:
    """Refuse what no model can have; parts are judged when they are built.

    Raises:
        ConfigError: naming the first fault, and ``path``.
    """
    if content.get("format") != FORMAT:
        raise ConfigError(
            f"{path} has the format {content.get('format')!r}, this version reads {FORMAT}; use the version that wrote it."
        )
    fault = next(_faults(content), None)
    if fault is not None:
        raise ConfigError(f"{path} holds {fault}; {AGAIN}")


def refuse_old(folder: Path, remedy: str) -> None:
    """Refuse the folder of a model that a version before ``model.json`` wrote."""
    old = next((name for name in _OLD if (folder / name).is_file()), None)
    if old is not None:
        raise ConfigError(f"{folder} holds a model of an older version ({old} instead of model.json); {remedy}.")


def refuse_missing(folder: Path, name: str) -> NoReturn:
    """Refuse a folder without a model; ``name`` is the file that would hold it."""
    refuse_old(folder, "train the model again, then evaluate it and promote the evaluation")
    raise ConfigError(
        f"no trained model in {folder} ({name} is missing); train one there first (uad train BUNDLE --data DATA -o FOLDER, or MONAI's "
        "training workflow with --output_dir), or name the folder of a finished run (of a release: its models folder, which "
        "--bundle_root RELEASE finds)."
    )


def leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted place, value) of everything in nested objects; lists of plain values count as values."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, f"{place}.{key}".removeprefix("."))
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list, float)) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, f"{place}.{index}")
    else:
        yield place, value


def differences(before: Any, after: Any) -> Iterator[str]:
    """Yield in words what differs between two definitions."""
    old, new = dict(leaves(before, "")), dict(leaves(after, ""))
    for place in dict.fromkeys([*old, *new]):
        if place not in new or place not in old or old[place] != new[place]:
            name = place.removeprefix("parts.").removeprefix("training.")
            yield f"{name} was {old.get(place)!r} and is {new.get(place)!r}"


def changes(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between the definition of a model and the one that a training would write.

    A setting that a later version added has its default in the older model.
    """
    if list(differences(known, wanted)):
        known = {**known, "parts": {name: _of_today(part) for name, part in known["parts"].items()}}
    return list(differences(known, wanted))


def _of_today(part: Any) -> Any:
    """Return a description as this version would write it; as it is, if it cannot be built."""
    try:
        return describe(build(part))
    except ConfigError:
        return part


def _faults(content: Mapping[str, Any]) -> Iterator[str]:
    for name in ("bundle", "method", "contrast", "dataset"):
        if not isinstance(content.get(name), str) or not content[name]:
            yield f"{name} {content.get(name)!r} instead of a name"
    for name in ("fold", "seed"):
        if type(content.get(name)) is not int:
            yield f"{name} {content.get(name)!r} instead of a whole number"
    for name in ("parts", "training"):
        if not isinstance(content.get(name), Mapping):
            yield f"{name} that is not an object"
    for name in ("network", "preparation"):
        if isinstance(content.get("parts"), Mapping) and name not in content["parts"]:
            yield f"no part {name}"
    weights = content.get("weights")
    if weights is not None and not (
        isinstance(weights, Mapping) and _is_name(weights.get("file")) and _is_sha256(weights.get("sha256"))
    ):
        yield f"weights {weights!r} instead of a file name and its SHA-256"
    if content.get("calibration") is not None:
        yield from _calibration_faults(content["calibration"])
    for place, value in leaves(content, ""):
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{place} = {value} instead of a number"


def _calibration_faults(calibration: Any) -> Iterator[str]:
    if not isinstance(calibration, Mapping) or not isinstance(calibration.get("score"), str):
        yield "a calibration without a score"
        return
    thresholds = calibration.get("thresholds")
    if not isinstance(thresholds, Mapping) or not thresholds:
        yield "a calibration without thresholds"
        return
    for name, entry in thresholds.items():
        value = entry.get("value") if isinstance(entry, Mapping) else entry
        if not (_is_number(value) and float(value or 0) >= 0):
            yield f"the threshold {name} = {value!r} instead of a number of 0 or more"
        elif not isinstance(entry, Mapping) or not isinstance(entry.get("source"), str):
            yield f"the threshold {name} without a source"
    quantiles = calibration.get("healthy_quantiles")
    lists = quantiles if isinstance(quantiles, Mapping) else {}
    pairs: list[Any] = [lists.get(key) for key in ("levels", "scores")]
    if not all(isinstance(values, list) and all(map(_is_number, values)) for values in pairs):
        yield "healthy quantiles that are not lists of numbers"
    elif len(pairs[0]) != len(pairs[1]) or any(sorted(values) != values for values in pairs):
        yield "healthy quantiles that do not rise together"
    elif not all(0 <= level <= 1 for level in pairs[0]):
        yield "healthy quantiles at levels outside 0 ... 1"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & set("/\\\0:")


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")

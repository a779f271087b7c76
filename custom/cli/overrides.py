# SPDX-License-Identifier: Apache-2.0
"""``--name value`` pairs for a bundle's settings: found on the command line, given a type, never read as code.

The settings are the top-level entries of the bundle's configuration; a value takes the type of the entry's default. Where
the default is one of several in a shared file (``"%custom/configs/noise.json::simplex"``), the value is the name of another
one: ``--noise gaussian``.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import ConfigError, did_you_mean
from ..core.files import expanded
from ..core.resources import resource
from ..runs.knobs import KNOBS, RENAMED

Words = Sequence[str]
_NOTHING = ("none", "null")
_YES, _NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off")
_SHIPPED = ("%custom/configs/", "%bundles/")


class _Macro(str):
    """A reference to a shipped configuration, chosen by name; the only text that MONAI's parser reads."""


def split_command(words: Words, own_options: Words) -> tuple[list[str], dict[str, list[str]]]:
    """Return the words that the command itself knows, and the settings behind them: name -> words of the value.

    A setting takes all words up to the next option.

    >>> split_command(["RUN", "--limit", "3", "-o", "OUT", "--test_sets", "a", "b", "--x=1"], ["-o"])
    (['RUN', '-o', 'OUT'], {'limit': ['3'], 'test_sets': ['a', 'b'], 'x': ['1']})
    """
    own: list[str] = []
    settings: dict[str, list[str]] = {}
    into: list[str] = own
    for word in words:
        if not word.startswith("-") or _is_number(word):
            into.append(word)
            continue
        option, equals, value = word.partition("=")
        if option in own_options or not word.startswith("--"):
            into = own
            own.append(word)
            continue
        name = option[2:]
        if name in settings:
            raise ConfigError(f"{option} is given twice; give it once.")
        into = settings[name] = [value] if equals else []
    return own, settings


def underscored(words: Words) -> list[str]:
    """Return the words with every option spelt as the help spells it, with ``_``; values, and what follows ``--``, stay.

    >>> underscored(["cohort", "my-data", "--patients-test", "2", "--max-epochs=3", "--", "--my-scan.nii"])
    ['cohort', 'my-data', '--patients_test', '2', '--max_epochs=3', '--', '--my-scan.nii']
    """
    end = words.index("--") if "--" in words else len(words)
    spelt = []
    for word in words[:end]:
        option, equals, value = word.partition("=")
        dashed = option.startswith("--") and "-" in option[2:]
        spelt.append(f"--{option[2:].replace('-', '_')}{equals}{value}" if dashed else word)
    return [*spelt, *words[end:]]


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a configuration that a user can set: name -> default.

    These are the ones above ``imports``, where a bundle's knobs stand, and below it those that have named alternatives.
    """
    names = list(config)
    knobs = names[: names.index("imports")] if "imports" in names else names
    hidden = ("about", "bundle_root", "initialize", "run")
    return {
        name: default
        for name, default in config.items()
        if (name in knobs and name not in hidden and not isinstance(default, dict)) or choice_names(default)
    }


def typed(name: str, words: Words, config: Mapping[str, Any], file: str) -> Any:
    """Return the value of a setting as an object.

    Args:
        name: of the setting.
        words: of the command line; none stands for "true".
        config: all settings with their defaults.
        file: where they stand, for messages.

    Raises:
        ConfigError: no such setting, no value, or no entry of that name. Types and ranges are left to
            :func:`custom.runs.knobs.check_knobs`.
    """
    if name in RENAMED and name not in config:
        raise ConfigError(f"--{name} is not a setting any more: {RENAMED[name]}.")
    if name not in config:
        hint = did_you_mean(name, settings_of(config), "--{}")
        raise ConfigError(f"--{name} is not a setting of {file}; {hint}--help lists all.")
    default, text = config[name], " ".join(words)
    kind = KNOBS[name].kind if name in KNOBS else _kind_of(default)
    if text.lower() in _NOTHING:
        return None
    if kind == "true or false":
        return True if text.lower() in ("", *_YES) else False if text.lower() in _NO else text
    if not words:
        raise ConfigError(f"--{name} needs a value (its default is {json.dumps(default)}).")
    if isinstance(default, str) and default.startswith("%"):
        return _choice(name, text, default)
    if kind == "path":
        return str(expanded(text))
    if kind == "word":
        return text
    value = _literal(words)
    several = isinstance(default, list) or kind == "words"
    if several and not isinstance(value, list):
        return [str(value) if kind == "words" else value]
    return int(value) if kind == "whole number" and isinstance(value, float) and value.is_integer() else value


def _kind_of(default: Any) -> str:
    """Return the kind of a setting that is not in the table of all settings, as a user's own bundle may have."""
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, int):
        return "whole number"
    return "any" if not isinstance(default, str) or default.startswith("$") else "word"


def as_objects(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return overrides for MONAI's parser and the globals they read.

    MONAI reads strings of a configuration as a language (``$`` code, ``@`` and ``%`` references, ``#`` a separator). An
    override that holds a string is therefore given as ``$given['name']``, and the string itself as an object.
    """
    given = {name: value for name, value in values.items() if _holds_text(value) and not isinstance(value, _Macro)}
    return {name: f"$given[{name!r}]" if name in given else value for name, value in values.items()}, {"given": given}


def _literal(words: Words) -> Any:
    """Return numbers, true, false, lists of them and of words as such, anything else as text."""
    if len(words) == 1:
        text = words[0]
        try:
            value = ast.literal_eval(text)
            return list(value) if isinstance(value, tuple) else value
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pass
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        return [_literal([part]) for part in text.split(",")] if "," in text and "://" not in text else text
    return [_literal([word]) for word in words]


def _choice(name: str, text: str, default: str) -> _Macro:
    """Return the macro of another entry of the file that the default is taken from."""
    if text.startswith(_SHIPPED):
        file, _, key = text[1:].partition("::")
        if key in _entries(file):
            return _Macro(text)
    choices = _choices(default)
    if text in choices:
        return _Macro(choices[text])
    hint = did_you_mean(text, choices, cutoff=0.4)
    raise ConfigError(f"--{name}: there is no {text!r}; {hint}There are {', '.join(choices)}.")


def _choices(default: str) -> dict[str, str]:
    """Return the names that can be given instead of a macro, with their macros.

    Entries of ``noise.json`` go by their names; in a file with several families (``protocol.json``), those of the default's
    family go by what follows its name.
    """
    file, _, key = default[1:].partition("::")
    if not file.startswith(("custom/configs/", "bundles/")) or not key or "::" in key:
        return {}
    entries = _entries(file)
    family = {entry.removeprefix(f"{key}_"): entry for entry in entries if entry.startswith(f"{key}_")}
    if "about" in entries:  # a file of families
        chosen = {entry: entry for entry in (key, *family.values())} | {"default": key} | family
    else:
        chosen = {entry: entry for entry in entries}
    return {name: f"%{file}::{entry}" for name, entry in chosen.items()}


def choice_names(default: Any) -> str:
    """Return the default's name and the names of the other entries that can be chosen; empty where there are none."""
    if not isinstance(default, str) or not default.startswith("%"):
        return ""
    names = {macro: name for name, macro in _choices(default).items()}  # the last, shortest name of each
    others = [name for macro, name in names.items() if macro != default]
    return f"{names[default]} (or {', '.join(others)})" if others else ""


def _entries(file: str) -> list[str]:
    path = resource(file)
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def _holds_text(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_text(item) for item in value)
    if isinstance(value, dict):
        return True
    return isinstance(value, str)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True

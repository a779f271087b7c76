# SPDX-License-Identifier: Apache-2.0
"""A bundle that imports a shared part fills every hole of it; one that lacks a setting would fail only when it runs."""

import inspect
import json
import pydoc
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "bundles").glob("*/configs/*.json"))
WORKFLOWS = ("train.json", "evaluate.json", "inference.json")
_REFERENCE = re.compile(r"@([A-Za-z_]\w*)")
_MACRO = re.compile(r"^%(?P<file>[\w/.]+\.json)::(?P<key>.+)$")


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _imported(config):
    for text in _strings(config):
        if match := _MACRO.match(text):
            part = json.loads((ROOT / match["file"]).read_text(encoding="utf-8"))
            for key in match["key"].split("::"):
                part = part[int(key)] if isinstance(part, list) else part[key]
            yield part


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.name in WORKFLOWS], ids=lambda p: str(p.relative_to(ROOT / "bundles"))
)
def test_every_reference_is_defined(path):
    config = json.loads(path.read_text(encoding="utf-8"))
    wanted = {
        name
        for part in (config, *_imported(config))
        for text in _strings(part)
        if text.startswith(("@", "$"))
        for name in _REFERENCE.findall(text)
    }
    assert wanted - set(config) == set()


def _components(value):
    if isinstance(value, dict) and str(value.get("_target_", "")).startswith("custom."):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _components(item)


def test_every_component_takes_the_arguments_that_it_is_given():
    for path in [*FILES, *(ROOT / "custom/configs").glob("*.json")]:
        for component in _components(json.loads(path.read_text(encoding="utf-8"))):
            given = {name: None for name in component if not name.startswith("_")}
            signature = inspect.signature(pydoc.locate(component["_target_"]))
            try:
                signature.bind_partial(**given)
            except TypeError as error:
                pytest.fail(f"{path.relative_to(ROOT)}, {component['_target_']}: {error}")


def test_every_bundle_offers_the_same_settings_for_a_prediction():
    def settings(path):
        config = json.loads(path.read_text(encoding="utf-8"))
        names = list(config)
        return set(names[: names.index("imports")])

    own = {p.parents[1].name: settings(p) for p in FILES if p.name == "inference.json"}
    shared = set.intersection(*own.values())
    assert {"viewer", "view", "extractor", "register", "sensitivity", "score", "report"} <= shared

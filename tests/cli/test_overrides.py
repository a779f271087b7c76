# SPDX-License-Identifier: Apache-2.0
"""What a user types is data: it reaches the configuration as it is, with a type, and is never read as code."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from custom.cli.overrides import as_objects, settings_of, split_command, typed
from custom.core.errors import ConfigError
from custom.core.resources import bundle_folder, bundle_names, resource, rooted
from custom.runs.knobs import check_knobs

CONFIG = {
    "about": "",
    "dataset_dir": "data",
    "method": "ddpm",
    "max_epochs": 1600,
    "lr": 1e-4,
    "augment": True,
    "channels": [128, 256],
    "limit": None,
    "test_sets": "$['brats21']",
    "imports": [],
    "noise": "%custom/configs/noise.json::simplex",
    "preparation": "%custom/configs/protocol.json::preparation",
}


def _typed(name, *words):
    return typed(name, words, CONFIG, "train.json")


@pytest.mark.parametrize(
    ("name", "words", "value"),
    [
        ("max_epochs", ["3"], 3),
        ("max_epochs", ["3.0"], 3),
        ("lr", ["1e-3"], 1e-3),
        ("augment", ["no"], False),
        ("augment", [], True),
        ("channels", ["32", "32"], [32, 32]),
        ("channels", ["[32,32]"], [32, 32]),
        ("channels", ["32,64"], [32, 64]),
        ("limit", ["none"], None),
        ("limit", ["5"], 5),
        ("test_sets", ["demo_ms"], ["demo_ms"]),
        ("test_sets", ["demo_ms", "demo_tumour"], ["demo_ms", "demo_tumour"]),
        ("test_sets", ["['demo_ms']"], ["demo_ms"]),
        ("method", ["7"], "7"),
        ("noise", ["gaussian"], "%custom/configs/noise.json::gaussian"),
        ("noise", ["%custom/configs/noise.json::gaussian"], "%custom/configs/noise.json::gaussian"),
        ("preparation", ["isbi2024"], "%custom/configs/protocol.json::preparation_isbi2024"),
    ],
)
def test_words_take_the_type_of_the_default(name, words, value):
    found = _typed(name, *words)
    assert found == value
    assert type(found) is type(value) or isinstance(found, str)


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("max_epoch", ["3"], "did you mean --max_epochs?"),
        ("max_epochs", [], "needs a value"),
        ("noise", ["gausian"], "did you mean gaussian?"),
        ("noise", ["%other.json::mine"], "there is no '%other.json::mine'"),
    ],
)
def test_what_cannot_be_is_said_with_the_remedy(name, words, sentence):
    with pytest.raises(ConfigError, match="--" + name) as found:
        _typed(name, *words)
    assert sentence in str(found.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("max_epochs", ["many"]),
        ("max_epochs", ["1.5"]),
        ("max_epochs", ["0"]),
        ("augment", ["perhaps"]),
        ("lr", ["-1"]),
    ],
)
def test_values_out_of_type_or_range_are_left_to_the_table_of_settings(name, words):
    with pytest.raises(ConfigError, match=f"--{name} takes"):
        check_knobs({name: _typed(name, *words)})


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert _typed("dataset_dir", "~/data") == "/home/me/data"


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
@settings(deadline=None)
def test_any_text_arrives_as_it_is(text):
    for value in (text, [text, "b"], {"key": text}):
        pairs, globals_ = as_objects({"method": value})
        parser = ConfigParser({**CONFIG, "imports": [], "noise": None, "preparation": None}, globals=globals_)
        parser.update(pairs)
        parser.parse()
        assert parser.get_parsed_content("method") == value


@given(st.lists(st.sampled_from(["RUN", "-o", "OUT", "--limit", "3", "-1", "--a=b", "--flag"]), max_size=8))
@settings(deadline=None)
def test_no_word_of_a_command_is_lost(words):
    try:
        own, found = split_command(words, ["-o"])
    except ConfigError:
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        assert len(options) > len(set(options))
        return
    parts = [part for name, values in found.items() for part in (name, *values)]
    assert sorted([*own, *parts]) == sorted(
        part for word in words for part in (word.lstrip("-").split("=") if word.startswith("--") else [word])
    )


@pytest.mark.parametrize("name", bundle_names())
def test_every_macro_of_every_bundle_is_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in sorted((bundle_folder(name) / "configs").glob("*.json")):
        parser = ConfigParser(rooted(json.loads(file.read_text(encoding="utf-8"))))
        parser.resolve_macro_and_relative_ids()
        assert settings_of(parser.get()) is not None


def test_resources_of_the_package():
    assert resource("custom/configs/noise.json").is_file()
    assert (resource("bundles/ae_baseline") / "configs" / "train.json").is_file()
    with pytest.raises(ConfigError, match="did you mean ddpm_ssim_ens"):
        bundle_folder("ddpm_ssim_en")

# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from custom.cli.overrides import typed
from custom.core.errors import ConfigError
from custom.runs.arguments import check_arguments

pytestmark = [
    pytest.mark.fault(43, "misspelt override", 'error "did you mean"', "foreseen"),
    pytest.mark.fault(44, "word instead of a number", "error", "foreseen"),
]


@pytest.fixture
def config_file(tmp_path):
    config = {
        "max_epochs": 5,
        "lr": 1e-4,
        "compile": False,
        "contrast": "t2",
        "train": {"trainer": {"epochs": 1}},
        "noise": "%a.json::b",
    }
    path = tmp_path / "train.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "override",
    [
        ["--max_epochs", "3"],
        ["--max_epochs=3"],
        ["--lr", "1e-3"],
        ["--compile", "True"],
        ["--compile"],
        ["--contrast", "t1"],
        ["--train::trainer::epochs", "2"],
        ["--train#trainer#epochs", "2"],
        ["--noise", "%a.json::c"],
        ["--max_epochs", "$1 + 1"],
        ["--lr", "$None"],
        ["--tracking_uri", "sqlite:///x.db"],
    ],
)
def test_known_overrides_pass(config_file, override):
    check_arguments(["training", "--config_file", config_file, *override])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (["--max_epochz", "3"], "did you mean --max_epochs"),
        (["--train::trainr::epochs", "3"], "did you mean --train::trainer"),
        (["--zzz", "3"], "not a setting"),
        (["--max_epochs", "abc"], "must be a number"),
        (["--max_epochs", "2.5"], "must be a number"),
        (["--compile", "perhaps"], "True or False"),
        (["--compile", "false"], "True or False"),
        (["--noise::octaves", "3"], "override it whole"),
        (["--lr", "None"], "dropped by MONAI's command line.*write --lr '\\$None'"),
    ],
)
def test_faults_are_named(config_file, override, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_arguments(["training", "--config_file", config_file, *override])


def test_later_files_add_known_keys(tmp_path, config_file):
    overlay = tmp_path / "small.json"
    overlay.write_text('{"channels": [32]}', encoding="utf-8")
    check_arguments(["training", "--config_file", f"['{config_file}','{overlay}']", "--channels", "[64]"])
    with pytest.raises(ConfigError, match="channels"):
        check_arguments(["training", "--config_file", config_file, "--channels", "[64]"])


def test_a_setting_under_its_earlier_name_is_refused_with_the_new_one(tmp_path):
    path = tmp_path / "evaluate.json"
    path.write_text(json.dumps({"model": None, "test_timesteps": 500}), encoding="utf-8")
    with pytest.raises(ConfigError, match="--t_test is not an option any more: it is called --test_timesteps"):
        check_arguments(["evaluating", "--config_file", str(path), "--t_test", "300"])
    with pytest.raises(ConfigError, match="--t_test is not a setting any more: it is called --test_timesteps"):
        typed("t_test", ["300"], {"test_timesteps": 500}, "evaluate.json")

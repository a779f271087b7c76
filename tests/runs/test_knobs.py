# SPDX-License-Identifier: Apache-2.0
"""One table of settings: it knows every setting of the bundles, their defaults pass it, and it refuses what cannot work."""

import json
import math

import pytest

from benchmarks.knobs_page import STAGES, defaults, knobs_page
from custom.core.errors import ConfigError
from custom.core.resources import bundle_folder, bundle_names
from custom.runs.arguments import check_arguments
from custom.runs.knobs import KNOBS, check_knobs, is_expression

pytestmark = [
    pytest.mark.fault(
        82,
        "a setting out of range: 0 epochs, a negative rate, NaN as threshold",
        "refused before anything is written, by every way in (uad, MONAI's command line, `--args_file`, overlay, Python)",
        "mended",
    ),
    pytest.mark.fault(
        83, "`--tracking mlflow`, `--config-file`, a misspelt `--args_file`", "one sentence each", "mended"
    ),
]

PARTS = {"about", "bundle_root", "is_main", "initialize"}
PARTS |= {"training", "run", "model"}


def test_every_setting_of_every_bundle_is_in_the_table_and_the_other_way_round():
    found = set(defaults()) - PARTS
    for bundle in bundle_names():
        for path in (bundle_folder(bundle) / "configs").glob("*.json"):
            if path.stem not in (*STAGES, "model", "metadata"):
                found |= {k for k, v in json.loads(path.read_text()).items() if not is_expression(v)} - PARTS
    found = {name for name in found if not name.startswith("+")}
    assert found - set(KNOBS) == set()
    assert set(KNOBS) - found - {"shard", "num_shards", "model_dir"} == set()


def test_defaults_pass():
    for name, known in defaults().items():
        for (stage, bundle), value in known.items():
            check_knobs({name: value} if name not in PARTS else {})
            assert name in PARTS or is_expression(value) or KNOBS[name].accepts(value), (name, stage, bundle)


def test_the_page_is_made_from_the_table(repository):
    text = (repository / "docs" / "knobs.md").read_text(encoding="utf-8")
    assert text == knobs_page(), "run `make docs`"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_epochs", 0), ("max_epochs", -1), ("max_epochs", 1.5), ("max_epochs", None), ("max_epochs", True),
        ("max_epochs", "ten"), ("max_epochs", 10**12), ("val_interval", 0), ("checkpoint_interval", 0), ("lr", -1), ("lr", 0),
        ("lr", 1e30), ("lr", math.nan), ("lr", math.inf), ("ema_decay", 2), ("ema_decay", 1), ("batch_size", 0),
        ("val_timesteps", []), ("val_timesteps", [0]), ("fold", -1), ("seed", -1), ("seed", 2**64), ("precision", "fp8"),
        ("dropout", 1), ("threshold", 0), ("threshold", -1), ("threshold", math.nan), ("threshold", math.inf),
        ("healthy_fprs", [0.01, 1]), ("limit", 0), ("test_timesteps", 0), ("output_dir", 20240101), ("output_dir", "a\0b"),
        ("output_format", "png"), ("report", "yes"), ("num_workers", -1), ("channels", [32, 0]), ("contrast", 5), ("test_sets", []),
    ],
)  # fmt: skip
def test_out_of_range_is_one_sentence_that_names_the_setting(name, value):
    with pytest.raises(ConfigError, match=rf"^--{name} takes .*, got ") as caught:
        check_knobs({name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.fault(110, "a threshold and a sensitivity, which both decide", "refused", "unrecorded")
def test_two_settings_for_one_decision_are_refused():
    with pytest.raises(ConfigError, match="--threshold and --sensitivity both decide"):
        check_knobs({"threshold": 0.2, "sensitivity": "healthy_fpr_0.01"})
    check_knobs({"threshold": None, "sensitivity": 0.01})


def test_a_path_of_digits_is_explained():
    with pytest.raises(ConfigError, match=r"write ./20240101"):
        check_knobs({"output_dir": 20240101})


def test_validation_steps_must_lie_on_the_schedule():
    with pytest.raises(ConfigError, match="--val_timesteps goes up to 1001, but --num_train_timesteps is 1000"):
        check_knobs({"val_timesteps": [1, 1001], "num_train_timesteps": 1000})
    check_knobs({"val_timesteps": [1, 1000], "num_train_timesteps": 1000})


def test_all_faults_are_named_at_once():
    with pytest.raises(ConfigError, match=r"--max_epochs .*; --lr "):
        check_knobs({"lr": -1, "max_epochs": 0})


@pytest.fixture
def train(repository, monkeypatch):
    monkeypatch.chdir(repository)
    return "bundles/ae_baseline/configs/train.json"


@pytest.mark.parametrize("way", ["option", "args_file", "overlay", "fire's dash"])
def test_every_way_in_is_checked_the_same(train, tmp_path, way):
    (tmp_path / "overlay.json").write_text('{"max_epochs": 0}')
    (tmp_path / "args.json").write_text(json.dumps({"config_file": train, "max_epochs": 0}))
    words = {
        "option": ["--config_file", train, "--max_epochs", "0"],
        "fire's dash": ["--config-file", train, "--max-epochs=0"],
        "overlay": ["--config_file", f"['{train}','{tmp_path / 'overlay.json'}']"],
        "args_file": ["--args_file", str(tmp_path / "args.json")],
    }
    with pytest.raises(ConfigError, match="--max_epochs takes a whole number from 1, got 0"):
        check_arguments(["training", *words[way]])


def test_args_files_are_checked_like_the_command_line(train, tmp_path):
    path = tmp_path / "args.json"
    for content, sentence in (
        ({"config_file": train, "max_epochz": 3}, "did you mean --max_epochs"),
        ({"config_file": train, "seed": "abc"}, "--seed must be a number"),
        ({"config_file": "nowhere.json"}, "there is no configuration nowhere.json"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ConfigError, match=sentence):
            check_arguments(["training", "--args_file", str(path)])
    path.write_text("{")
    with pytest.raises(ConfigError, match="give a JSON object of settings to --args_file"):
        check_arguments(["training", "--args_file", str(path)])
    path.write_text(json.dumps({"config_file": train, "max_epochs": 0}))
    check_arguments(["training", "--args_file", str(path), "--max_epochs", "3"])  # the command line comes last


def test_monais_tracking_option_is_explained(train):
    with pytest.raises(ConfigError, match=r"--tracking is MONAI's own .* --tracking_uri"):
        check_arguments(["training", "--config_file", train, "--tracking", "mlflow"])

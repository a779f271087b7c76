# SPDX-License-Identifier: Apache-2.0
"""A model folder says what the model is, whole, and is not believed when it cannot be true."""

import contextlib
import functools
import json
import random

import pytest
import torch

from custom.core.digests import write_checked_json
from custom.core.errors import ConfigError
from custom.models.weights import load_weights, save_weights
from custom.noise import GridPatches
from custom.preparation.prepare import preparation
from custom.runs.lock import RunLock
from custom.runs.model_folder import FILE_NAME, ModelFolder

IDENTITY = {"bundle": "ae_baseline", "method": "ae", "contrast": "t1", "dataset": "ixi", "fold": 0, "seed": 3}
PARTS = {
    "network": functools.partial(torch.nn.Linear, in_features=2, out_features=1),
    "preparation": preparation("standard"),
    "patches": None,
}
CALIBRATION = {
    "score": "l1",
    "thresholds": {"healthy_fpr_0.01": {"value": 0.4, "source": "1 % of healthy voxels"}},
    "healthy_quantiles": {"levels": [0.5, 0.99], "scores": [0.1, 0.4]},
    "trial": None,
}


def define(folder, **changes):
    return ModelFolder.define(folder, **{**IDENTITY, "parts": PARTS, "training": {"batch_size": 8}, **changes})


def test_a_setting_that_a_later_version_added_has_its_default(tmp_path):
    define(tmp_path)
    content = {k: v for k, v in json.loads((tmp_path / FILE_NAME).read_text()).items() if k != "content_sha256"}
    del content["parts"]["preparation"]["template_scale"]
    write_checked_json(tmp_path / FILE_NAME, content)
    assert define(tmp_path).build("preparation") == preparation("standard")
    with pytest.raises(ConfigError, match=r"template_scale was 0\.877 and is 1"):
        define(tmp_path, parts=PARTS | {"preparation": preparation("standard", template_scale=1.0)})


def trained(folder):
    model = define(folder)
    save_weights(model.network(), folder / "model.safetensors", {})
    return model.seal()


def calibration(model, **changes):
    return {**CALIBRATION, "weights_sha256": model.weights_sha256, **changes}


def test_from_definition_to_calibration(tmp_path):
    model = trained(tmp_path / "run").promote(calibration(ModelFolder.read(tmp_path / "run")))
    found = ModelFolder.read(tmp_path / "run", bundle="ae_baseline")
    assert found.content == model.content
    assert found.identity == IDENTITY
    assert found.build("preparation") == PARTS["preparation"]
    assert found.build("patches") is None
    assert found.calibration["thresholds"]["healthy_fpr_0.01"]["value"] == 0.4
    network = load_weights(found.network(), found.weights, found.weights_sha256)
    assert network.weight.shape == (1, 2)


def test_the_same_definition_is_taken_up_and_another_is_refused_by_name(tmp_path):
    before = trained(tmp_path).promote(calibration(ModelFolder.read(tmp_path))).content
    assert define(tmp_path).content == before
    assert define(tmp_path, write=False).content == before
    for changes, named in (
        ({"seed": 4}, "seed was 3 and is 4"),
        ({"parts": PARTS | {"patches": GridPatches(48)}}, "patches.patch_px was None and is 48"),
        (
            {"parts": PARTS | {"preparation": preparation("isbi2024")}},
            "preparation.name was 'standard' and is 'isbi2024'",
        ),
        ({"training": {"batch_size": 16}}, "batch_size was 8 and is 16"),
    ):
        with pytest.raises(ConfigError, match=named):
            define(tmp_path, **changes)
    assert ModelFolder.read(tmp_path).content == before


def test_other_processes_write_nothing(tmp_path):
    define(tmp_path / "run", write=False)
    assert not (tmp_path / "run").exists()


def test_new_weights_drop_the_calibration_of_the_old_ones(tmp_path):
    model = trained(tmp_path).promote(calibration(ModelFolder.read(tmp_path)))
    assert model.seal().calibration is not None
    save_weights(torch.nn.Linear(2, 1), tmp_path / "model.safetensors", {})
    assert ModelFolder.read(tmp_path).seal().calibration is None


def test_exchanged_weights_are_refused(tmp_path):
    model = trained(tmp_path)
    save_weights(torch.nn.Linear(2, 1), tmp_path / "model.safetensors", {})
    with pytest.raises(ConfigError, match="sha256 differs"):
        load_weights(model.network(), model.weights, model.weights_sha256)


def test_only_a_whole_evaluation_of_these_weights_is_promoted(tmp_path):
    define(tmp_path)
    with pytest.raises(ConfigError, match="not finished"):
        ModelFolder.read(tmp_path).promote(CALIBRATION)
    model = trained(tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()
    for changes, named in (
        ({"trial": "limit 1"}, "trial .limit 1."),
        ({"weights_sha256": "0" * 64}, "other weights"),
        ({"thresholds": {"a": {"value": -1.0, "source": ""}}}, "threshold a = -1.0"),
        ({"thresholds": {"a": {"value": "0.5", "source": ""}}}, "threshold a"),
        ({"thresholds": {}}, "without thresholds"),
        ({"healthy_quantiles": {"levels": [0.5, 0.4], "scores": [0, 1]}}, "rise"),
        ({"healthy_quantiles": {"levels": [0.5, 1.4], "scores": [0, 1]}}, "outside"),
        ({"healthy_quantiles": {"levels": [0.5], "scores": [0, 1]}}, "rise"),
    ):
        with pytest.raises(ConfigError, match=named):
            model.promote(calibration(model, **changes))
    for changes in (
        {"thresholds": {"a": {"value": float("nan"), "source": ""}}},
        {"spacing_mm": [2.0, float("inf"), 2.0]},
    ):
        with pytest.raises(ConfigError, match="instead of a number"):
            model.promote(calibration(model, **changes))
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_no_promotion_while_somebody_trains(tmp_path):
    model = trained(tmp_path)
    with RunLock(tmp_path), pytest.raises(ConfigError, match="in use"):
        model.promote(calibration(model))


def test_wrong_bundle_is_one_sentence(tmp_path):
    trained(tmp_path)
    with pytest.raises(ConfigError, match=r"of the bundle ae_baseline .method ae.; use bundles/ae_baseline, not ddpm"):
        ModelFolder.read(tmp_path, bundle="ddpm_ssim_ens")


def test_an_unfinished_training_is_gone_on_with_by_the_command_that_is_named(tmp_path):
    model = define(tmp_path)
    with pytest.raises(ConfigError, match="The command that began it goes on with it"):
        _ = model.weights_sha256
    write_checked_json(tmp_path / "run.json", {"command": ["uad", "train", "ae_baseline", "--data", "my data"]})
    with pytest.raises(
        ConfigError, match=r"no weights yet\. uad train ae_baseline --data 'my data' goes on with it; with --max_ep"
    ):
        _ = model.weights_sha256


def test_missing_unfinished_old_and_foreign(tmp_path):
    with pytest.raises(ConfigError, match="no trained model"):
        ModelFolder.read(tmp_path)
    define(tmp_path / "begun")
    with pytest.raises(ConfigError, match="has not finished"):
        _ = ModelFolder.read(tmp_path / "begun").weights
    with pytest.raises(ConfigError, match="no part 'noise'"):
        ModelFolder.read(tmp_path / "begun").build("noise")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "settings.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"older version .*train the model again"):
        ModelFolder.read(tmp_path / "old")
    with pytest.raises(ConfigError, match=r"older version .*another --output_dir"):
        define(tmp_path / "old")


def rewrite(folder, **changes):
    """Write the file as somebody would who computes the digest too."""
    model = ModelFolder.read(folder)
    ModelFolder(folder, {**model.content, **changes})._write()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": 2}, "format 2"),
        ({"seed": "$open('PWNED','w')"}, "seed"),
        ({"seed": True}, "seed"),
        ({"method": ["x"]}, "method"),
        ({"contrast": None}, "contrast"),
        ({"parts": {"network": None}}, "no part preparation"),
        ({"parts": []}, "parts"),
        ({"weights": {"file": "../../model.safetensors", "sha256": "0" * 64}}, "file name"),
        ({"weights": {"file": "model.safetensors", "sha256": "0"}}, "SHA-256"),
        ({"calibration": {"thresholds": {}}}, "without a score"),
    ],
)
def test_impossible_values_are_refused_also_with_a_right_digest(tmp_path, monkeypatch, changes, named):
    monkeypatch.chdir(tmp_path)
    trained(tmp_path / "run")
    rewrite(tmp_path / "run", **changes)
    with pytest.raises(ConfigError, match=named):
        ModelFolder.read(tmp_path / "run")
    assert not (tmp_path / "PWNED").exists()


def test_a_part_that_is_no_part_is_refused_when_it_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained(tmp_path / "run")
    parts = {"network": {"_target_": "os.system", "_mode_": "callable", "command": "touch PWNED"}, "preparation": None}
    rewrite(tmp_path / "run", parts=parts)
    with pytest.raises(ConfigError, match=r"model.json, network: 'os.system' may not be part"):
        ModelFolder.read(tmp_path / "run").network()
    assert not (tmp_path / "PWNED").exists()


def test_no_damage_goes_unnoticed(tmp_path):
    """Any changed byte is refused, or says the same as before (white space)."""
    model = trained(tmp_path).promote(calibration(ModelFolder.read(tmp_path)))
    path, whole = tmp_path / FILE_NAME, (tmp_path / FILE_NAME).read_bytes()
    draw = random.Random(0)
    for _ in range(400):
        data = bytearray(whole)
        kind = draw.choice(["bit", "digit", "cut", "zeros"])
        place = draw.randrange(len(data))
        if kind == "bit":
            data[place] ^= 1 << draw.randrange(8)
        elif kind == "digit":
            place = draw.choice([i for i, c in enumerate(data) if chr(c).isdigit()])
            data[place] = ord(str((int(chr(data[place])) + 1 + draw.randrange(9)) % 10))
        elif kind == "cut":
            del data[place:]
        else:
            data[place : place + 16] = bytes(len(data[place : place + 16]))
        path.write_bytes(bytes(data))
        with contextlib.suppress(ConfigError):
            assert ModelFolder.read(tmp_path).content == model.content


def test_flat_names_everything(tmp_path):
    flat = define(tmp_path).flat()
    assert flat["parts.network.in_features"] == 2
    assert flat["training.batch_size"] == 8
    assert flat["seed"] == 3
    assert json.loads(json.dumps(flat)) == flat

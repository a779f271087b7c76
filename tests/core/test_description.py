# SPDX-License-Identifier: Apache-2.0
"""Parts come back equal from their description; a description runs no text and reaches no other code."""

import dataclasses
import functools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.networks.nets import DiffusionModelUNet

from custom.core.description import build, describe
from custom.core.errors import ConfigError
from custom.noise import GridPatches
from custom.preparation.prepare import preparation
from custom.scoring import l1

TEXTS = st.one_of(
    st.sampled_from(["$open('PWNED','w')", "@x", "%TEMP%", "Study #3", "~", "a\nb", "'\"", ""]), st.text()
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda items: st.lists(items) | st.dictionaries(TEXTS.filter(lambda k: k not in ("_target_", "_mode_")), items),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES)
def test_json_values_are_themselves(value):
    described = describe(value)
    assert described == value
    assert build(json.loads(json.dumps(described))) == value


@pytest.mark.parametrize(
    "part", [GridPatches(48, 24), preparation("isbi2024", shape=(8, 8, 8)), {"a": [GridPatches(3)]}]
)
def test_dataclasses_come_back(part):
    described = json.loads(json.dumps(describe(part)))
    assert build(described) == part
    assert describe(build(described)) == described


def test_every_field_is_written_so_that_a_new_default_changes_no_model():
    assert set(describe(GridPatches(48))) == {"_target_", *(field.name for field in dataclasses.fields(GridPatches))}


def test_a_callable_component_of_monai_is_its_own_description():
    component = {"_target_": "monai.networks.nets.DiffusionModelUNet", "_mode_": "callable", "spatial_dims": 2, "in_channels": 1,
                 "out_channels": 1, "channels": [32, 32], "attention_levels": [False, False], "num_res_blocks": 1}  # fmt: skip
    spec = ConfigParser({"spec": component}).get_parsed_content("spec")
    assert describe(spec) == component
    assert isinstance(build(component)(), DiffusionModelUNet)
    assert describe(build(component)) == component
    assert build(describe(torch.nn.Identity)) is torch.nn.Identity
    assert build(describe(l1)) is l1
    assert describe(l1)["_target_"] == "custom.scoring.l1"


@pytest.mark.parametrize(
    "target",
    ["os.system", "builtins.eval", "custom.core.files.os", "custom.core.files.atomic_write_text", "torch.load",
     "custom.runs.model_folder.ModelFolder", "monai.bundle.ConfigParser", "torch.nn.init.zeros_", "custom..x", "custom.nowhere.X",
     "custom.noise.GridPatches.boxes", "$open('PWNED','w')", "torch.nn.Module.load_state_dict", 3, None, "custom", "torch.nn"],
)  # fmt: skip
@pytest.mark.parametrize("mode", [{}, {"_mode_": "callable"}, {"_mode_": "debug"}])
def test_other_code_is_refused(target, mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        build({"_target_": target, **mode})
    assert not list(tmp_path.iterdir())


def test_constructors_are_only_called_for_dataclasses():
    with pytest.raises(ConfigError, match="may not be part"):
        build({"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1})
    with pytest.raises(ConfigError, match="patch_pxs"):
        build({"_target_": "custom.noise.GridPatches", "patch_px": 3, "patch_pxs": 3})
    with pytest.raises(ConfigError, match="kernel"):
        build({"_target_": "torch.nn.Linear", "_mode_": "callable", "kernel": 1})
    with pytest.raises(ConfigError, match="patch_px 0"):
        build({"_target_": "custom.noise.GridPatches", "patch_px": 0})
    with pytest.raises(ConfigError, match="pretrained"):
        build(
            {
                "_target_": "monai.networks.nets.EfficientNetBN",
                "_mode_": "callable",
                "model_name": "b0",
                "pretrained": True,
            }
        )


@pytest.mark.parametrize(
    "part", [torch.zeros(1), float("nan"), lambda x: x, functools.partial(l1, torch.zeros(1)), {1: 2}, b""]
)
def test_what_is_no_part_is_refused(part):
    with pytest.raises(ConfigError):
        describe(part)


def test_endless_nesting_is_refused():
    nested: list = []
    for _ in range(200):
        nested = [nested]
    with pytest.raises(ConfigError, match="nested"):
        build(nested)

# SPDX-License-Identifier: Apache-2.0
"""What holds for every folder in ``bundles/``; a new one is found here by itself."""

import inspect
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from pydoc import locate

import pytest
import torch
from monai.bundle import ComponentLocator, ConfigParser, verify_metadata, verify_net_in_out

from custom.core.imports import foreign_imports, modules_of

pytestmark = [
    pytest.mark.fault(
        45,
        "reference to nothing",
        "all bundles are checked by a test; in one's own configuration MONAI's message appears",
        "foreseen",
    ),
]

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path for path in (ROOT / "bundles").iterdir() if path.is_dir())
CONFIGS = [path for bundle in BUNDLES for path in sorted((bundle / "configs").glob("*.json"))]
SHARED = sorted((ROOT / "custom" / "configs").glob("*.json"))
WORKFLOWS = [
    path for path in CONFIGS if path.name in ("train.json", "spark_pretraining.json", "evaluate.json", "inference.json")
]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def _name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("bundle", BUNDLES, ids=_name)
def test_same_files(bundle):
    for name in (
        "LICENSE",
        "docs/README.md",
        *(f"configs/{n}" for n in ("metadata.json", "train.json", "evaluate.json", "logging.conf")),
    ):
        assert (bundle / name).is_file(), f"{name} is missing"
    assert not list(bundle.rglob("*.py")), "a bundle holds JSON only; Python lives in custom/"


@pytest.mark.parametrize("bundle", BUNDLES, ids=_name)
def test_metadata_is_valid(bundle, tmp_path, monkeypatch):
    """Offline: MONAI does not download the schema where the file exists; ours holds the required parts of it."""
    (tmp_path / "eval").mkdir()
    schema = shutil.copy(Path(__file__).with_name("meta_schema.json"), tmp_path / "eval" / "schema.json")
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(schema))
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["version"] in metadata["changelog"]


@pytest.mark.parametrize("bundle", BUNDLES, ids=_name)
def test_every_package_that_a_prediction_imports_is_stated(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.resolve_macro_and_relative_ids()
    used = foreign_imports(modules_of(parser.get())) - set(sys.stdlib_module_names) - {"torch", "monai", "numpy"}
    optional = {"pydicom", "highdicom", "mlflow"}  # for DICOM and for tracking only
    stated = {name.lower() for name in metadata["required_packages_version"]}
    known = packages_distributions()  # import name -> names of packages, of itk several
    assert {
        name
        for name in used - optional
        if name in known and not stated & {name.lower(), *(d.lower() for d in known[name])}
    } == set()
    assert metadata["network_data_format"]["post_processed_outputs"]["pred"]["channel_def"]["1"] == "anomaly"
    assert metadata["eval_metrics"]


@pytest.mark.parametrize("path", [*CONFIGS, *SHARED], ids=_name)
def test_macros_exist_and_no_hash(path):
    text = path.read_text(encoding="utf-8")
    values = [value for value in _strings(json.loads(text)) if not value.startswith("http")]
    assert not [value for value in values if "#" in value], "MONAI turns # into :: in every string"
    macros = [value for value in values if value.startswith("%")]
    imported = any(f"%{_name(path)}" in other.read_text(encoding="utf-8") for other in [*CONFIGS, *SHARED])
    assert not (macros and imported), "a macro inside a macro'd file is not resolved"
    for macro in macros:
        file, _, key = macro[1:].partition("::")
        node = json.loads((ROOT / file).read_text(encoding="utf-8"))
        for part in filter(None, key.split("::")):
            step = int(part) if isinstance(node, list) else part
            assert step in (range(len(node)) if isinstance(node, list) else node), f"{macro} does not exist"
            node = node[step]


@pytest.mark.parametrize("path", WORKFLOWS, ids=_name)
def test_every_reference_has_a_target(path):
    parser = ConfigParser()
    parser.read_config(str(path))
    parser.resolve_macro_and_relative_ids()
    config = parser.get()
    for value in _strings({key: item for key, item in config.items() if key != "about"}):
        if not value.startswith(("@", "$")):
            continue
        for reference in re.findall(r"@([A-Za-z_][\w:]*)", value):
            node = config
            for part in reference.strip(":").split("::"):
                assert isinstance(node, dict), f"@{reference} in {value}"
                assert part in node, f"@{reference} in {value} has no target"
                node = node[part]


MONAI = ComponentLocator(excludes=("apps",))  # names without dots


@pytest.mark.parametrize("path", WORKFLOWS, ids=_name)
def test_every_component_takes_its_arguments(path):
    parser = ConfigParser()
    parser.read_config(str(path))
    parser.resolve_macro_and_relative_ids()
    faults = []
    for node in _components(parser.get()):
        name = node["_target_"]
        target = locate(name if "." in name else f"{MONAI.get_component_module_name(name)}.{name}")
        if target is None:
            faults.append(f"{node['_target_']} does not exist")
            continue
        try:
            signature = inspect.signature(target)
        except ValueError:  # written in C
            continue
        given = {key: None for key in node if not key.startswith("_")}
        try:
            # of a callable the caller gives the rest
            (signature.bind_partial if node.get("_mode_") == "callable" else signature.bind)(**given)
        except TypeError as error:
            faults.append(f"{node['_target_']}: {error}")
    assert not faults


def _components(node):
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str) and not node["_target_"].startswith(("$", "@")):
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _components(item)


DIFFUSION = [b for b in BUNDLES if "DiffusionModelUNet" in "".join(p.read_text() for p in b.glob("configs/model.json"))]


@pytest.mark.parametrize("bundle", DIFFUSION, ids=_name)
def test_network_agrees_with_the_metadata(bundle):
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "train.json"),
        device="cpu",
        extra_forward_args={"timesteps": torch.tensor([1])},
        channels=[32, 32], num_res_blocks=1, num_head_channels=32,
    )  # fmt: skip


def test_conditioned_network_agrees_with_the_metadata():
    bundle = ROOT / "bundles/cddpm"
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "train.json"),
        device="cpu",
        extra_forward_args={"timesteps": torch.tensor([1]), "image": torch.rand(1, 1, 96, 96)},
        network_def="$@network_spec().eval()",
        channels=[32, 32], num_res_blocks=1, num_head_channels=32,
        encoder_block="basic", encoder_layers=[1, 1, 1, 1], encoder_widths=[16, 16, 16, 16],
    )  # fmt: skip


def test_full_network_has_the_stated_number_of_parameters():
    parser = ConfigParser()
    parser.read_config(str(ROOT / "bundles/ddpm_ssim_ens/configs/train.json"))
    network = parser.get_parsed_content("network_def")
    assert sum(p.numel() for p in network.parameters()) == 34_493_313


def _strings(node):
    if isinstance(node, dict):
        for value in node.values():
            yield from _strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value)
    elif isinstance(node, str):
        yield node


@pytest.mark.parametrize("path", [p for p in WORKFLOWS if p.name in ("evaluate.json", "inference.json")], ids=_name)
def test_monais_own_tracking_reaches_the_check_that_refuses_it(path):
    """MONAI appends its handler before anything of this package runs, so the handlers must be a list by then."""
    from monai.bundle.utils import DEFAULT_HANDLERS_ID
    from monai.bundle.workflows import ConfigWorkflow

    parser = ConfigParser()
    parser.read_config(str(path))
    parser["save_execute_config"] = False
    listed = list(parser["handlers"])
    ConfigWorkflow.patch_bundle_tracking(
        parser, {"handlers_id": DEFAULT_HANDLERS_ID, "configs": {"evaluator": {"_target_": "x"}}}
    )
    assert parser["handlers"] == [*listed, {"_target_": "x"}]
    stem = "evaluation" if path.name == "evaluate.json" else "inference"
    shared = json.loads((ROOT / "custom/configs" / f"{stem}.json").read_text(encoding="utf-8"))["handlers"]
    assert listed == [f"%custom/configs/{stem}.json::handlers::{number}" for number in range(len(shared))]


def test_monai_does_not_print_the_settings():
    """They may hold the password of a tracking server, and stand in run.json without it."""
    code = (
        "import logging.config, sys; from monai.bundle import scripts;"
        "logging.config.fileConfig(sys.argv[1], disable_existing_loggers=False);"
        "scripts._log_input_summary('run', {'tracking_uri': 'http://alice:s3cret@host'})"
    )
    conf, *others = (bundle / "configs" / "logging.conf" for bundle in BUNDLES)
    assert all(other.read_bytes() == conf.read_bytes() for other in others)
    done = subprocess.run([sys.executable, "-c", code, str(conf)], capture_output=True, text=True, check=True)
    assert "s3cret" not in done.stdout + done.stderr

# SPDX-License-Identifier: Apache-2.0
"""A frozen bundle stands alone: bit-identical maps from any folder, MONAI's checks, refusal of other weights."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, verify_metadata, verify_net_in_out
from monai.data import MetaTensor
from safetensors.torch import load_file

from custom.cli.main import main
from custom.core.description import describe
from custom.core.errors import ConfigError
from custom.core.resources import bundle_folder
from custom.prediction.predictor import Predictor
from custom.release.checked import CheckedInferer, state_sha256
from custom.release.for_label import ForMonaiLabeld
from custom.release.freeze import freeze_bundle, write_zip
from custom.release.joined import join
from custom.release.manifest import verify_manifest
from custom.runs.model_folder import ModelFolder
from custom.scoring import SSIMEnsemble
from label.phantoms import THRESHOLDS, write_marker_model

pytestmark = [
    pytest.mark.fault(
        70,
        "other versions of MONAI and friends",
        "partly: tested versions are pinned in `constraints.txt`; frozen bundles are checked as MONAI Label reads them",
        "foreseen",
    ),
]

NAME = "ddpm_ssim_ens_t1_fold0"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A tiny random network scored by SSIM-ens."""
    folder = write_marker_model(tmp_path_factory.mktemp("run"))
    model = ModelFolder.read(folder)
    model.promote({**model.calibration, "score": "ssim_ens", "scoring": describe(SSIMEnsemble([0.5, 1.1]))})
    return folder


@pytest.fixture(scope="module")
def frozen(run, tmp_path_factory) -> Path:
    return freeze_bundle(run, tmp_path_factory.mktemp("release"), archive=True)


@pytest.mark.parametrize(
    ("good", "menu"),
    [({"typical_fpr_0.01": 0.9}, "leaves it out"), ({}, "offers it because no other is better")],
)
def test_freezing_says_which_thresholds_are_indiscriminate(run, good, menu, tmp_path, monkeypatch, capsys):
    shutil.copytree(run, tmp_path / "frozen" / "models")
    model = ModelFolder.read(tmp_path / "frozen" / "models")
    thresholds = {name: {"value": value, "source": "x"} for name, value in {**good, "tuned/mslub": 0.12}.items()}
    quantiles = {"levels": [0.5, 0.9, 1.0], "scores": [0.1, 0.2, 1.0]}
    model.promote({**model.calibration, "thresholds": thresholds, "healthy_quantiles": quantiles})
    monkeypatch.setattr("custom.release.freeze.freeze_bundle", lambda *_: tmp_path / "frozen")
    assert main(["freeze", str(run), "-o", str(tmp_path / "release")]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert "threshold tuned/mslub is indiscriminate: it marks 42% of healthy brains" in notes[0]
    assert notes[0].endswith(f"the menu of MONAI Label {menu}")


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """Coarse oblique brain of 1.3 l with noise."""
    affine = np.diag([-4.0, 4.0, 5.0, 1.0])
    affine[:3, 3] = [94, -110, -80]
    index = np.stack(np.meshgrid(*map(np.arange, (48, 56, 34)), indexing="ij"))
    world = np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3][:, None, None, None]
    brain = ((world / np.array([62, 80, 62])[:, None, None, None]) ** 2).sum(0) < 1
    image = (1 + np.random.default_rng(0).normal(0, 0.1, brain.shape)) * brain
    path = tmp_path_factory.mktemp("scan") / "sub-1_T1w.nii.gz"
    nib.save(nib.Nifti1Image(image.astype(np.float32), affine), path)
    return path


def test_same_map_from_another_folder_without_the_repository(run, frozen, scan, tmp_path, repository) -> None:
    """MONAI's command in a fresh process whose only ``custom`` is the frozen one, against the source bundle here."""
    expected = Predictor.load(run, device="cpu").predict(scan)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-m", "monai.bundle", "run", "inference", "--config_file"]
    command += [str(frozen / "configs/inference.json"), "--bundle_root", str(frozen), "--input", str(scan)]
    command += ["--output_dir", str(tmp_path / "out"), "--device", "cpu", "--report", "False"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**environment, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for name, array in (("map", expected.anomaly_map), ("mask", expected.mask)):
        image = nib.load(next((tmp_path / "out").rglob(f"*_desc-anomaly_{name}.nii.gz")))
        assert np.array_equal(np.asarray(image.dataobj), array)
    assert expected.anomaly_map.any()
    verify_manifest(frozen)


def test_configurations_stand_alone_and_say_nothing_of_the_model(frozen) -> None:
    for kind in ("inference", "evaluate", "train"):
        text = (frozen / f"configs/{kind}.json").read_text()
        config = json.loads(text)
        assert '"%' not in text
        assert "@_meta_" not in text
        assert str(frozen) not in text
        assert config["initialize"] == []
        assert config["bundle_root"] == "."
    assert not re.search(
        r'"(seed|contrast|dataset|test_timesteps)": ("t1"|"phantom"|[0-9])',
        (frozen / "configs/inference.json").read_text(),
    )
    config = json.loads((frozen / "configs/inference.json").read_text())
    assert {"imports", "device", "bundle_root", "network_def", "inferer", "preprocessing", "postprocessing"} <= set(
        config
    )
    for weights in ("model.pt", "model.safetensors"):
        assert (frozen / "models" / f"{weights}.sha256").is_file()
    assert ModelFolder.read(frozen / "models").content == ModelFolder.read(frozen / "models", "ddpm_ssim_ens").content
    assert "terms are not known" in (frozen / "docs/data_license.txt").read_text()
    metadata = json.loads((frozen / "configs/metadata.json").read_text())
    assert {"safetensors", "nibabel", "scipy"} <= set(metadata["required_packages_version"])


def test_only_what_is_imported_is_carried(frozen, repository) -> None:
    carried = {path.relative_to(frozen).as_posix() for path in (frozen / "custom").rglob("*.py")}
    assert {"custom/prediction/predictor.py", "custom/release/lint.py"} & carried == set()
    assert {"custom/models/baur_autoencoder.py", "custom/benchmark/plan.py", "custom/cli/main.py"} & carried == set()
    assert "custom/models/noise_scheduler.py" in carried
    assert "custom/cohorts/datasets/public.py" in carried, "imported by what its package finds, named by nothing"
    for name in carried:
        assert (frozen / name).read_bytes() == (repository / name).read_bytes()


def test_reads_as_monai_label_reads_it(frozen, scan, tmp_path, monkeypatch) -> None:
    """Root, device and options replaced as its server does; the options decide the threshold, as data and never as code."""
    monkeypatch.chdir(tmp_path)
    parser = ConfigParser(json.loads((frozen / "configs/inference.json").read_text()))
    parser.config.update(bundle_root=str(frozen), device="cpu")
    assert parser.get_parsed_content("displayable_configs") == {"threshold": 0.0, "sensitivity": list(THRESHOLDS)}
    for request, threshold in (
        ({"threshold": 0.0, "sensitivity": list(THRESHOLDS)}, 0.7),
        ({"threshold": 0.0, "sensitivity": "healthy_fpr_0.05"}, 0.5),
        ({"threshold": 0.25, "sensitivity": "healthy_fpr_0.05"}, 0.25),
        ({"threshold": "0.25", "sensitivity": "$open('PWNED','w')"}, 0.25),
        ({"threshold": 0.0, "sensitivity": "$open('PWNED','w')"}, None),
        ({"threshold": "$open('PWNED','w')", "sensitivity": "@model"}, None),
    ):
        parser["displayable_configs"].update(request)
        parser.parse()
        transforms = parser.get_parsed_content("postprocessing").transforms
        data = {"image": str(scan), **request}
        for transform in parser.get_parsed_content("preprocessing").transforms:
            data = transform(data)
        data["pred"] = torch.rand(2, *data["image"].shape[1:], generator=torch.Generator().manual_seed(0))
        if threshold is None:
            with pytest.raises(ConfigError, match=r"unknown|not an anomaly score"):
                transforms[0](data)
        else:
            assert transforms[0](data)["result"]["threshold"] == threshold
    assert isinstance(parser.get_parsed_content("inferer"), CheckedInferer)
    assert not (tmp_path / "PWNED").exists()


_TWO = """
import json, sys
sys.modules.update(dict.fromkeys(("matplotlib", "mlflow", "pandas")))  # a server has none of what training alone needs
from monai.bundle import ConfigParser
for root in sys.argv[1:]:
    sys.path.insert(0, root)
    parser = ConfigParser(json.load(open(root + "/configs/inference.json")))
    parser.config.update(bundle_root=root, device="cpu")
    print(type(parser.get_parsed_content("network_def")).__name__, parser.get_parsed_content("inferer").weights_sha256)
    parser.get_parsed_content("preprocessing"), parser.get_parsed_content("postprocessing")
    sys.path.remove(root)
"""


def test_two_releases_live_in_one_process(frozen, tmp_path) -> None:
    """As in one MONAI Label server; each needs modules that the other lacks. One of another version is refused."""
    other = freeze_bundle(write_marker_model(tmp_path / "ae", method="ae"), tmp_path / "release")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
        "PYTHONDONTWRITEBYTECODE": "1"
    }

    def read(*roots):
        command = [sys.executable, "-c", _TWO, *map(str, roots)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = read(frozen, other)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["DiffusionModelUNet", "BaurAutoencoder"]
    changed = other / "custom/scoring/residual.py"
    changed.write_text(changed.read_text() + "\nCHANGED = True\n")
    refused = read(frozen, other)
    assert refused.returncode != 0
    assert "was released with another version of custom" in refused.stderr
    assert "scoring/residual.py differ" in refused.stderr


def test_fine_tuning_starts_from_the_released_weights(frozen) -> None:
    parser = ConfigParser(json.loads((frozen / "configs/train.json").read_text()))
    parser.config.update(bundle_root=str(frozen))
    network, state = parser.get_parsed_content("network_def"), load_file(frozen / "models/model.safetensors")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert describe(parser.get_parsed_content("parts")) == ModelFolder.read(frozen / "models").content["parts"]
    assert parser.get_parsed_content("contrast") == "t1"
    assert parser.get_parsed_content("prepare_batch").noise == ModelFolder.read(frozen / "models").build("noise")


def test_state_dicts_are_equal_and_flat(frozen) -> None:
    flat = torch.load(frozen / "models/model.pt", weights_only=True)
    safe = load_file(frozen / "models/model.safetensors")
    assert flat.keys() == safe.keys()
    assert all(torch.equal(flat[key], safe[key]) for key in safe)


def test_monai_checks(frozen, tmp_path, repository, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    schema = tmp_path / "eval" / "schema.json"
    schema.parent.mkdir()
    schema.write_bytes((repository / "tests/bundles/meta_schema.json").read_bytes())
    meta, config = str(frozen / "configs/metadata.json"), str(frozen / "configs/inference.json")
    verify_metadata(meta_file=meta, filepath=str(schema))
    verify_net_in_out(
        net_id="network_def", meta_file=meta, config_file=config, device="cpu",
        extra_forward_args={"timesteps": torch.tensor([1])}, bundle_root=str(frozen),
    )  # fmt: skip


def test_other_weights_are_refused(frozen) -> None:
    state = torch.load(frozen / "models/model.pt", weights_only=True)
    network = ModelFolder.read(frozen / "models").network().eval()
    inferer = CheckedInferer(lambda inputs, network: inputs + 1, state_sha256(state))
    with pytest.raises(ConfigError, match="does not have the weights of this release"):
        inferer(torch.zeros(1), network)
    network.load_state_dict(state)
    assert inferer(torch.zeros(1), network) == 1
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] += 1e-3
    with pytest.raises(ConfigError, match="unpack the release again"):
        inferer(torch.zeros(1), network)


def test_digest_sees_names_shapes_kinds() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.int64)}
    others = [
        {**base, "a": torch.zeros(3, 2)},
        {"c": base["a"], "b": base["b"]},
        {**base, "a": torch.zeros(2, 3).half()},
    ]
    digests = {state_sha256(state) for state in [base, *others]}
    assert len(digests) == 4
    assert state_sha256({"s": torch.tensor(1.0)}) != state_sha256({"s": torch.tensor(2.0)})


def test_zip_has_one_top_folder_and_is_reproducible(frozen, tmp_path) -> None:
    archive = frozen.with_name(f"{frozen.name}.zip")
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
    assert {name.split("/")[0] for name in names} == {NAME}
    assert not any("__pycache__" in name for name in names)
    write_zip(frozen, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    verify_manifest(tmp_path / "unpacked" / NAME)


def test_manifest_notices_an_exchanged_file(frozen, tmp_path) -> None:
    shutil.unpack_archive(frozen.with_name(f"{NAME}.zip"), tmp_path / "unpacked")
    unpacked = tmp_path / "unpacked" / NAME
    (unpacked / "models/model.pt").write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"changed: models/model\.pt"):
        verify_manifest(unpacked)


@pytest.mark.fault(102)
def test_faults(run, frozen, tmp_path) -> None:
    occupied = tmp_path / "occupied" / NAME
    shutil.copytree(frozen, occupied)
    (occupied / "docs" / "README.md").write_text("another release")
    with pytest.raises(ConfigError, match="exists already, holds another release"):
        freeze_bundle(run, occupied.parent)
    assert (occupied / "docs" / "README.md").read_text() == "another release"
    with pytest.raises(ConfigError, match="contains 'detection'"):
        freeze_bundle(run, tmp_path, name="anomaly_detection")
    with pytest.raises(ConfigError, match="must be a word"):
        freeze_bundle(run, tmp_path, name="../up")
    with pytest.raises(ConfigError, match="no trained model"):
        freeze_bundle(tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="is not a bundle"):
        freeze_bundle(run, tmp_path, bundle=tmp_path)
    (tmp_path / "configs").mkdir()
    config = json.loads((bundle_folder("ddpm_ssim_ens") / "configs/inference.json").read_text())
    (tmp_path / "configs/inference.json").write_text(json.dumps({**config, "bad": "/home/someone/file"}))
    with pytest.raises(ConfigError, match="bad holds a path of this machine"):
        freeze_bundle(run, tmp_path / "out", bundle=tmp_path)
    with pytest.raises(ConfigError, match=r"no release in .* add --bundle_root RELEASE"):
        join(tmp_path)
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.fault(
    102,
    "`uad freeze` killed while it packs",
    "the same command completes it, half-built folders are swept, another release is not written over",
    "mended",
)
def test_the_same_command_completes_what_a_killed_one_left(run, frozen, repository, tmp_path) -> None:
    """Killed while it writes the zip: folder there, zip not; the half zip is swept, the repetition ends like the first."""
    code = (
        "import sys, os, signal, zipfile; from custom.release.freeze import freeze_bundle\n"
        "write = zipfile.ZipFile.writestr\n"
        "def deadly(self, entry, data):\n"
        "    write(self, entry, data)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "zipfile.ZipFile.writestr = deadly\n"
        "freeze_bundle(sys.argv[1], sys.argv[2], archive=True)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(run), str(tmp_path)], cwd=repository, check=False)
    assert killed.returncode == -9
    assert (tmp_path / NAME).is_dir()
    assert len(list(tmp_path.iterdir())) > 1
    again = freeze_bundle(run, tmp_path, archive=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, f"{NAME}.zip"]
    assert again.with_name(f"{NAME}.zip").read_bytes() == frozen.with_name(f"{NAME}.zip").read_bytes()


def test_metadata_as_monai_label_compares_it() -> None:
    """Its last transform asks ``numpy.any`` of a comparison with the shape; the doubts travel in the reply."""
    image = MetaTensor(
        torch.zeros(2, 4, 5, 6), meta={"spatial_shape": torch.tensor([7, 8, 9]), "original_affine": torch.eye(4)}
    )
    made = ForMonaiLabeld("image")({"image": image, "result": {"threshold": 1.0}, "warnings": '["thick slices"]'})
    shape = made["image"].meta["spatial_shape"]
    assert isinstance(shape, np.ndarray)
    assert np.any(np.not_equal((7, 8, 8), shape[-3:]))
    assert not np.any(np.not_equal((7, 8, 9), shape[-3:]))
    assert made["result"] == {"threshold": 1.0, "warnings": ["thick slices"]}

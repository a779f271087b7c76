# SPDX-License-Identifier: Apache-2.0
"""Scans in, results on their own grids out: one model of a 3x3 mean filter, one tiny diffusion network."""

import json
import random
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from custom.core.description import describe
from custom.core.errors import ConfigError, DataError
from custom.core.resources import bundle_folder, rooted
from custom.postprocessing import none
from custom.prediction.predictor import Predictor, inference_parser, predict_batch
from custom.preparation.prepare import preparation
from tests import commands
from tests.model_fixtures import blurring_model, model_folder

pytestmark = [
    pytest.mark.fault(66, "patient names", "only case ids in pages", "foreseen"),
    pytest.mark.fault(71),
]

LAS = np.array([[-4.0, 0, 0, 94], [0, 4, 0, -110], [0, 0, 5, -80], [0, 0, 0, 1]])
RAS = np.diag([4.0, 4.0, 5.0, 1.0])
RAS[:3, 3] = [-94, -110, -80]
MARKER_MM = np.array([-26.0, 30.0, 20.0])


def write_scan(path: Path, affine: np.ndarray, seed: int = 0, scale: float = 100.0) -> Path:
    """A textured brain of 1.3 l with a bright ball of 10 mm on the left, in front, above."""
    shape = (48, 56, 34)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    world = np.einsum("ij,jxyz->ixyz", affine[:3, :3], index) + affine[:3, 3][:, None, None, None]
    brain = ((world / np.array([62, 80, 62])[:, None, None, None]) ** 2).sum(0) < 1
    marker = ((world - MARKER_MM[:, None, None, None]) ** 2).sum(0) < 10**2
    noise = np.random.default_rng(seed).normal(0, 0.02, shape)
    image = np.where(marker, 3.0, 1 + 0.3 * np.sin(world[0] / 25) + 0.2 * np.cos(world[1] / 30) + noise) * brain
    header = nib.Nifti1Header()
    header["descrip"] = b"Jane Doe"
    scan = nib.Nifti1Image((scale * image).astype(np.float32), affine, header)
    scan.set_sform(affine, 4)
    scan.set_qform(affine, 1)
    nib.save(scan, path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model whose network is a mean filter; the results are the scan minus its blurred self."""
    return blurring_model(tmp_path_factory.mktemp("models") / "run")


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Ten scans, three of them broken."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(6):
        write_scan(folder / f"sub-{number}_T1w.nii.gz", LAS if number % 2 else RAS, seed=number)
    write_scan(folder / "sub-6_ses-b_T1w.nii.gz", LAS, seed=6)
    (folder / "sub-7_T1w.nii.gz").write_bytes((folder / "sub-0_T1w.nii.gz").read_bytes()[:9000])
    (folder / "sub-8_T1w.nii.gz").write_text("not a scan")
    nib.save(nib.Nifti1Image(np.full((20, 20, 20), 7, np.float32), np.eye(4)), folder / "sub-9_T1w.nii.gz")
    return folder


@pytest.fixture(scope="module")
def batch(model, scans, tmp_path_factory) -> tuple[Path, int, str]:
    """Results, exit code and terminal output of ``scripts/predict.py`` on the ten scans."""
    out = tmp_path_factory.mktemp("out")
    root = Path(__file__).parents[2]
    ended = commands.run(["scripts/predict.py", str(scans), "-o", str(out), "--model", str(model)], root)
    return out, ended.returncode, ended.stdout


def image_of(out: Path, case_id: str, name: str) -> nib.Nifti1Image:
    return nib.load(next(out.rglob(f"{case_id}_desc-{name}.nii.gz")))


def test_seven_results_three_sentences_exit_code_four(batch, scans) -> None:
    out, code, table = batch
    assert code == 4
    assert len(list(out.rglob("*_desc-anomaly_map.nii.gz"))) == 7
    records = json.loads((out / "summary.json").read_text())["cases"]
    assert [record["case_id"] for record in records] == [f"sub-{n}" for n in range(6)] + [
        "sub-6_ses-b", "sub-7", "sub-8", "sub-9"
    ]  # fmt: skip
    errors = {record["case_id"]: record["error"] for record in records if record["status"] == "failed"}
    assert set(errors) == {"sub-7", "sub-8", "sub-9"}
    assert "truncated" in errors["sub-7"]
    assert "not gzipped" in errors["sub-8"]
    assert "no signal" in errors["sub-9"]
    for error in errors.values():
        assert error in table
        assert str(scans) not in error
    assert table.count("done") == 7


def test_grid_and_codes_of_the_scan_come_back(batch, scans) -> None:
    for case_id, name in (("sub-0", "sub-0_T1w"), ("sub-1", "sub-1_T1w")):
        scan = nib.load(scans / f"{name}.nii.gz")
        for output in ("anomaly_map", "anomaly_mask", "pseudohealthy_T1w"):
            image = image_of(batch[0], case_id, output)
            assert image.shape == scan.shape
            assert np.array_equal(image.affine, scan.affine)
            assert image.header["sform_code"] == 4
            assert image.header["qform_code"] == 1
            assert np.allclose(image.get_qform(), scan.get_qform())
            assert bytes(image.header["descrip"]).strip(b"\0") == b""
    assert image_of(batch[0], "sub-1", "anomaly_mask").get_data_dtype() == np.uint8


def test_marker_is_found_on_its_side(batch) -> None:
    for case_id in ("sub-0", "sub-1", "sub-6_ses-b"):
        mask = image_of(batch[0], case_id, "anomaly_mask")
        record = json.loads(next(batch[0].rglob(f"{case_id}_desc-anomaly_summary.json")).read_text())
        nearest = min(np.linalg.norm(np.array(f["centre_mm"]) - MARKER_MM) for f in record["Findings"])
        assert nearest < 4
        assert record["Findings"][0]["where"] == "left, anterior, superior"
        total = sum(finding["volume_ml"] for finding in record["Findings"])
        assert total == pytest.approx(np.asarray(mask.dataobj).sum() * 0.08, rel=1e-3)


def test_pseudohealthy_has_the_intensities_of_the_scan(batch, scans) -> None:
    scan = np.asarray(nib.load(scans / "sub-0_T1w.nii.gz").dataobj)
    healthy = np.asarray(image_of(batch[0], "sub-0", "pseudohealthy_T1w").dataobj)
    inner = np.zeros_like(scan, dtype=bool)
    inner[20:28, 20:30, 14:20] = True
    assert np.median(healthy[inner]) == pytest.approx(np.median(scan[inner]), rel=0.05)
    assert (healthy[scan == 0] == 0).mean() > 0.97


def test_sidecars_tell_how_it_was_made(batch) -> None:
    sidecar = json.loads(next(batch[0].rglob("sub-0_desc-anomaly_mask.json")).read_text())
    assert sidecar["Threshold"] == {"Value": 0.15, "Source": "exceeded by 1 % of the voxels of healthy brains"}
    assert len(sidecar["Settings"]["model_sha256"]) == 64
    assert sidecar["Settings"]["seed"] == 1
    assert sidecar["ResearchUseOnly"] is True
    assert any("5.0 mm" in warning for warning in sidecar["Warnings"])
    assert (batch[0] / "dataset_description.json").is_file()
    assert (batch[0] / "sub-6" / "ses-b" / "anat").is_dir()


def test_pages_hold_no_paths_and_no_names(batch, scans) -> None:
    pages = list(batch[0].glob("*.html"))
    assert len(pages) == 8
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert str(scans.parent) not in text
        assert "Jane" not in text


def test_rerun_does_only_what_is_missing(batch, model, scans) -> None:
    out = batch[0]
    mask = next(out.rglob("sub-2_desc-anomaly_mask.nii.gz"))
    whole = mask.read_bytes()
    mask.write_bytes(whole[:100])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*_map.nii.gz")}
    records = {record["case_id"]: record["status"] for record in predict_batch(model, scans, out)}
    assert [name for name, status in records.items() if status == "done"] == ["sub-2"]
    assert sum(status == "done before" for status in records.values()) == 6
    changed = [path.name for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert changed == ["sub-2_desc-anomaly_map.nii.gz"]
    assert mask.read_bytes() == whole


def test_where_nothing_is_left_to_do_nothing_is_run(batch, model, scans) -> None:
    """MONAI warned of hanging distributed training where every scan was done before."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*dataloader.*")
        (*_, record) = predict_batch(model, scans / "sub-3_T1w.nii.gz", batch[0])
    assert record["status"] == "done before"


def test_alone_in_a_batch_or_by_workers_gives_one_map(batch, model, scans, tmp_path) -> None:
    alone = Predictor.load(model).predict(scans / "sub-3_T1w.nii.gz")
    in_batch = np.asarray(image_of(batch[0], "sub-3", "anomaly_map").dataobj)
    assert np.array_equal(alone.anomaly_map, in_batch)
    (tmp_path / "list.txt").write_text(f"{scans / 'sub-4_T1w.nii.gz'}\n{scans / 'sub-3_T1w.nii.gz'}\n")
    predict_batch(model, tmp_path / "list.txt", tmp_path / "out", num_workers=2, report=False)
    assert np.array_equal(np.asarray(image_of(tmp_path / "out", "sub-3", "anomaly_map").dataobj), in_batch)


def test_names_and_stored_order_change_nothing(model, tmp_path) -> None:
    """One brain stored right to left and left to right under two names."""
    predictor = Predictor.load(model)
    first = predictor.predict(write_scan(tmp_path / "one.nii.gz", RAS))
    image = nib.load(tmp_path / "one.nii.gz")
    flipped = image.as_reoriented(np.array([[0, -1], [1, 1], [2, 1]]))
    nib.save(flipped, tmp_path / "two.nii.gz")
    second = predictor.predict(tmp_path / "two.nii.gz")
    assert np.allclose(second.anomaly_map[::-1], first.anomaly_map, atol=1e-5)


def test_knobs(model, scans, tmp_path) -> None:
    volumes = []
    for number, knobs in enumerate(({"sensitivity": "healthy_fpr_0.05"}, {}, {"threshold": 0.18})):
        source = scans / "sub-5_T1w.nii.gz"
        (record,) = predict_batch(model, source, tmp_path / str(number), report=False, contrast="T2", **knobs)
        volumes.append(record["AnomalyVolumeMl"])
        assert any("a T2 scan" in warning for warning in record["Warnings"])
    assert volumes[0] > volumes[1] > volumes[2] > 0


def test_mask_file(model, scans, tmp_path) -> None:
    """With a mask of the right half the marker on the left is not looked at."""
    image = nib.load(scans / "sub-0_T1w.nii.gz")
    mask = (np.asarray(image.dataobj) > 0).astype(np.uint8)
    mask[:25] = 0
    nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / "mask.nii.gz")
    result = Predictor.load(model).predict(scans / "sub-0_T1w.nii.gz", tmp_path / "mask.nii.gz")
    assert not result.anomaly_map[:20].any()
    assert any("ml, expected" in warning for warning in result.warnings)


def test_scans_in_memory_give_what_their_files_give(model, scans, tmp_path) -> None:
    """A nibabel image, an array with its affine, a tensor, and an array with its voxel size on a grid along the axes."""
    predictor = Predictor.load(model)
    path = scans / "sub-1_T1w.nii.gz"
    image, wanted = nib.load(path), predictor.predict(path)
    array = np.asarray(image.dataobj)
    mask = (array > 0).astype(np.uint8)
    for given, how in (
        (image, {}),
        (array, {"affine": image.affine}),
        (torch.from_numpy(array.copy()), {"affine": image.affine.tolist(), "case_id": "sub-x"}),
        (image, {"mask": mask}),
        (array, {"affine": image.affine, "mask": nib.Nifti1Image(mask, image.affine)}),
    ):
        result = predictor.predict(given, **how)
        assert np.array_equal(result.anomaly_map, wanted.anomaly_map)
        assert np.array_equal(result.mask, wanted.mask)
        assert result.case_id == how.get("case_id", "scan")
    straight = predictor.predict(nib.load(scans / "sub-0_T1w.nii.gz").get_fdata(), spacing_mm=(4, 4, 5))
    assert straight.mask.sum() == predictor.predict(scans / "sub-0_T1w.nii.gz").mask.sum()
    names = {path.name for path in result.save(tmp_path / "out")}
    assert {"scan_anomaly_map.nii.gz", "scan_mask.nii.gz", "scan_pseudohealthy.nii.gz", "scan_summary.json"} < names
    assert np.array_equal(nib.load(tmp_path / "out/scan_mask.nii.gz").get_fdata(), result.mask)
    assert len(repr(result)) < 300
    assert result._repr_html_().startswith("<p><b>scan</b>")
    assert len(result.plot().axes) == 3


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "does not say where its voxels lie"),
        ({"affine": np.eye(4), "spacing_mm": (1, 1, 1)}, "give one of them"),
        ({"spacing_mm": (1, 1)}, "three numbers"),
        ({"spacing_mm": (1000, 1000, 1000)}, "voxel size is 1e\\+03"),
        ({"affine": np.zeros((4, 4))}, "invertible 4 x 4"),
        ({"scan": np.zeros((1, 20, 20, 20)), "spacing_mm": (4, 4, 4)}, r"\[X, Y, Z\], got ndarray \[1, 20, 20, 20\]"),
        ({"scan": np.full((20, 20, 20), 7.0), "spacing_mm": (4, 4, 4)}, "no signal"),
        ({"mask": np.zeros((20, 20, 20)), "spacing_mm": (4, 4, 4)}, "the mask is empty"),
        ({"mask": np.ones((20, 20, 21)), "spacing_mm": (4, 4, 4)}, "the mask has shape"),
    ],
)
def test_arrays_that_are_no_scan(model, how, message) -> None:
    scan = np.random.default_rng(0).normal(100, 10, (20, 20, 20))
    with pytest.raises((ConfigError, DataError), match=message):
        Predictor.load(model).predict(**{"scan": scan, **how})


def test_faults_of_settings(model, scans, tmp_path) -> None:
    with pytest.raises(ConfigError, match="sensitivty"):
        inference_parser(model, sensitivty=1)
    with pytest.raises(ConfigError, match="no trained model"):
        Predictor.load(tmp_path)
    with pytest.raises(ConfigError, match="takes one of nifti"):
        predict_batch(model, scans, tmp_path / "out", output_format="jpeg")
    with pytest.raises(DataError, match="truncated"):
        Predictor.load(model).predict(scans / "sub-7_T1w.nii.gz")


def test_diffusion_bundle_from_anywhere(repository, scans, tmp_path, monkeypatch) -> None:
    """The bundle's own file with a tiny network: the properties MONAI asks for, and a map, from another folder."""
    monkeypatch.chdir(repository)
    training = json.loads((bundle_folder("ddpm_ssim_ens") / "configs/train.json").read_text())
    small = {"channels": [32, 32, 32], "num_res_blocks": 1, "num_head_channels": 32, "resblock_updown": False}
    parts = ConfigParser(rooted(training) | small | {"num_train_timesteps": 100}).get_parsed_content("parts")
    network = parts["network"]()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05, generator=torch.Generator().manual_seed(0))
    run = model_folder(tmp_path / "run", parts, network, bundle="ddpm_ssim_ens", reconstruction={"t_test": 50}).folder
    scan = scans / "sub-0_T1w.nii.gz"
    workflow = ConfigWorkflow(
        "bundles/ddpm_ssim_ens/configs/inference.json", workflow_type="infer", model_dir=str(run), input=str(scan),
        output_dir=str(tmp_path / "out"), logging_file=False,
    )  # fmt: skip
    workflow.initialize()
    assert not workflow.check_properties()
    monkeypatch.chdir(tmp_path)
    parser = inference_parser(run, device="cpu")
    assert parser.get_parsed_content("reconstruction").test_timesteps == (50,)  # its earlier name is understood
    result = Predictor(parser).predict(scan)
    assert np.isfinite(result.anomaly_map).all()
    assert result.anomaly_map.max() > 0
    assert result.threshold.value == 0.15


def test_the_model_decides_and_nothing_else(model, scans, tmp_path) -> None:
    """Training's noise, grid and so on cannot be changed; another post-processing or preparation of the model is followed."""
    for knob in ("noise", "preparation", "channels", "network_def", "contrast_of_training", "model", "postprocessings"):
        with pytest.raises(ConfigError, match=f"{knob}: no setting of inference.json.*cannot be changed"):
            inference_parser(model, **{knob: "x"})
    scan = scans / "sub-0_T1w.nii.gz"
    plain = Predictor.load(model).predict(scan)
    unmasked = blurring_model(tmp_path / "none", postprocessing=describe(none()))
    assert not np.array_equal(Predictor.load(unmasked).predict(scan).anomaly_map, plain.anomaly_map)
    coarse = preparation("standard", shape=(64, 64, 64), spacing_mm=3.0)
    other = blurring_model(tmp_path / "coarse", spacing_mm=[3.0] * 3, preparation=coarse)
    assert Predictor.load(other).predict(scan).grid["map"].shape == (64, 64, 64)
    assert Predictor.load(other).inferer.spacing_mm == (3.0, 3.0, 3.0)


def test_configuration_beside_a_model_is_never_read(model, scans, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(model, tmp_path / "received" / "models"))
    for place in (folder, folder.parent):
        (place / "configs").mkdir()
        (place / "configs" / "inference.json").write_text(
            json.dumps({"device": "$open('PWNED','w')", "calibration": "$open('PWNED','w')"})
        )
    for place in (folder, folder.parent):
        Predictor.load(place).predict(scans / "sub-0_T1w.nii.gz")
    assert not (tmp_path / "PWNED").exists()


HOSTILE = (
    "$open('PWNED','w')",
    "@x",
    "%TEMP%",
    "Study #3",
    "a::b",
    "~",
    "a b",
    "'quoted'",
    '"',
    "line\nbreak",
    "$RECYCLE.BIN",
    "7",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_names(model, scans, tmp_path, monkeypatch, name) -> None:
    """Case, file, folder, model and output called so: read there, written there, nothing is run."""
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(model, Path(name) / "model"))
    scan = Path(name) / f"{name}.nii.gz"
    shutil.copy(scans / "sub-0_T1w.nii.gz", scan)
    (record,) = predict_batch(run, scan, Path(name) / f"out {name}", report=False, contrast=name, sensitivity="0.05")
    assert record["status"] == "done", record
    assert record["Settings"]["declared_contrast"] == name
    assert list((Path(name) / f"out {name}").rglob("*_desc-anomaly_map.nii.gz"))
    assert not list(tmp_path.rglob("PWNED"))
    with pytest.raises(ConfigError, match="is unknown; choose healthy_fpr"):
        predict_batch(run, scan, Path(name) / "out2", sensitivity=f"{name}x")
    assert not list(tmp_path.rglob("PWNED"))


def test_a_call_leaves_the_process_as_it_was(model, scans, tmp_path) -> None:
    def state() -> list[Any]:
        numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002 - the caller's generator
        generators = [random.getstate(), numpy_state, torch.get_rng_state().tolist()]
        return [*generators, sys.excepthook, torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()]

    before = state()
    predict_batch(model, scans / "sub-0_T1w.nii.gz", tmp_path / "out", report=False)
    assert state() == before

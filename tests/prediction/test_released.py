# SPDX-License-Identifier: Apache-2.0
"""The models in the package: whole, small, licensed, and taken for their own contrast only."""

import json
import re
import shlex
import zlib
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from custom.cli.bundle import config_files, read_config
from custom.cli.overrides import typed
from custom.core.errors import ConfigError, DataError
from custom.core.resources import bundle_folder, rooted
from custom.models.weights import load_weights
from custom.prediction import released
from custom.prediction.calibration import Calibration
from custom.prediction.find import ScanSource, find_scans
from custom.prediction.released import choose_model, released_model, released_models
from custom.preparation.prepare import COHORT_SCALE
from custom.release.freeze import freeze_bundle
from custom.runs.model_folder import ModelFolder
from custom.synthetic import make_subject
from custom.synthetic.fields import output_affine

NAMES = [model.folder.name for model in released_models()]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """T1, T2, FLAIR, and a scan of noise, of a synthetic person."""
    folder = tmp_path_factory.mktemp("scans")
    subject = make_subject(99, 40.0, contrasts=("t1", "t2", "flair"))
    noise = np.random.default_rng(0).integers(1, 300, subject.mask.shape).astype(np.int16) * subject.mask
    for name, values in {**subject.images, "noise": noise}.items():
        nib.save(nib.Nifti1Image(values, output_affine(2)), folder / f"person_{name}.nii.gz")
        nib.save(nib.Nifti1Image(subject.mask, output_affine(2)), folder / f"person_{name}_mask.nii.gz")
    return folder


def test_there_is_a_model_for_each_contrast_and_the_wheel_stays_small():
    assert {model.contrast for model in released_models()} >= {"t1", "t2", "flair"}
    files = [path for model in released_models() for path in model.folder.iterdir() if path.name.startswith("model.")]
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) < 10e6


@pytest.mark.parametrize("name", NAMES)
def test_a_released_model_is_whole_and_says_what_it_is(name):
    model = released_model(name)
    network = load_weights(model.network(), model.weights, model.weights_sha256)
    if model.bundle == "restoration":
        assert float(network.healthy_mean.max()) > 0.5
        with torch.no_grad():
            output = network(torch.rand(1, 3, 96, 96), torch.tensor([0.6]), torch.tensor([25]))
        assert output.shape == (1, 2, 96, 96)
    calibration = Calibration.of(model)
    assert calibration.threshold().value > 0
    card = (model.folder / "card.md").read_text(encoding="utf-8")
    for part in (model.weights_sha256, calibration.score, "Research only", "Train it again from scratch"):
        assert part in card
    assert "/work" not in card
    for part in ("LICENSE", "NOTICE"):
        assert (model.folder / part).stat().st_size > 500


@pytest.mark.parametrize("contrast", ["t1", "t2", "flair"])
def test_the_model_for_the_contrast_is_taken_declared_or_recognised(scans, contrast):
    sources = find_scans(scans / f"person_{contrast}.nii.gz")
    recognised = choose_model(sources)
    declared = choose_model(sources, contrast.upper())
    assert recognised.model.contrast == declared.model.contrast == contrast
    assert recognised.model.bundle == declared.model.bundle == "restoration"  # never the reference beside it
    assert f"the model for {contrast.upper()}" in recognised.reason
    assert "declared" in declared.reason


@pytest.mark.parametrize(
    ("correlations", "limits", "wanted"),
    [
        ((0.60, -0.6), (0.45, 0.27), "the model for T1, which sub-persont1 looks like"),
        ((0.41, -0.7), (0.45, 0.27), "more than like any other contrast, though not quite"),  # synthetic T1 of the demo
        ((0.37, -0.45), (0.45, 0.27), None),  # FLAIR of a patient with a glioma
        ((0.35, -0.24), (0.45, 0.27), None),  # FLAIR of a patient with multiple sclerosis
        ((0.02, 0.01), (0.45, 0.27), None),
        ((0.60, 0.58), (0.45, 0.27), None),  # like both
        (
            (0.55, 0.47),
            (0.45, 0.15),
            "the model for T1, which sub-persont1 looks like",
        ),  # though further above T2's limit
    ],
)
def test_a_brain_of_another_look_is_recognised_where_it_contradicts_the_other_contrast(
    scans, monkeypatch, correlations, limits, wanted
):
    found = iter(correlations)
    monkeypatch.setattr(released, "compare", lambda *_: {"distance": 0.0, "correlation": next(found)})
    known = iter(limits)
    monkeypatch.setattr(released, "_reference", lambda _: {"min_correlation": next(known)})
    models = {model.contrast: model for model in released_models()}
    monkeypatch.setattr(released, "released_models", lambda: (models["t1"], models["t2"]))
    sources = find_scans(scans / "person_t1.nii.gz")
    if wanted is None:
        with pytest.raises(ConfigError, match="declare it by --contrast"):
            choose_model(sources)
    else:
        assert wanted in choose_model(sources).reason


def test_no_model_is_taken_in_silence_for_anything_else(scans):
    with pytest.raises(ConfigError, match="does not look clearly like one contrast"):
        choose_model(find_scans(scans / "person_noise.nii.gz"))
    with pytest.raises(ConfigError, match="no released model is for PD"):
        choose_model(find_scans(scans / "person_t1.nii.gz"), "pd")
    both = [*find_scans(scans / "person_t1.nii.gz"), *find_scans(scans / "person_t2.nii.gz")]
    with pytest.raises(ConfigError, match="look like different contrasts"):
        choose_model(both)


def test_a_frozen_release_carries_the_terms_of_the_weights(tmp_path):
    model = released_model("restoration_t1")
    frozen = freeze_bundle(model.folder, tmp_path)
    for name in ("LICENSE", "LICENSE-SBIA.txt", "NOTICE", "card.md"):
        assert (frozen / "models" / name).read_bytes() == (model.folder / name).read_bytes()
    assert not (frozen / "custom" / "released").exists()


@pytest.mark.fault(
    101,
    "a broken scan among several where the model is chosen by their look",
    "refused by itself, the others are done",
    "unrecorded",
)
def test_a_broken_scan_does_not_keep_the_others_from_their_model(monkeypatch) -> None:
    known = released.released_models()[0]

    def recognise(source: ScanSource, *_: object) -> released.Choice:
        if source.case_id == "sub-bad":
            raise RuntimeError("applying transform") from DataError("is truncated", case="sub-bad")
        return released.Choice(known, f"looks like {source.case_id}")

    monkeypatch.setattr(released, "_recognise", recognise)
    bad, refused, good = (
        ScanSource("sub-bad", Path("bad.nii")),
        ScanSource("sub-twice", Path("twice.nii"), problem="twice.nii is in the list twice"),
        ScanSource("sub-good", Path("good.nii")),
    )
    assert released.choose_model([bad, refused, good]).reason == "looks like sub-good"
    with pytest.raises(DataError, match="sub-bad: is truncated"):
        released.choose_model([bad, refused])


@pytest.mark.parametrize("name", NAMES)
def test_the_command_on_the_card_makes_a_model_of_the_same_parts(name, tmp_path):
    """A default of a part that changed since the training needs a word in the command."""
    model = released_model(name)
    card = (model.folder / "card.md").read_text(encoding="utf-8")
    words = shlex.split(re.search(r"^(?:uad train|python -m monai.bundle run training) .*$", card, re.MULTILINE)[0])
    bundle = words[2] if words[0] == "uad" else Path(words[words.index("--config_file") + 1]).parts[1]
    given = dict(pairwise(words))
    given = {key[2:]: value for key, value in given.items() if key.startswith("--")}
    presets = [given.pop("preset")] if "preset" in given else []
    files = config_files(bundle_folder(bundle), "train", presets)
    config = read_config(files)
    settings = {key: typed(key, [value], config, "train.json") for key, value in given.items() if key in config}
    parser = ConfigParser(rooted(config))
    parser.update({key: rooted(value) for key, value in settings.items() if not key.endswith(("_dir", "sources"))})
    parts = {part: parser.get_parsed_content(f"parts::{part}") for part in config["parts"]}
    made = ModelFolder.define(
        tmp_path, bundle=bundle, method=model.method, contrast=model.contrast, dataset=model.dataset, fold=model.fold,
        seed=model.content["seed"], parts=parts,
    )  # fmt: skip
    recorded = dict(model.content["parts"])
    recorded["preparation"] = {"template_scale": COHORT_SCALE} | recorded["preparation"]  # as it is read where it lacks
    assert json.loads(json.dumps(made.content["parts"])) == recorded

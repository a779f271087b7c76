# SPDX-License-Identifier: Apache-2.0
"""A name is a name: files and folders called like code, numbers or options, through every command.

Every command runs in an empty folder with relative paths below one folder of that name, which is where names hurt most.
What it answers does not depend on the name, nothing is run, and nothing appears beside the folder.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from custom.cli.main import main, subcommands
from tests.model_fixtures import blurring_model
from tests.prediction.test_predictor import RAS, write_scan

LIST = "img_name,age,label,img_path,mask_path,seg_path\n"
MATRIX = {
    "name": "m", "seed": 1, "folds": [0], "contrasts": {"t1": {"dataset_name": "own", "test_sets": ["sick"]}},
    "methods": {
        "threshold": {"bundle": "threshold_baseline", "scores": ["intensity"]},
        "atlas": {"bundle": "atlas_baseline", "scores": ["l1"]},
    },
    "metrics": ["dice"], "train": {},
    "evaluate": {"scores": {name: f"%custom/configs/scoring.json::{name}" for name in ("intensity", "l1")}},
    "operating_point": "tuned",
}  # fmt: skip
# command line with {} for the folder, exit code, words that must be said
QUICK = {
    "splits": ("{}/data --dataset own --folds 2 --test_fraction 0.2 --force", 0, "own_test.csv"),
    "check": ("{}/data --no_cache --workers 1 --json {}/faults.json", 4, "own_train_fold0.csv"),
    "pack": ("{}/model {}/packed", 0, "MB"),
    "plant": ("{}/data --dataset own --split val --fold 1 --contrast t1", 4, ""),
    "promote": ("{}/model {}/evaluation", 2, "calibration.json"),
    "card": ("{}/model --run {}/run --evaluation {}/evaluation", 2, "metrics.json"),
    "compare": ("{}/data A={}/data -o {}/table", 4, "no finished evaluation"),
    "sync": ("{}/empty --tracking_uri sqlite:///{}/mlflow.db", 0, "0 entries"),
    "boxes": ("{}/data -o {}/boxes", 4, ""),
    "bids": ("{}/bids {}/maps group", 4, "holds no results"),
    "cohort": ("{}/data --tiny", 4, "left untouched"),
    "demo": ("--data {}/data --output {}/scan.nii.gz", 2, ""),
    "prepare": ("{}/empty -o {}/prepared --contrast t1", 4, "no scan"),
}
SLOW = {
    "matrix": ("{}/matrix.json --data {}/data -o {}/matrix --only plan", 4, "own_train_fold0.csv"),
    "predict": ("{}/scan.nii.gz -o {}/maps --model {}/model --viewer none --extractor none", 0, "done"),
    "calibrate": ("{}/model {}/empty -o {}/copy --scanner {}", 4, "no scan"),
    "freeze": ("{}/model -o {}/release", 0, "release"),
    "train": ("ae_baseline --data {}/empty -o {}/run --dataset_name ixi --contrast t1 --cache_dir {}/cache", 4, "ixi"),
    "evaluate": ("{}/model --data {}/empty -o {}/evaluation --tracking_uri {}", 2, "no test list"),
}
WITHOUT_NAMES = {"models"}
NAMES = st.text(
    st.sampled_from("$@%#:~ '\"\n\t\\&;|<>*?[]{}(),=!`^-.0123456789aé\udce9"), min_size=1, max_size=12
).filter(lambda name: not name.startswith(("-", ".")) and not name.isspace())


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """What a folder holds before the command runs."""
    folder = tmp_path_factory.mktemp("template")
    for part in ("empty", "bids/sub-1", "data/Train/own/t1", "data/splits"):
        (folder / part).mkdir(parents=True)
    declared = [{"name": "own", "healthy": True}, {"name": "sick", "healthy": False, "contrasts": ["t1"]}]
    (folder / "data" / "dataset.json").write_text(json.dumps({"datasets": declared}))
    (folder / "empty" / "tracking.jsonl").touch()
    (folder / "matrix.json").write_text(json.dumps(MATRIX))
    for number in range(8):
        (folder / "data" / "Train" / "own" / "t1" / f"s{number}_t1.nii.gz").touch()
    blurring_model(folder / "model")
    write_scan(folder / "scan.nii.gz", RAS)
    return folder


@pytest.fixture
def ran(tmp_path, template, capsys):
    """Run a command below a folder of the given name and return its exit code and what it said."""

    def run(command, line, name):
        place = tmp_path / "place"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(template, place / name, copy_function=os.link)
        words = [word.replace("{}", name) for word in line.split()]
        capsys.readouterr()
        with contextlib.chdir(place):
            if command == "check":
                assert main(["splits", f"{name}/data", "--dataset", "own", "--folds", "2"]) == 0
            try:
                code = main([command, *words])
            except SystemExit as ended:
                code = ended.code
        said = capsys.readouterr()
        assert "Traceback" not in said.err, said.err
        assert os.listdir(place) == [name]
        return code, said.out + said.err

    return run


@pytest.mark.fault(
    124,
    "files and folders called `$open(...)`, `@results`, `%TEMP%`, `Study #3`, `~`, 12, with quotes, line breaks or bytes that are no UTF-8, "
    "through every command",
    "a name is a name: nothing is run, nothing appears elsewhere, and the answer does not depend on it",
    "mended",
)
def test_every_command_is_here():
    assert {*QUICK, *SLOW, *WITHOUT_NAMES} == set(subcommands())


@pytest.mark.fault(124)
@pytest.mark.parametrize("command", QUICK)
def test_any_name(ran, command):
    line, code, words = QUICK[command]

    @settings(max_examples=4)
    @given(NAMES)
    @example("$open('PWNED','w')")
    @example("@results")
    @example("%TEMP%")
    @example("Study #3")
    @example("~")
    @example("12")
    @example("caf\udce9")
    def check(name):
        found, said = ran(command, line, name)
        assert found == code, said
        assert words in said

    check()


@pytest.mark.fault(124)
@pytest.mark.parametrize("command", SLOW)
@pytest.mark.parametrize("name", ["$open('PWNED','w')", "@results", "%TEMP% #3::a\n\"'", "12", "~ caf\udce9"])
def test_hostile_names_where_a_model_is_loaded(ran, command, name):
    line, code, words = SLOW[command]
    found, said = ran(command, line, name)
    assert found == code, said
    assert words in said

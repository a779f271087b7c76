# SPDX-License-Identifier: Apache-2.0
"""Cheap stand-ins: a command that behaves like a bundle run within milliseconds, jobs of it, and finished evaluations."""

import csv
import json
from pathlib import Path

import pytest

from custom.benchmark.jobs import Job, Stage
from custom.benchmark.results import Result, read_result

FAKE = """
import json, os, sys, time
from pathlib import Path
run, *rest = sys.argv[1:]
options = dict(zip(rest[::2], rest[1::2]))
folder = Path(options["--output_dir"])
with open(options["--journal"], "a") as journal:
    journal.write(f"{folder.name} {run} start {os.getpid()}\\n")
folder.mkdir(parents=True, exist_ok=True)
gate = Path(options.get("--gate", ""))
while options.get("--gate") and not gate.exists():
    time.sleep(0.02)
if options.get("--fail") == run:
    sys.exit("error: the scan is broken")
product = folder / options["--product"]
product.parent.mkdir(parents=True, exist_ok=True)
product.write_text(json.dumps({"run": run}))
with open(options["--journal"], "a") as journal:
    journal.write(f"{folder.name} {run} end {os.getpid()}\\n")
"""


@pytest.fixture
def fake(tmp_path):
    """Return ``make(name, **options) -> Job`` with the stages training and evaluation, and the journal of their commands."""
    script, journal = tmp_path / "fake_bundle.py", tmp_path / "journal.txt"
    script.write_text(FAKE)
    journal.touch()

    def make(name="job", digest="1", gate=None, fail=None, any_code=False, code="1", encoder=None):
        folder = tmp_path / "out" / "runs" / name
        common = ["--output_dir", str(folder), "--journal", str(journal)]
        common += ["--gate", str(gate)] if gate else []
        common += ["--fail", fail] if fail else []
        digests = {"configuration": digest, "code": code}
        stages = (
            Stage("training", ("training", *common, "--product", "model.safetensors"), digests, "model.safetensors"),
            Stage(
                "evaluation", ("evaluating", *common, "--product", "evaluation/metrics.json"), digests,
                "evaluation/metrics.json", "evaluation",
            ),
        )  # fmt: skip
        if encoder is not None:
            product = "pretraining/model.safetensors"
            first = ("training", *common, "--product", product)
            stages = (Stage("pretraining", first, {"configuration": encoder}, product), *stages)
        labels = {"method": name, "contrast": "t1", "fold": 0, "rows": {"evaluation": name}}
        return Job(name, str(folder), stages, str(tmp_path), labels, (str(script),), any_code=any_code)

    make.journal = lambda: [line.split() for line in journal.read_text().splitlines()]
    make.ends = lambda: sorted((name, run) for name, run, what, _ in make.journal() if what == "end")
    make.starts = lambda: sorted((name, run) for name, run, what, _ in make.journal() if what == "start")
    return make


def summary(values: dict[str, dict[str, dict[str, float | None]]], lesion_wise: dict[str, float | None]) -> dict:
    return {
        name: {
            "group": f"{name}/test", "tuning_group": f"{name}/val", "cases": 3,
            "variants": {v: {"operating_points": {"tuned": {"lesion_wise": lesion_wise}}} for v in variants},
        }
        for name, variants in values.items()
    }  # fmt: skip


@pytest.fixture
def finished(tmp_path):
    """Return ``make(method, fold, {test set: {variant: {case: dice}}}, **protocol) -> Result``, read back from files."""

    def make(method, fold, values, contrast="t2", lesion_wise=None, sub="", **protocol) -> Result:
        folder = Path(tmp_path / "results" / f"{method}{sub}_{contrast}_{fold}" / "evaluation")
        folder.mkdir(parents=True)
        data = {f"{name}/{split}": f"{name} {split}" for name in values for split in ("test", "val")} | {
            "ixi/val": f"fold {fold}"
        }
        block = {
            "method": method, "contrast": contrast, "fold": fold, "seed": 1, "preparation": {"name": "standard"},
            "postprocessing": {"in_mm": {"median_mm": 10}, "none": {}}, "spacing_mm": [2, 2, 2], "data": data,
            "plan": {"healthy_calibration": "ixi/val"}, "revision": "abc", "key": f"key{fold}",
        } | protocol  # fmt: skip
        (folder / "metrics.json").write_text(
            json.dumps({"protocol": block, "datasets": summary(values, lesion_wise or {})})
        )
        with open(folder / "per_case.csv", "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["dataset", "group", "case_id", "l1", "variant", "operating_point", "dice"])
            for name, variants in values.items():
                writer.writerow([name, f"{name}/test", "reconstruction row", 0.1, "", "", ""])
                for variant, cases in variants.items():
                    for case, dice in cases.items():
                        writer.writerow(
                            [name, f"{name}/test", case, "", variant, "tuned", "" if dice is None else repr(dice)]
                        )
                        writer.writerow([name, f"{name}/test", case, "", variant, "oracle", 0.99])
        return read_result(folder)

    return make


@pytest.fixture
def baselines(finished):
    """Return ``make({test set: {case: dice}}, folds) -> results``: the two rows without which there is no table."""

    def make(values, folds=(0,), **protocol):
        rows = [("threshold", "intensity"), ("atlas", "zscore")]
        sets = {score: {name: {score: cases} for name, cases in values.items()} for _, score in rows}
        return [finished(method, fold, sets[score], **protocol) for method, score in rows for fold in folds]

    return make


BUNDLE = """
import csv, json, os, sys, time
from pathlib import Path
run, *rest = sys.argv[1:]
options = dict(zip(rest[::2], rest[1::2]))
folder = Path(options.get("--model_dir", options["--output_dir"]))
files = options["--config_file"]
config = {}
for file in eval(files) if files.startswith("[") else [files]:
    config.update(json.loads(Path(file).read_text()))
if isinstance(config.get("scores"), str) or "bundle_root" in config:
    config["scores"] = ["l1", "ssim_ens", "ssim_mean", "intensity", "darkness", "zscore"]
    config["method"] = {"threshold": "threshold", "atlas": "atlas"}.get(folder.parent.name, "network")
place = Path(options["--output_dir"])
with open(os.environ["JOURNAL"], "a") as journal:
    journal.write(f"{folder.parent.name}/{folder.name} {run} start\\n")
if os.environ.get("SLOW"):
    time.sleep(float(os.environ["SLOW"]))
folder.mkdir(parents=True, exist_ok=True)
if run == "training":
    (folder / "model.safetensors").write_text(json.dumps({"fold": int(options["--fold"]), "contrast": options["--contrast"]}))
else:
    place.mkdir(parents=True, exist_ok=True)
    names, model = eval(options["--test_sets"]), json.loads((folder / "model.safetensors").read_text())
    fold, contrast = model["fold"], model["contrast"]
    variants = {name: number for number, name in enumerate(config["scores"])}
    points = os.environ.get("POINTS", "tuned interval_search").split()
    found = {"operating_points": {name: {"lesion_wise": {"lesion_recall_0_to_100_mm3": 0.5}} for name in points}}
    groups = {name: {"group": name + "/test", "tuning_group": name + "/val", "cases": 4, "variants": {v: found for v in variants}}
        for name in names}
    protocol = {"method": config["method"], "contrast": contrast, "fold": fold, "test_timesteps": config.get("test_timesteps"),
        "plan": {"healthy_calibration": "demo/val"}, "data": {}, "postprocessing": {"in_mm": {}}}
    protocol["test_timesteps"] = eval(options["--test_timesteps"]) if "--test_timesteps" in options else protocol["test_timesteps"]
    (place / "metrics.json").write_text(json.dumps({"protocol": protocol, "datasets": groups}))
    with open(place / "per_case.csv", "w") as stream:
        writer = csv.writer(stream)
        writer.writerow(["dataset", "group", "case_id", "variant", "operating_point", "dice", "average_precision"])
        for name in names:
            for v, number in variants.items():
                for case in range(4):
                    for point in points:
                        dice = 0.1 * case + 0.05 * number + 0.01 * fold
                        writer.writerow([name, name + "/test", f"P{case}", v, point, dice, dice])
with open(os.environ["JOURNAL"], "a") as journal:
    journal.write(f"{folder.parent.name}/{folder.name} {run} end\\n")
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A data set of empty files, fake bundles and a matrix of them: ``world.spec(**changes)`` and ``world.places``."""
    root = tmp_path / "data"
    (root / "splits").mkdir(parents=True)

    def split(file, folder, cases, label):
        rows = []
        for case in cases:
            files = {
                kind: f"/{folder}/{kind}/{case}_{kind}.nii.gz"
                for kind in ("t1", "t2", "mask", "seg")[: 4 if label else 3]
            }
            for path in files.values():
                (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
                (root / path[1:]).touch()
            rows.append([f"{case}_t1.nii.gz", 50, label, files["t1"], files["mask"], files.get("seg", "")])
        with open(root / "splits" / file, "w", newline="") as stream:
            csv.writer(stream).writerows([["img_name", "age", "label", "img_path", "mask_path", "seg_path"], *rows])

    for fold in (0, 1):
        split(f"demo_train_fold{fold}.csv", "Train/demo", [f"H{n}" for n in range(4)], 0)
        split(f"demo_val_fold{fold}.csv", "Train/demo", [f"H{4 + fold}"], 0)
    split("demo_tumour_val.csv", "Test/demo_tumour", ["P8", "P9"], 1)
    split("demo_tumour_test.csv", "Test/demo_tumour", [f"P{n}" for n in range(4)], 1)
    common = {"dataset_dir": "", "output_dir": "", "dataset_name": "", "contrast": "", "fold": 0, "seed": 0}
    methods = {"threshold": ["intensity"], "atlas": ["zscore"], "net": ["l1", "ssim_ens"]}
    for method, scores in methods.items():
        train = common | {"method": method, "max_epochs": 1}
        evaluate = {
            "method": method, "dataset_dir": "data", "model_dir": "model", "output_dir": "evaluation", "test_sets": [],
            "test_split": "test", "tuning_sets": None,
            "healthy_test": False, "scores": {score: {} for score in scores}, "test_timesteps": 500, "postprocessings": {"in_mm": {}},
        }  # fmt: skip
        (tmp_path / f"{method}_train.json").write_text(json.dumps(train))
        (tmp_path / f"{method}_evaluate.json").write_text(json.dumps(evaluate))
    (tmp_path / "bundle.py").write_text(BUNDLE)
    (tmp_path / "journal.txt").touch()
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal.txt"))
    return World(tmp_path, methods)


class World:
    def __init__(self, root, methods):
        from custom.benchmark.plan import Places

        self.root = root
        self.command = (str(root / "bundle.py"),)
        self.places = Places(str(root / "data"), str(root / "out"))
        self.content = {
            "name": "test", "seed": 1, "folds": [0, 1],
            "contrasts": {"t2": {"dataset_name": "demo", "test_sets": ["demo_tumour"]}},
            "methods": {
                method: {
                    "training": [str(root / f"{method}_train.json")], "evaluating": [str(root / f"{method}_evaluate.json")],
                    "scores": scores,
                }
                for method, scores in methods.items()
            },
        }  # fmt: skip

    def spec(self, **changes):
        from custom.benchmark.spec import parse_spec

        return parse_spec(json.loads(json.dumps(self.content | changes)))

    def journal(self):
        return [tuple(line.split()) for line in (self.root / "journal.txt").read_text().splitlines()]

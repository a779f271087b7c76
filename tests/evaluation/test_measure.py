# SPDX-License-Identifier: Apache-2.0
"""An evaluation of maps whose right answers are known by construction, against brute force."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from custom.core.errors import ConfigError
from custom.evaluation import EvaluationPlan, EvaluationReport, MapCollector, Measurer
from custom.evaluation.operating_points import operating_points
from custom.evaluation.report import protocol_key
from custom.evaluation.spool import CaseInfo
from custom.postprocessing import none
from custom.scoring import l1

SHAPE = (16, 16, 12)
PLAN = EvaluationPlan({"ms/test": "ms/val"}, "demo/val", "demo/test")


def _volumes(seed, lesion):
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:14, 2:14, 1:11] = 1
    seg = np.zeros(SHAPE, np.uint8)
    if lesion:
        seg[4 : 6 + seed % 3, 5:8, 3:6] = 1
    image = rng.random(SHAPE).astype(np.float32) * mask
    reconstruction = image - (0.1 * rng.random(SHAPE) + 0.15 * rng.random(SHAPE) * seg).astype(np.float32) * mask
    return [torch.from_numpy(v) for v in (image, reconstruction.astype(np.float32), mask, seg)]


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    collector = MapCollector({"l1": l1}, {"none": none()}, tmp_path_factory.mktemp("spool"))
    for group, label, seeds in (
        ("demo/val", 0, (1, 2)),
        ("demo/test", 0, (3, 4)),
        ("ms/val", 1, (5, 6)),
        ("ms/test", 1, (7, 8, 9)),
    ):
        for seed in seeds:
            collector.add(CaseInfo(f"c{seed}", group, label), *_volumes(seed, label))
    return collector


def _pooled(group_seeds):
    maps = [(v[0] - v[1]).abs() * v[2] for v in (_volumes(s, 1) for s in group_seeds)]
    segs = [_volumes(s, 1)[3] for s in group_seeds]
    return torch.stack(maps).numpy(), torch.stack(segs).numpy()


def _dice(p, t):
    return 2 * (p & (t > 0)).sum() / (p.sum() + (t > 0).sum())


def test_tuned_threshold_is_the_brute_force_optimum_of_the_validation_group_only(collector):
    points = {p.name: p for p in operating_points(collector, PLAN, PLAN.test_plans[0], "l1")}
    for name, seeds in (("tuned", (5, 6)), ("oracle", (7, 8, 9))):
        maps, segs = _pooled(seeds)
        best = max(_dice(maps > t, segs) for t in np.unique(maps))
        assert _dice(maps > points[name].threshold, segs) == pytest.approx(best, abs=2e-3)
    assert points["tuned"].threshold != points["oracle"].threshold


def test_healthy_threshold_leaves_its_share_of_brain_voxels_above(collector):
    points = {p.name: p for p in operating_points(collector, PLAN, PLAN.test_plans[0], "l1")}
    values = np.concatenate([((v[0] - v[1]).abs()[v[2] > 0]).numpy() for v in (_volumes(s, 0) for s in (1, 2))])
    for fpr in (0.01, 0.05):
        assert (values > points[f"healthy_fpr_{fpr:g}"].threshold).mean() == pytest.approx(fpr, abs=2e-3)


def test_measurements_agree_with_brute_force(collector):
    measured = Measurer(seed=1)(collector, PLAN)
    found = measured.summary["datasets"]["ms"]["variants"]["l1"]
    maps, segs = _pooled((7, 8, 9))
    assert found["pooled"]["average_precision"] == pytest.approx(
        average_precision_score(segs.ravel() > 0, maps.ravel()), abs=2e-3
    )
    point = found["operating_points"]["tuned"]
    dice = [_dice(m > point["threshold"], s) for m, s in zip(maps, segs, strict=True)]
    assert point["per_case"]["dice"]["mean"] == pytest.approx(np.mean(dice))
    assert point["pooled"]["dice"] == pytest.approx(_dice(maps > point["threshold"], segs))
    assert point["per_case"]["dice"]["n"] == 3
    low, high = (point["per_case"]["dice"][key] for key in ("ci_low", "ci_high"))
    assert min(dice) <= low <= np.mean(dice) <= high <= max(dice)


def test_false_positives_of_healthy_scans_are_counted_in_ml(collector):
    measured = Measurer(seed=1)(collector, PLAN)
    point = measured.summary["healthy"]["demo/test"]["variants"]["l1"]["healthy_fpr_0.05"]
    expected = [
        float((((v[0] - v[1]).abs() * v[2]) > point["threshold"]).sum()) * 0.008
        for v in (_volumes(s, 0) for s in (3, 4))
    ]
    assert point["per_case"]["fp_ml"]["mean"] == pytest.approx(np.mean(expected))
    assert "tuned:ms" in measured.summary["healthy"]["demo/test"]["variants"]["l1"]


def test_report_files_and_protocol(collector, tmp_path):
    report = EvaluationReport(Measurer(seed=1), tmp_path, {"method": "x", "contrast": "t1"}, primary="l1")
    numbers = report(collector, PLAN)
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert (
        numbers["ms/l1/tuned/dice"]
        == result["datasets"]["ms"]["variants"]["l1"]["operating_points"]["tuned"]["per_case"]["dice"]["mean"]
    )
    assert set(result["protocol"]["data"]) == {"demo/val", "demo/test", "ms/val", "ms/test"}
    with open(tmp_path / "per_case.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len([r for r in rows if r["operating_point"] == "tuned" and r["dataset"] == "ms"]) == 3
    assert "| l1 |" in (tmp_path / "report.md").read_text()
    calibration = json.loads((tmp_path / "calibration.json").read_text())
    scores = calibration["healthy_quantiles"]["scores"]
    assert scores == sorted(scores)
    assert calibration["thresholds"]["tuned"]["ms"] == pytest.approx(
        result["datasets"]["ms"]["variants"]["l1"]["operating_points"]["tuned"]["threshold"]
    )


def test_protocol_key_sees_what_matters_only():
    protocol = {"data": {"a": "1"}, "contrast": "t1", "seed": 1, "method": "x"}
    assert protocol_key(protocol) == protocol_key(protocol | {"seed": 2, "method": "y"})
    assert protocol_key(protocol) != protocol_key(protocol | {"contrast": "t2"})
    assert protocol_key(protocol) != protocol_key(protocol | {"data": {"a": "2"}})


def test_a_group_cannot_tune_itself():
    with pytest.raises(ConfigError, match="oracle"):
        EvaluationPlan({"ms/test": "ms/test"}, "demo/val")


def test_same_reconstruction_scored_twice_gives_the_same_numbers(collector, tmp_path):
    again = MapCollector({"l1": l1, "twice": l1}, {"none": none(), "other": none()}, tmp_path / "spool")
    for case in collector.cases:
        again.add(case, *_volumes(int(case.case_id[1:]), case.label))
    once, twice = (Measurer(seed=1)(c, PLAN).summary["datasets"]["ms"]["variants"] for c in (collector, again))
    strip = lambda v: json.dumps({k: p["pooled"] | {"ci": 0} for k, p in v["operating_points"].items()}, sort_keys=True)  # noqa: E731
    without = lambda v: [p["per_case"]["dice"]["mean"] for p in v["operating_points"].values()]  # noqa: E731
    assert strip(once["l1"]) == strip(twice["l1"])
    assert without(once["l1"]) == without(twice["twice"]) == without(twice["l1@other"])


def test_best_dice_of_a_blind_score_is_called_indiscriminate(tmp_path):
    """A score that is low in the lesion: the best Dice marks nearly every brain voxel, and the report says so."""
    spool = MapCollector({"blind": lambda image, _: 2 - image, "l1": l1}, {"none": none()}, tmp_path / "spool")
    for group, label, seeds in (("demo/val", 0, (1, 2)), ("ms/val", 1, (5, 6)), ("ms/test", 1, (7, 8))):
        for seed in seeds:
            image, reconstruction, mask, seg = _volumes(seed, label)
            spool.add(CaseInfo(f"c{seed}", group, label), (image + seg).clamp(max=1.9), reconstruction, mask, seg)
    plan = EvaluationPlan({"ms/test": "ms/val"}, "demo/val")
    (test,) = plan.test_plans
    (blind, *_), (sharp, *_) = (operating_points(spool, plan, test, name) for name in ("blind", "l1"))
    brain = torch.cat([((2 - v[0]) * v[2])[v[2] > 0] for v in (_volumes(seed, 0) for seed in (1, 2))])
    assert blind.healthy_fpr == pytest.approx((brain > blind.threshold).float().mean().item(), abs=1e-3)
    assert blind.is_indiscriminate
    assert not sharp.is_indiscriminate
    EvaluationReport(Measurer(seed=1), tmp_path / "out", {}, primary="l1")(spool, plan)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "more than 20% of the healthy brain: blind." in text

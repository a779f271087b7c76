# SPDX-License-Identifier: Apache-2.0
"""An evaluation of maps whose right answers are known by construction, against brute force."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from custom.core.description import build
from custom.core.errors import ConfigError
from custom.evaluation import EvaluationPlan, EvaluationReport, MapCollector, Measurer
from custom.evaluation.operating_points import healthy_points, operating_points
from custom.evaluation.oracle import oracle
from custom.evaluation.plan import half_of
from custom.evaluation.report import protocol_key
from custom.evaluation.spool import CaseInfo
from custom.metrics import healthy_quantile_threshold, lesion_counts
from custom.postprocessing import PostProcessing, in_mm, none
from custom.scoring import l1

pytestmark = [
    pytest.mark.fault(
        39,
        "few healthy scans for calibration",
        "from nine scans on a threshold `conformal_<rate>` that holds for a new scan with a stated probability; with fewer there is none, because they could not promise it",
        "foreseen",
    ),
]

SHAPE = (16, 16, 12)
SPACING = (2.0, 2.0, 2.0)
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
    collector = MapCollector({"l1": l1}, {"none": none()}, tmp_path_factory.mktemp("spool"), SPACING)
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
    maps, segs = _pooled((5, 6))
    best = max(_dice(maps > t, segs) for t in np.unique(maps))
    assert _dice(maps > points["tuned"].threshold, segs) == pytest.approx(best, abs=1e-12)
    assert points["tuned"].threshold != points["oracle"].threshold


def test_healthy_threshold_leaves_its_share_of_brain_voxels_above(collector):
    points = {p.name: p for p in operating_points(collector, PLAN, PLAN.test_plans[0], "l1")}
    values = np.concatenate([((v[0] - v[1]).abs()[v[2] > 0]).numpy() for v in (_volumes(s, 0) for s in (1, 2))])
    for fpr in (0.01, 0.05):
        assert (values > points[f"healthy_fpr_{fpr:g}"].threshold).mean() == pytest.approx(fpr, abs=2e-3)


def test_measurements_agree_with_brute_force(collector):
    measured = Measurer()(collector, PLAN)
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
    assert low is high is None  # three scans have a range, no interval
    assert (point["per_case"]["dice"]["min"], point["per_case"]["dice"]["max"]) == pytest.approx((min(dice), max(dice)))


def test_false_positives_of_healthy_scans_are_counted_in_ml(collector):
    measured = Measurer()(collector, PLAN)
    point = measured.summary["healthy"]["demo/test"]["variants"]["l1"]["healthy_fpr_0.05"]
    expected = [
        float((((v[0] - v[1]).abs() * v[2]) > point["threshold"]).sum()) * 0.008
        for v in (_volumes(s, 0) for s in (3, 4))
    ]
    assert point["per_case"]["fp_ml"]["mean"] == pytest.approx(np.mean(expected))
    assert "tuned:ms" in measured.summary["healthy"]["demo/test"]["variants"]["l1"]


def test_report_files_and_protocol(collector, tmp_path):
    protocol = {"method": "x", "contrast": "t1", "weights_sha256": "0" * 64}
    report = EvaluationReport(Measurer(), tmp_path, protocol, primary="l1", reconstruction={"test_timesteps": 5})
    numbers = report(collector, PLAN)
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert (
        numbers["ms/tuned/dice"]
        == result["datasets"]["ms"]["variants"]["l1"]["operating_points"]["tuned"]["per_case"]["dice"]["mean"]
    )
    assert {name for name in numbers if "average_precision" in name} == {
        "ms/average_precision", "ms/average_precision_of_uninformative_map"
    }  # fmt: skip
    assert set(result["protocol"]["data"]) == {"demo/val", "demo/test", "ms/val", "ms/test"}
    with open(tmp_path / "per_case.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    tuned = [r for r in rows if (r["dataset"], r["variant"], r["operating_point"]) == ("ms", "l1", "tuned")]
    assert len(tuned) == 3
    assert "| l1 (primary) |" in (tmp_path / "report.md").read_text()
    calibration = json.loads((tmp_path / "calibration.json").read_text())
    scores = calibration["healthy_quantiles"]["scores"]
    assert scores == sorted(scores)
    assert list(calibration["thresholds"]) == [
        "typical_fpr_0.01", "typical_fpr_0.05", "healthy_fpr_0.01", "healthy_fpr_0.05", "tuned/ms",
    ]  # fmt: skip
    point = result["datasets"]["ms"]["variants"]["l1"]["operating_points"]["tuned"]
    assert calibration["thresholds"]["tuned/ms"] == {"value": point["threshold"], "source": point["source"]}
    assert build(calibration["scoring"]) is l1
    assert build(calibration["postprocessing"]) == none()
    assert calibration["spacing_mm"] == list(SPACING)
    assert (
        calibration["reconstruction"]
        == {"test_timesteps": result["protocol"]["test_timesteps"]}
        == {"test_timesteps": 5}
    )
    assert calibration["weights_sha256"] == "0" * 64
    assert calibration["trial"] is None
    healthy = result["healthy"]["demo/val"]["reconstruction"]
    assert calibration["healthy_error"] == healthy["l1_brain"]["mean"] > 0
    assert calibration["metrics"] == numbers


def test_a_limited_evaluation_is_a_trial(collector, tmp_path):
    report = EvaluationReport(Measurer(), tmp_path, {"method": "x"}, primary="l1", limit=2)
    report(collector, PLAN)
    assert json.loads((tmp_path / "calibration.json").read_text())["trial"] == "--limit 2"


def test_protocol_key_sees_what_matters_only():
    protocol = {"data": {"a": "1"}, "contrast": "t1", "seed": 1, "method": "x"}
    assert protocol_key(protocol) == protocol_key(protocol | {"seed": 2, "method": "y"})
    assert protocol_key(protocol) != protocol_key(protocol | {"contrast": "t2"})
    assert protocol_key(protocol) != protocol_key(protocol | {"data": {"a": "2"}})


def test_a_group_cannot_tune_itself():
    with pytest.raises(ConfigError, match="oracle"):
        EvaluationPlan({"ms/test": "ms/test"}, "demo/val")


def test_same_reconstruction_scored_twice_gives_the_same_numbers(collector, tmp_path):
    again = MapCollector({"l1": l1, "twice": l1}, {"none": none(), "other": none()}, tmp_path / "spool", SPACING)
    for case in collector.cases:
        again.add(case, *_volumes(int(case.case_id[1:]), case.label))
    once, twice = (Measurer()(c, PLAN).summary["datasets"]["ms"]["variants"] for c in (collector, again))
    strip = lambda v: json.dumps({k: p["pooled"] | {"ci": 0} for k, p in v["operating_points"].items()}, sort_keys=True)  # noqa: E731
    without = lambda v: [p["per_case"]["dice"]["mean"] for p in v["operating_points"].values()]  # noqa: E731
    assert strip(once["l1"]) == strip(twice["l1"])
    assert without(once["l1"]) == without(twice["twice"]) == without(twice["l1@other"])


def test_best_dice_of_a_blind_score_is_called_indiscriminate(tmp_path):
    """A score that is low in the lesion: the best Dice marks nearly every brain voxel, and the report says so."""
    spool = MapCollector({"blind": lambda image, _: 2 - image, "l1": l1}, {"none": none()}, tmp_path / "spool", SPACING)
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
    EvaluationReport(Measurer(), tmp_path / "out", {}, primary="l1")(spool, plan)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "more than 20% of the healthy brain: blind." in text
    measured = Measurer()(spool, plan)
    for name, void in (("blind", True), ("l1", False)):
        point = measured.summary["datasets"]["ms"]["variants"][name]["operating_points"]["tuned"]
        assert ("void" in point["lesion_wise"]) == void
        assert (point["lesion_wise"]["lesion_f1"] is None) == void
        assert (point["per_case"]["lesion_f1"]["mean"] is None) == void
        rows = [r for r in measured.rows if (r.get("variant"), r.get("operating_point")) == (name, "tuned")]
        assert all((row["lesion_recall"] is None) == void for row in rows if row["dataset"] == "ms")


def test_a_prediction_of_the_whole_brain_detects_no_lesion():
    """If one shared voxel were enough, it would have an F1 of 1 at a Dice of 0.01."""
    mask, seg = (v.numpy() for v in _volumes(5, 1)[2:])
    assert (mask * seg).any()
    assert lesion_counts(mask, seg, (2, 2, 2)).f1 == 0


def test_the_uninformative_map_has_the_average_precision_of_a_constant_in_the_region(collector):
    """One tie over the mask, then one over the rest: by scikit-learn."""
    measured = Measurer()(collector, PLAN).summary["datasets"]["ms"]["variants"]
    volumes = [_volumes(seed, 1) for seed in (7, 8, 9)]
    masks, segs = (torch.stack([v[i] for v in volumes]).numpy().astype(float) for i in (2, 3))
    chance = average_precision_score(segs.ravel(), masks.ravel())
    assert measured["uninformative"]["pooled"]["average_precision"] == pytest.approx(chance, abs=1e-9)
    assert chance > 1.4 * segs.mean()  # the prevalence on the whole grid is no chance level
    pooled = measured["l1"]["pooled"]
    assert pooled["over_uninformative"] == pytest.approx(pooled["average_precision"] / chance)
    each = [average_precision_score(s.ravel(), m.ravel()) for s, m in zip(segs, masks, strict=True)]
    per_case = measured["l1"]["per_case"]["average_precision"]
    assert per_case["over_uninformative"] == pytest.approx(per_case["mean"] / np.mean(each))
    assert measured["uninformative"]["pooled"]["over_uninformative"] == 1


def test_the_rate_of_a_label_free_threshold_is_that_of_other_scans(collector):
    measured = Measurer()(collector, PLAN)
    point = measured.summary["datasets"]["ms"]["variants"]["l1"]["operating_points"]["healthy_fpr_0.05"]
    values = np.concatenate([((v[0] - v[1]).abs()[v[2] > 0]).numpy() for v in (_volumes(s, 0) for s in (3, 4))])
    assert point["healthy_fpr"] == pytest.approx((values > point["threshold"]).mean(), abs=1e-6)
    assert point["healthy_fpr"] != pytest.approx(0.05, abs=1e-9)  # what the calibration scans would say
    assert point["healthy_fpr_held_out"]
    roles = {group: block["role"] for group, block in measured.summary["healthy"].items()}
    assert roles == {"demo/val": "calibration", "demo/test": "held out"}
    with pytest.raises(ConfigError, match="calibrate the thresholds and measure"):
        EvaluationPlan({"ms/test": "ms/val"}, "demo/val", "demo/val")


def test_without_other_healthy_scans_each_is_measured_at_the_thresholds_of_the_others(tmp_path):
    collector = MapCollector({"l1": l1}, {"none": none()}, tmp_path, SPACING)
    for seed in (1, 2, 3, 4):
        collector.add(CaseInfo(f"c{seed}", "demo/val", 0), *_volumes(seed, 0))
    collector.add(CaseInfo("c7", "ms/test", 1), *_volumes(7, 1))
    plan = EvaluationPlan({"ms/test": None}, "demo/val", None, healthy_fprs=(0.05,), conformal_rate=0.3)
    measured = Measurer()(collector, plan)
    block = measured.summary["healthy"]["demo/val"]
    assert "the others" in block["role"]
    maps = {s: (v[0] - v[1]).abs()[v[2] > 0].numpy() for s in (1, 2, 3, 4) for v in [_volumes(s, 0)]}
    own = {seed: healthy_quantile_threshold(values, 0.05) for seed, values in maps.items()}
    expected = []
    for seed in own:
        threshold = float(np.median([value for other, value in own.items() if other != seed]))
        expected.append((maps[seed] > threshold).sum() * 0.008)
    rows = [r for r in measured.rows if r.get("operating_point") == "typical_fpr_0.05" and r["group"] == "demo/val"]
    assert [row["fp_ml"] for row in rows if row["variant"] == "l1"] == pytest.approx(expected)
    points = {point.name: point for point in measured.points["ms", "l1"]}
    assert points["typical_fpr_0.05"].threshold == pytest.approx(np.median(list(own.values())))
    conformal = [r["threshold"] for r in measured.rows if r.get("operating_point") == "conformal_0.05"]
    assert len(set(conformal)) > 1  # of three others the largest


def test_validation_scans_are_divided_where_there_is_no_healthy_test_list():
    from custom.evaluation import standard_plan

    plan = standard_plan("demo", ["demo_ms"], healthy_test=False)
    assert (plan.healthy_calibration, plan.healthy_test) == ("demo/val_calibration", "demo/val_held_out")
    names = [f"H{n}" for n in range(9)]
    halves = [half_of(names, half) for half in ("calibration", "held_out")]
    assert halves[0] | halves[1] == set(names)
    assert not halves[0] & halves[1]
    assert [len(half) for half in halves] == [5, 4]
    assert half_of(names[::-1], "held_out") == halves[1]
    assert half_of(names, None) == set(names)


def test_the_conformal_threshold_needs_scans_enough(tmp_path):
    spool = MapCollector({"l1": l1}, {"none": none()}, tmp_path / "spool", SPACING)
    for seed in range(9):
        spool.add(CaseInfo(f"c{seed}", "demo/val", 0), *_volumes(seed, 0))
    plan = EvaluationPlan({}, "demo/val")
    names = [point.name for point in healthy_points(spool, plan, "l1")]
    assert names == ["healthy_fpr_0.01", "healthy_fpr_0.05", "typical_fpr_0.01", "typical_fpr_0.05", "conformal_0.01"]
    own = []
    for seed in range(9):
        image, reconstruction, mask, _ = _volumes(seed, 0)
        own.append(np.quantile((image - reconstruction).abs()[mask > 0].numpy(), 0.99, method="inverted_cdf"))
    (*_, point) = healthy_points(spool, plan, "l1")
    assert point.threshold == pytest.approx(max(own), rel=1e-6)  # the 9th of 9 promises 1 - 9/10
    fewer = EvaluationPlan({}, "demo/val", conformal_rate=0.05)
    assert [point.name for point in healthy_points(spool, fewer, "l1")] == names[:4]


@pytest.mark.parametrize("chain", [none(), PostProcessing(("mask",), component_voxels=7), in_mm()])
def test_the_oracle_is_what_no_threshold_exceeds(tmp_path, chain):
    """Specks and a blob under the whole chain, against every threshold there is."""
    rng = np.random.default_rng(3)
    spool = MapCollector({"raw": lambda image, _: image}, {"chain": chain}, tmp_path / "spool", SPACING)
    shape, mask = (30, 30, 12), torch.ones(30, 30, 12)
    for number in range(3):
        seg = torch.zeros(shape)
        seg[8:14, 8:14, 3:8] = 1
        seg[20:22, 20:22, 5] = 1
        image = torch.from_numpy(np.round(rng.random(shape), 2).astype(np.float32)) * 0.7 + 0.5 * seg
        spool.add(CaseInfo(f"c{number}", "ms/test", 1), image, image, mask, seg)
        spool.add(CaseInfo(f"h{number}", "demo/val", 0), image * 0.5, image, mask, 0 * seg)
    plan = EvaluationPlan({"ms/test": None}, "demo/val")
    cases = spool.of_group("ms/test")
    found = oracle(spool, cases, "raw", spool.whole["raw", "ms/test"], [0.3])
    maps = [torch.from_numpy(spool.volume(case, "raw")) for case in cases]
    truths = [spool.volume(case, "seg") for case in cases]

    def mean_dice(threshold):
        return np.mean(
            [_dice(chain.binarise(m, threshold, (2, 2, 2)).numpy(), t) for m, t in zip(maps, truths, strict=True)]
        )

    every = [0.0, *np.unique(torch.stack(maps).numpy()).tolist()]
    best = max(map(mean_dice, every if len(every) < 400 else every[:: len(every) // 400]))
    assert found.mean_dice == pytest.approx(mean_dice(found.threshold))
    assert found.mean_dice >= best - 0.0021
    assert found.bound >= best
    assert found.mean_dice >= mean_dice(0.3)
    points = operating_points(spool, plan, plan.test_plans[0], "raw")
    table = Measurer()(spool, plan).summary["datasets"]["ms"]["variants"]["raw"]["operating_points"]
    dice = {name: point["per_case"]["dice"]["mean"] for name, point in table.items()}
    assert dice["oracle"] == max(dice.values())
    assert points[-1].name == "oracle"


def test_the_typical_threshold_is_a_median_and_names_the_odd_scan(tmp_path):
    """Seven scans alike and one with residuals ten times as large: the pooled quantile follows it, the median does not."""
    collector = MapCollector({"l1": l1}, {"none": none()}, tmp_path, SPACING)
    plan = EvaluationPlan({"ms/test": None}, "demo/val", None)
    own = {fpr: [] for fpr in plan.healthy_fprs}
    for seed in range(8):
        image, reconstruction, mask, seg = _volumes(seed, 0)
        if seed == 3:
            reconstruction = image - 10 * (image - reconstruction)
        for fpr, values in own.items():
            values.append(np.quantile(l1(image, reconstruction)[mask > 0].numpy(), 1 - fpr, method="higher"))
        collector.add(CaseInfo(f"c{seed}", "demo/val", 0), image, reconstruction, mask, seg)
    points = {point.name: point for point in healthy_points(collector, plan, "l1")}
    for fpr, values in own.items():
        point = points[f"typical_fpr_{fpr:g}"]
        assert point.threshold == pytest.approx(float(np.median(values)), rel=0.01)
        assert points[f"healthy_fpr_{fpr:g}"].threshold > 2 * point.threshold
        assert point.source.endswith("far above it: c3")


def test_a_score_cannot_take_the_name_of_a_volume(tmp_path):
    with pytest.raises(ConfigError, match="cannot be called mask"):
        MapCollector({"mask": l1}, {"none": none()}, tmp_path, SPACING)

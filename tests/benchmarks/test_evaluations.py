# SPDX-License-Identifier: Apache-2.0
import json

from benchmarks.evaluations import table


def test_patients_with_intervals_then_healthy_scans(tmp_path):
    point = {"per_case": {"dice": {"mean": 0.25}, "fp_ml": {"mean": 4.04}}}
    score = {
        "pooled": {"average_precision": 0.5},
        "per_case": {"average_precision": {"mean": 0.4, "ci_low": 0.3, "ci_high": 0.45}},
        "operating_points": {"strict": point, "oracle": {"per_case": {"dice": {"mean": 0.75}}}},
    }
    nothing = {"pooled": {"average_precision": 0.02}, "per_case": {}, "operating_points": {}}
    marked = {"false_positive_ml_mean": 1.31, "false_positive_ml_median": 0.9}
    metrics = {
        "datasets": {"ms": {"cases": 12, "variants": {"l1": score, "uninformative": nothing}}},
        "healthy": {"ixi/val": {"cases": 14, "variants": {"l1": {"strict": {"false_positives": marked}}}}},
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    found = table("title", [("dae", "l1", tmp_path)], ["strict"])
    assert found.columns[2:5] == ("AP, mean of scans", "Dice, strict", "false ml, strict")
    assert found.rows == (
        (("ms (12)", "dae", "l1"), ("50.0", "25.0", "40.0 [30.0, 45.0]", "25.0", "4.0", "75.0")),
        (("ixi/val (14)", "dae", "l1"), ("-", "-", "-", "-", "1.3 (median 0.9)", "-")),
    )

# SPDX-License-Identifier: Apache-2.0
"""Boxes from maps, and the four rules on a toy set whose values were worked out by hand and by pycocotools."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label, regionprops

from custom.core.errors import ConfigError, DataError
from custom.detection import THRESHOLDS, Boxes, MapToBoxes, evaluate, overlap
from custom.detection.baselines import central_box, foreground_box, whole_picture
from custom.detection.rules import eleven_point, image_hits, released_script
from custom.detection.table import coco_average_precision

TRUE = {
    "i1": Boxes([[10, 10, 50, 50], [100, 100, 160, 140]]),
    "i2": Boxes([[30, 30, 60, 60]]),
    "i3": Boxes([[0, 0, 100, 100]]),
}
PREDICTED = {
    "i1": Boxes([[12, 12, 52, 52], [200, 200, 240, 240], [100, 100, 160, 140]], [0.9, 0.8, 0.7]),
    "i2": Boxes(np.zeros((0, 4))),
    "i3": Boxes([[0, 0, 100, 50]], [0.5]),
}


def test_overlaps_by_both_conventions():
    pairs = [(PREDICTED["i1"].chosen([0]), TRUE["i1"].chosen([0])), (PREDICTED["i3"], TRUE["i3"])]
    assert [overlap(a, b).item() for a, b in pairs] == pytest.approx([0.822323, 0.5], abs=1e-6)
    assert [overlap(a, b, inclusive=True).item() for a, b in pairs] == pytest.approx([0.826181, 0.504950], abs=1e-6)


def test_overlap_of_whole_pixels_is_counting_them():
    rng = np.random.default_rng(0)
    boxes = []
    for _ in range(12):
        x, y, w, h = rng.integers(0, 12), rng.integers(0, 12), rng.integers(1, 8), rng.integers(1, 8)
        boxes.append((x, y, x + w, y + h))
    painted = np.zeros((12, 20, 20), dtype=bool)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        painted[number, x1:x2, y1:y2] = True
    found = overlap(Boxes(boxes), Boxes(boxes))
    for i in range(12):
        for j in range(12):
            expected = (painted[i] & painted[j]).sum() / (painted[i] | painted[j]).sum()
            assert found[i, j] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (released_script, (0.666666, 0.666666, 0.333333, 0.366666)),
        (eleven_point, (0.616162, 0.616162, 0.282828, 0.249495)),
        (image_hits, (2 / 3, 2 / 3, 1 / 3, 11 / 30)),
    ],
)
def test_toy_set(rule, expected):
    at = {least: rule(PREDICTED, TRUE, least) for least in (0.3, *THRESHOLDS)}
    mean = np.mean([at[least].average_precision for least in THRESHOLDS])
    found = (*(at[least].average_precision for least in (0.3, 0.5, 0.75)), mean)
    assert found == pytest.approx(expected, abs=1e-6)
    assert (at[0.5].true_positives, at[0.5].false_positives, at[0.5].true_boxes) == (3, 1, 4)
    assert at[0.5].recall == 0.75
    assert at[0.5].share_of_pictures == pytest.approx(0.666667, abs=1e-6)
    assert at[0.5].threat_score == 0.6  # 3 hits, 1 false box, 1 missed


def test_toy_set_by_coco():
    pytest.importorskip("pycocotools")
    at = coco_average_precision(PREDICTED, TRUE, (0.3, *THRESHOLDS))
    assert at[:2] == pytest.approx([0.628713, 0.628713], abs=1e-6)
    assert np.mean(at[1:]) == pytest.approx(0.342079, abs=1e-6)
    nothing = {name: Boxes(np.zeros((0, 4))) for name in TRUE}
    assert coco_average_precision(nothing, TRUE, (0.5,)) == [0.0]


def test_anchors_of_the_released_script():
    """One of two boxes found: precision 1, so the miss is free; a false box before the hit halves it; no box is 0."""
    true = {"a": Boxes([[0, 0, 10, 10], [50, 50, 60, 60]])}
    one = released_script({"a": Boxes([[0, 0, 10, 10]])}, true, 0.5)
    assert one.average_precision == pytest.approx(1, abs=1e-5)
    assert one.recall == 0.5
    late = released_script({"a": Boxes([[100, 100, 130, 130], [0, 0, 10, 10]])}, true, 0.5)
    assert late.average_precision == pytest.approx(0.5, abs=1e-5)
    assert released_script({"a": Boxes(np.zeros((0, 4)))}, true, 0.5).average_precision == 0


def test_released_script_scores_the_five_largest():
    true = {"a": Boxes([[0, 0, 10, 10]])}
    large = [[100 * n, 0, 100 * n + 20, 20] for n in range(1, 6)]
    assert released_script({"a": Boxes([*large[:4], [0, 0, 10, 10]])}, true, 0.5).true_positives == 1
    assert released_script({"a": Boxes([*large, [0, 0, 10, 10]])}, true, 0.5).true_positives == 0
    assert eleven_point({"a": Boxes([*large, [0, 0, 10, 10]])}, true, 0.5).true_positives == 1


def test_picture_without_any_box_is_right_for_eleven_points_alone():
    true, none = {"a": Boxes(np.zeros((0, 4)))}, {"a": Boxes(np.zeros((0, 4)))}
    some = {"a": Boxes([[0, 0, 5, 5]], [1.0])}
    assert eleven_point(none, true, 0.5).average_precision == 1
    assert eleven_point(some, true, 0.5).average_precision == 0
    assert released_script(none, true, 0.5).average_precision == 0


def test_missing_prediction_is_no_empty_prediction():
    for rule in (released_script, eleven_point, image_hits):
        with pytest.raises(DataError, match="i2: there is no prediction"):
            rule({k: v for k, v in PREDICTED.items() if k != "i2"}, TRUE, 0.5)


def test_table_names_rule_subset_and_counts():
    rows = evaluate(PREDICTED, TRUE, subset="toy")
    assert [row["rule"] for row in rows] == ["released_script", "eleven_point", "image_hits", "coco"]
    assert {(row["subset"], row["pictures"], row["true_boxes"]) for row in rows} == {("toy", 3, 4)}
    assert rows[0]["map_50_95"] == pytest.approx(0.366666, abs=1e-6)
    assert (rows[1]["recall_50"], rows[1]["threat_score_50"]) == (0.75, 0.6)
    with pytest.raises(DataError, match="no picture"):
        evaluate({}, {})


def test_table_without_pycocotools_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    row = evaluate(PREDICTED, TRUE)[-1]
    assert row["rule"] == "coco"
    assert "pip install" in row["note"]
    assert "map_50" not in row


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**31), st.sampled_from([4, 8]), st.integers(1, 6), st.sampled_from(["max", "mean"]),
    st.sampled_from(["score", "area"]),
)  # fmt: skip
def test_boxes_of_a_map_are_those_of_region_properties(seed, neighbours, smallest, score, order):
    rng = np.random.default_rng(seed)
    anomaly_map = rng.random((17, 23))
    found = MapToBoxes(neighbours, smallest, None, order, score)(anomaly_map, threshold=0.6)
    labels = label(anomaly_map > 0.6, connectivity=1 if neighbours == 4 else 2)
    expected = [
        (*map(float, region.bbox), region.intensity_max if score == "max" else region.intensity_mean)
        for region in regionprops(labels, anomaly_map) if region.num_pixels >= smallest
    ]  # fmt: skip
    boxes = np.column_stack([found.corners, found.scores])
    np.testing.assert_allclose(sorted(boxes.tolist()), sorted(expected))
    rank = found.scores if order == "score" else found.areas
    assert (np.diff(rank) <= 0).all()


def test_published_rule():
    anomaly_map = np.zeros((60, 50))
    for n in range(6):
        anomaly_map[8 * n : 8 * n + 3 + n % 2, 5 : 8 + n] = 0.6 + 0.05 * n
    anomaly_map[30, 30], anomaly_map[31, 31] = 0.9, 0.9  # meet at a corner alone
    anomaly_map[40, 40] = 0.5
    found = MapToBoxes.published()(anomaly_map)
    assert len(found) == 5
    assert (np.diff(found.areas) <= 0).all()
    assert len(MapToBoxes(neighbours=4)(anomaly_map, 0.8)) == 3
    assert len(MapToBoxes(neighbours=8)(anomaly_map, 0.8)) == 2


def test_maps_and_settings_that_cannot_work():
    with pytest.raises(ConfigError, match="boxes need a threshold"):
        MapToBoxes()(np.zeros((4, 4)))
    with pytest.raises(DataError, match=r"one map \[X, Y\]"):
        MapToBoxes()(np.zeros((4, 4, 2)), 0.5)
    with pytest.raises(DataError, match="numbers"):
        MapToBoxes()(np.full((4, 4), np.nan), 0.5)
    for wrong in ({"neighbours": 6}, {"order": "name"}, {"score": "sum"}, {"smallest_px": 0}, {"most_boxes": 0}):
        with pytest.raises(ConfigError, match="MapToBoxes takes"):
            MapToBoxes(**wrong)
    assert len(MapToBoxes()(np.zeros((4, 4)), 0.5)) == 0


def test_boxes_are_checked_and_clipped():
    inside, changed = Boxes.of([(470, 470, 40, 35.9), (-3, 5, 10, 10), (500, 0, 9, 9), (1, 1, 2, 2)]).clipped(480, 480)
    assert inside.as_xywh() == [[470, 470, 10, 10], [0, 5, 7, 10], [1, 1, 2, 2]]
    assert changed == 3
    with pytest.raises(DataError, match="2 boxes have 1 scores"):
        Boxes.of([(0, 0, 1, 1)] * 2, [0.5])
    with pytest.raises(DataError, match="no width"):
        Boxes.of([(0, 0, 0, 1)])
    with pytest.raises(DataError, match="not a number"):
        Boxes.of([(0, 0, np.nan, 1)])


def test_trivial_boxes():
    assert central_box(480, 640, 0.5).as_xywh() == [[120, 160, 240, 320]]
    assert whole_picture(480, 640).as_xywh() == [[0, 0, 480, 640]]
    picture = np.zeros((48, 64))
    picture[10:30, 20:50] = 0.8
    picture[2:4, 2:4] = 1  # burnt-in text
    assert foreground_box(picture).as_xywh() == [[10, 20, 20, 30]]
    assert len(foreground_box(np.full((8, 8), 0.3))) == 0
    with pytest.raises(ConfigError, match="share"):
        central_box(480, 480, 0)

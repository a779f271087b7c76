# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from custom.core.errors import ConfigError
from custom.report import curves
from custom.report.figures import save_figure

SIGMAS = [0.3, 0.5, 0.7]


def _lines(axes, marker=None):
    return [line for line in axes.lines if marker is None or line.get_marker() == marker]


def _by_label(axes):
    return {line.get_label(): line for line in axes.lines}


def _legend(figure):
    owner = figure.legends[0] if figure.legends else figure.axes[0].get_legend()
    return [text.get_text() for text in owner.texts]


def _precision_recall():
    curve = ([0.0, 0.5, 1.0], [1.0, 0.6, 0.1])
    return curves.precision_recall_figure(
        {"DDPM": curve, "AE": (curve[0], [0.5, 0.2, 0.1])}, {"DDPM": (0.5, 0.6), "x": (0.1, 0.2)}, 0.1
    )


def _histogram(**kwargs):
    return curves.healthy_histogram_figure(
        [0, 0.1, 0.2, 0.3, 0.4], [90, 9, 1, 0], {"FPR 1 %": 0.2, "FPR 5 %": 0.1}, **kwargs
    )


def _sweep():
    dice = {"BraTS21": [0.1, 0.5, 0.4], "WMH": [0.03, 0.02, 0.01]}
    return curves.sigma_sweep_figure(SIGMAS, dice, {"BraTS21": 0.6, "WMH": 0.05}, {"BraTS21": 0.2})


@pytest.mark.parametrize("make", [_precision_recall, _histogram, _sweep])
def test_equal_numbers_are_equal_files(make, tmp_path):
    assert save_figure(make(), tmp_path / "a.png").read_bytes() == save_figure(make(), tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("make", "labels"),
    [
        (_precision_recall, [("recall", "precision")]),
        (_histogram, [("anomaly score", "share of voxels per bin")]),
        (_sweep, [("σ of SSIM (voxels)", "mean Dice"), ("σ of SSIM (voxels)", "")]),
    ],
)
def test_axes_are_labelled(make, labels):
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in make().axes] == labels


def test_area_under_the_drawn_curve_is_average_precision():
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.2
    score = rng.normal(size=300) + truth
    precision, recall, _ = precision_recall_curve(truth, score)  # recall falls
    figure = curves.precision_recall_figure({"a": (recall, precision), "b": (recall[::-1], precision[::-1])}, {}, 0.2)
    for label in "ab":
        x, y = _by_label(figure.axes[0])[label].get_path().vertices.T  # the steps as drawn
        area = np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)
        assert area == pytest.approx(average_precision_score(truth, score))


def test_a_threshold_that_marks_nothing_right_stands_at_the_bottom_of_a_logarithmic_axis(tmp_path, recwarn):
    low = ([0.0, 0.5, 1.0], [0.02, 0.01, 0.004])
    figure = curves.precision_recall_figure({"a": low}, {"tuned": (0.0, 0.0), "other": (0.5, 0.01)}, 0.004)
    axes = figure.axes[0]
    mark = _by_label(axes)["tuned (precision 0)"]
    assert list(mark.get_ydata()) == [axes.get_ylim()[0]]
    save_figure(figure, tmp_path / "a.png")
    assert not [str(w.message) for w in recwarn if "constrained_layout" in str(w.message)]
    assert axes.get_position().width > 0.5


def test_operating_points_wear_the_colour_of_their_curve():
    axes = _precision_recall().axes[0]
    lines = _by_label(axes)
    assert lines["DDPM: operating point"].get_markerfacecolor() == lines["DDPM"].get_color()
    assert (lines["DDPM: operating point"].get_xdata(), lines["DDPM: operating point"].get_ydata()) == ([0.5], [0.6])
    assert lines["DDPM"].get_color() != lines["AE"].get_color()
    assert lines["x"].get_markerfacecolor() == lines["DDPM"].get_color()  # the thresholds are those of the first curve
    assert lines["x"].get_marker() != lines["DDPM: operating point"].get_marker()
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0, 1.02))
    assert lines["uninformative map (AP 10 %)"].get_ydata() == [0.1, 0.1]


def test_curves_at_the_bottom_are_drawn_on_a_logarithmic_axis():
    low = curves.precision_recall_figure({"a": ([0.0, 0.5, 1.0], [0.02, 0.01, 0.004])}, {}, 0.003)
    assert low.axes[0].get_yscale() == "log"
    assert low.axes[0].get_ylim()[0] < 0.003
    assert _precision_recall().axes[0].get_yscale() == "linear"


def test_histogram_shows_shares_on_a_logarithmic_axis():
    figure = _histogram(anomalous_counts=[0, 5, 10, 5])
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    healthy, anomalous = axes.patches
    np.testing.assert_allclose(healthy.get_data().values[:3], [0.9, 0.09, 0.01])
    np.testing.assert_allclose(anomalous.get_data().values[1:], [0.25, 0.5, 0.25])
    assert healthy.get_data().values[3] == axes.get_ylim()[0] > 0  # an empty bin lies on the floor
    assert [line.get_xdata() for line in axes.lines] == [[0.1, 0.1], [0.2, 0.2]]
    assert _legend(figure) == ["healthy brain", "annotated anomalies", "FPR 5 %: 0.1", "FPR 1 %: 0.2"]


def test_histogram_ends_where_the_scores_and_thresholds_end():
    assert _histogram().axes[0].get_xlim() == pytest.approx((0, 0.3))
    assert _histogram(anomalous_counts=[0, 0, 0, 1]).axes[0].get_xlim() == pytest.approx((0, 0.4))


@pytest.mark.parametrize("counts", [[1, 2], [0, 0, 0, 0]])
def test_impossible_histograms_are_refused(counts):
    with pytest.raises(ConfigError, match="counts"):
        curves.healthy_histogram_figure([0, 1, 2, 3, 4], counts, {})


def test_best_sigma_is_starred_and_references_are_horizontal():
    figure = _sweep()
    for axes, best, levels in zip(figure.axes, [(0.5, 0.5), (0.3, 0.03)], [[0.6, 0.2], [0.05]], strict=True):
        (star,) = _lines(axes, "*")
        assert (star.get_xdata()[0], star.get_ydata()[0]) == best
        horizontal = [line for line in axes.lines if list(line.get_xdata()) == [0, 1]]
        assert [line.get_ydata()[0] for line in horizontal] == levels
        assert all(line.get_linestyle() != "-" for line in horizontal)
    assert [axes.get_title() for axes in figure.axes] == ["BraTS21", "WMH"]
    assert _legend(figure) == ["SSIM with one σ", "best σ", "SSIM-ens", "|residual|"]


@pytest.mark.parametrize("dice", [{}, {"BraTS21": [0.1]}])
def test_incomplete_sweeps_are_refused(dice):
    with pytest.raises(ConfigError, match="each of the 3 widths"):
        curves.sigma_sweep_figure(SIGMAS, dice, {})

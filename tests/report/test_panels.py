# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from matplotlib.collections import LineCollection

from custom.core.errors import ConfigError
from custom.report.figures import save_figure
from custom.report.panels import COLUMNS, case_panel, choose_slices, outline

SHAPE = (24, 30, 12)


def _case(**changes):
    """A dark brain block with a bright spot at the patient's left front (small x, large y)."""
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[2:22, 2:28, 1:11] = 1
    image = 0.2 * mask
    spot = np.zeros(SHAPE, dtype=bool)
    spot[4:7, 23:26, 5] = True
    image[spot] = 1.0
    score = np.where(spot, 0.6, 0.1 * mask)
    case = {
        "image": image, "reconstruction": 0.2 * mask, "anomaly_map": score, "binary": spot, "seg": spot, "mask": mask,
        "slices": [5], "vmax": 0.8, "threshold": 0.4, "title": "case",
    }  # fmt: skip
    return case | changes


def _axes(figure, name):
    return {axes.get_label(): axes for axes in figure.axes}[name]


def _pixels(figure, axes):
    """The rendered pixels of one panel, rows from top to bottom."""
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(float) / 255
    box = axes.get_window_extent()
    height = picture.shape[0]
    return picture[round(height - box.y1) : round(height - box.y0), round(box.x0) : round(box.x1)]


@pytest.mark.parametrize("name", ["Input", "Anomaly map", "Detection"])
def test_left_front_of_the_patient_is_upper_left_of_the_picture(name):
    figure = case_panel(**_case(seg=None))
    pixels = _pixels(figure, _axes(figure, f"{name} 5"))
    margin = 0.15  # the letters stand in the corners
    rows, columns = (int(size * margin) for size in pixels.shape[:2])
    inner = pixels[rows:-rows, columns:-columns]
    hot = np.argwhere((inner - np.median(inner, axis=(0, 1))).max(axis=2) > 0.3)
    assert len(hot) > 50
    assert hot[:, 0].max() < 0.4 * inner.shape[0]
    assert hot[:, 1].max() < 0.4 * inner.shape[1]


def test_sides_are_marked_as_they_are_shown():
    axes = _axes(case_panel(**_case()), "Input 5")
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places["L"][0] < 0.5 < places["R"][0]
    assert places["P"][1] < 0.5 < places["A"][1]
    for low, high in (axes.get_xlim(), axes.get_ylim()):
        assert low < high  # x grows to the right, towards the patient's right in RAS, y to the front


@pytest.mark.parametrize(("spacing_mm", "length_mm"), [(1.0, 5), (2.0, 10), (6.0, 50), (0.02, 0.192)])
def test_every_row_has_a_scale_bar_that_is_as_long_as_it_says(spacing_mm, length_mm):
    figure = case_panel(**_case(slices=[8, 5], spacing_mm=spacing_mm))
    for name in ("Input 8", "Input 5"):
        axes = _axes(figure, name)
        (bar,) = [line for line in axes.lines if line.get_gid() == "scale bar"]
        assert np.ptp(bar.get_xdata()) * spacing_mm == pytest.approx(length_mm)
        assert f"{length_mm} mm" in [text.get_text() for text in axes.texts]
    assert not [line for axes in case_panel(**_case()).axes for line in axes.lines if line.get_gid() == "scale bar"]


def test_scales_do_not_depend_on_the_case():
    limits = []
    for factor in (0.01, 1.0, 50.0):
        case = _case()
        figure = case_panel(**case | {"anomaly_map": factor * case["anomaly_map"], "image": factor * case["image"]})
        limits.append([_axes(figure, f"{name} 5").images[0].get_clim() for name in COLUMNS])
    assert limits == [[(0, 1), (0, 1), (0, 0.8), (0, 1)]] * 3


def test_colour_of_a_score_is_that_of_the_scale():
    figure = case_panel(**_case())
    image, scale = _axes(figure, "Anomaly map 5").images[0], _axes(figure, "colour scale").images[0]
    value = np.asarray(image.get_array())[24, 5]  # rows are y
    assert value == pytest.approx(0.6)
    np.testing.assert_allclose(image.to_rgba(value), scale.to_rgba(0.6 / 0.8))
    assert scale.get_extent() == [0, 0.8, 0, 1]


@pytest.mark.parametrize(("threshold", "drawn"), [(0.4, True), (0.9, False)])
def test_threshold_stands_on_the_colour_scale(threshold, drawn):
    axes = _axes(case_panel(**_case(threshold=threshold)), "colour scale")
    marks = [list(line.get_xdata()) for line in axes.lines if line.get_gid() == "threshold"]
    assert marks == ([[threshold] * 2] if drawn else [])
    (text,) = [text.get_text() for text in axes.texts]
    assert f"{threshold}" in text
    assert ("beyond" in text) != drawn


def test_columns_are_named_and_rows_are_the_slices_asked_for():
    figure = case_panel(**_case(slices=[8, 5]))
    panels = [axes for axes in figure.axes if axes.get_label() != "colour scale"]
    assert [axes.get_label() for axes in panels] == [f"{name} {z}" for z in (8, 5) for name in COLUMNS]
    assert [axes.get_title() for axes in panels[:4]] == list(COLUMNS)
    assert _axes(figure, "Input 8").get_position().y0 > _axes(figure, "Input 5").get_position().y0
    assert "neurological" in " ".join(text.get_text() for text in figure.texts)


def test_truth_is_outlined_on_the_detection_only():
    figure = case_panel(**_case())
    counts = [
        len([c for c in _axes(figure, f"{name} 5").collections if isinstance(c, LineCollection)]) for name in COLUMNS
    ]
    assert counts == [0, 0, 0, 1]
    segments = np.array(_axes(figure, "Detection 5").collections[0].get_segments())
    assert (segments.min((0, 1)), segments.max((0, 1))) == (pytest.approx([3.5, 22.5]), pytest.approx([6.5, 25.5]))
    assert "truth (outline)" in [text.get_text() for text in figure.legends[0].texts]


def test_without_truth_there_is_no_outline_and_no_legend_of_it():
    figure = case_panel(**_case(seg=None))
    assert not _axes(figure, "Detection 5").collections
    assert [text.get_text() for text in figure.legends[0].texts] == ["detected"]


def test_panels_are_cropped_to_the_brain_and_keep_its_shape():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[6:16, 10:26] = True
    axes = _axes(case_panel(**_case(mask=mask)), "Input 5")
    assert (axes.get_xlim(), axes.get_ylim()) == ((2.5, 18.5), (6.5, 28.5))  # three voxels around
    box = axes.get_window_extent()
    assert box.height / box.width == pytest.approx(22 / 16)


def test_equal_cases_are_equal_files_and_tensors_are_taken(tmp_path):
    case = _case(slices=None)
    first = save_figure(case_panel(**case), tmp_path / "a.png").read_bytes()
    tensors = {k: torch.as_tensor(v)[None] if isinstance(v, np.ndarray) else v for k, v in case.items()}
    assert save_figure(case_panel(**tensors), tmp_path / "b.png").read_bytes() == first
    assert save_figure(case_panel(**case | {"threshold": 0.3}), tmp_path / "c.png").read_bytes() != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vmax": 0}, "vmax"),
        ({"slices": [12]}, "0 ... 11"),
        ({"slices": []}, "slices"),
        ({"seg": np.zeros((3, 3, 3))}, "shape"),
    ],
)
def test_impossible_pictures_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        case_panel(**_case(**change))


def test_slices_with_most_truth_come_first_then_those_with_most_score():
    score, truth, mask = np.zeros((4, 4, 32)), np.zeros((4, 4, 32), dtype=bool), np.ones((4, 4, 32))
    truth[:2, :2, 10], truth[:1, :1, 20] = True, True
    score[..., 3], score[..., 28], score[..., 25] = 0.5, 0.9, 0.1
    assert choose_slices(score, truth, mask) == [28, 20, 10, 3]
    assert choose_slices(score, truth, mask, count=1) == [10]
    assert choose_slices(score, None, mask, count=2) == [28, 3]


def test_slices_are_apart_and_in_the_brain():
    score, mask = np.ones((4, 4, 48)), np.zeros((4, 4, 48))
    mask[..., 20:30] = 1
    score[..., 40] = 100  # outside the brain
    chosen = choose_slices(score, None, mask)
    assert chosen == sorted(chosen, reverse=True)
    assert len(chosen) == 4
    assert set(chosen) <= set(range(20, 30))
    assert min(np.abs(np.diff(chosen))) >= 3
    assert len(choose_slices(score, None, np.zeros_like(mask))) == 4  # no brain: any slice rather than none


@settings(deadline=None, max_examples=60)
@given(arrays(bool, (5, 7)))
def test_outline_separates_inside_from_outside(mask):
    edges = {tuple(map(tuple, sorted(segment.tolist()))) for segment in outline(mask)}
    expected = set()
    for i in range(-1, 6):
        for j in range(-1, 8):
            here = 0 <= i < 5 and 0 <= j < 7 and mask[i, j]
            right = 0 <= i + 1 < 5 and 0 <= j < 7 and mask[i + 1, j]
            above = 0 <= i < 5 and 0 <= j + 1 < 7 and mask[i, j + 1]
            if here != right:
                expected.add(((i + 0.5, j - 0.5), (i + 0.5, j + 0.5)))
            if here != above:
                expected.add(((i - 0.5, j + 0.5), (i + 0.5, j + 0.5)))
    assert edges == expected
    assert len(outline(mask)) == len(expected)


def test_real_scan_is_drawn(real_data, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    folder = real_data / "Test" / "TCGA_LGG"
    kinds = {"flair": "image", "seg": "seg", "mask": "mask"}
    case = {}
    for kind, name in kinds.items():
        (path,) = (folder / kind).glob("*.nii.gz")
        volume = nibabel.load(path)
        assert nibabel.aff2axcodes(volume.affine) == ("R", "A", "S")
        case[name] = volume.get_fdata(dtype=np.float32)
    image = case["image"] = np.clip(case["image"] / np.percentile(case["image"][case["mask"] > 0], 99), 0, 1)
    score = np.abs(image - image.mean()) * case["mask"]
    figure = case_panel(
        **_case() | case | {"reconstruction": 0 * image, "anomaly_map": score, "binary": score > 0.4, "slices": None}
    )
    assert len(figure.axes) == 4 * 4 + 1
    assert save_figure(figure, tmp_path / "a.png").stat().st_size > 50_000

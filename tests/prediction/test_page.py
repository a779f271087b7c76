# SPDX-License-Identifier: Apache-2.0
"""The pages: complete, self-contained, escaped, and drawn by a real browser."""

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from custom.core.errors import ConfigError, DataError
from custom.prediction import overlays
from custom.prediction.calibration import Calibration, Threshold
from custom.prediction.case_result import CaseResult
from custom.prediction.findings import find_findings
from custom.prediction.page import _model_facts, write_batch_report, write_case_report
from custom.prediction.pictures import comparison, mosaic
from custom.prediction.viewer.content import threshold_table

pytestmark = [
    pytest.mark.fault(32),
    pytest.mark.fault(66),
]

SHAPE = (48, 56, 20)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
AFFINE[:3, 3] = [-47, -55, -19]


@pytest.fixture(scope="module")
def result() -> CaseResult:
    """A brain with one finding on its left, in front, above the middle."""
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    brain = ((((index - [23.5, 27.5, 9.5]) / [20, 25, 12]) ** 2).sum(-1)) < 1
    image = (brain * (0.5 + 0.2 * np.sin(index[..., 0] / 3))).astype(np.float32)
    scores = np.where(brain, 0.1, 0).astype(np.float32)
    scores[10:15, 36:41, 13:16] = 0.9
    mask = (scores > 0.5).astype(np.uint8)
    levels = [(0.0, 0.0), (0.9, 0.2), (0.99, 0.5), (0.999, 0.8), (0.9999, 1.0)]
    grid = {"image": image, "brain": brain, "reconstruction": image * 0.9, "map": scores, "mask": mask > 0}
    return CaseResult(
        "sub-x", scores, mask, image, AFFINE, grid, AFFINE, Threshold(0.5, "exceeded by 1 % of healthy voxels"),
        Calibration("t1", "l1", {"healthy_fpr_0.01": Threshold(0.5, "x")}, levels, None, healthy_error=0.0456, iterations=720, training_seconds=246.0),
        ("<script>alert('warning')</script> & more",), tuple(find_findings(mask, scores, AFFINE, np.zeros(3))), "nifti",
    )  # fmt: skip


@pytest.fixture(scope="module")
def page(result, tmp_path_factory) -> Path:
    return result.save_report(tmp_path_factory.mktemp("report"), viewer="none")


def test_numbers_and_words(page, result) -> None:
    text = page.read_text(encoding="utf-8")
    assert f"{75 * 0.008:.2f} ml" in text
    assert "left, anterior, superior" in text
    assert "research use only" in text
    assert "exceeded by 1 % of healthy voxels" in text
    assert "No warnings" not in text
    assert "reconstructed with a mean error of 0.0456 inside the brain" in text
    model = "trained on T1 scans (training steps: 720, in 4.1 minutes); healthy scans: reconstructed with a mean error of 0.0456"
    assert model in text[: text.index('class="cards"')]  # before the first number that it explains
    assert re.search(r"<dt>training steps</dt><dd>720<", text)
    assert f"about {result.grid['brain'].sum() * 0.008 * 0.01:.1f} ml lie above" in text  # 1 % of the brain
    assert re.search(r"99\.9[45] %</td>", text)  # the score 0.9 lies half way between the percentiles 99.9 and 99.99
    assert "left: 33.33%" in text  # the 99th percentile on a scale from the 90th to the 99.99th


def test_self_contained(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:)""", text)
    assert "<script" not in text
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert text.count("data:image/png;base64,") == 3 + 4 + 3 + 1
    rows = re.findall(r'<div class="whole">.*?</div>', text, re.DOTALL)
    assert len(rows) == 3
    for row in rows:  # of the mosaic: every row says where left is
        assert re.search(r'class="l">L<.*class="r">R<', row)
    for name in ("scan", "pseudo-healthy", "anomaly map", "mask"):
        (letters,) = re.findall(rf'<div class="frame">((?:(?!<div).)*)</div><figcaption>{name}<', text, re.DOTALL)
        assert re.findall(r"<i[^>]*>(.)</i>", letters) == ["L", "R", "A", "P"]


def test_a_page_says_what_is_not_known_of_the_training(result, tmp_path) -> None:
    unknown = replace(
        result, calibration=replace(result.calibration, healthy_error=None, iterations=None, training_seconds=None)
    )
    text = unknown.save_report(tmp_path, viewer="none").read_text(encoding="utf-8")
    assert "trained on T1 scans; healthy scans: how well it reconstructs them was not measured." in text


def test_every_picture_of_the_page_has_a_bar_of_five_centimetres(result) -> None:
    position = np.zeros(SHAPE, dtype=np.float32)
    axial = comparison(result, position, (12, 38, 14), "neurological")
    rows = mosaic(result, position, "neurological")["images"]
    for uri, pixels in [*((p["image"], 100) for p in axial), *((uri, 50) for uri in rows)]:
        picture = imread(BytesIO(base64.b64decode(uri.partition(",")[2])))[..., :3]
        assert (picture[-10, 8 : 8 + pixels] == 1).all()  # 25 voxels of 2 mm, enlarged
        assert (picture[-10, 8 + pixels] < 1).any()


@pytest.mark.parametrize(
    ("training", "said"), [({"batch_size": 16}, "720 of 16 slices each: 11,520 slices in all"), (None, "720")]
)
def test_the_page_says_how_much_the_model_was_shown(result, training, said) -> None:
    assert str(_model_facts({"model": {"training": training}}, result)["training steps"]) == said


def test_hours_of_training_are_hours(result) -> None:
    long = replace(result, calibration=replace(result.calibration, training_seconds=9000.0))
    assert _model_facts({}, long)["training time"] == "2.5 hours"


def test_texts_are_escaped(page) -> None:
    assert "&lt;script&gt;alert(&#39;warning&#39;)" in page.read_text(encoding="utf-8")


def test_left_is_on_the_left(result, page) -> None:
    """The bright finding lies in the left half and upper (front) half of the axial picture."""
    picture = imread(page.parent / "figures" / "sub-x_desc-anomaly_overview.png")[..., :3]
    warm = picture[..., 0] - picture[..., 2] > 0.3  # inferno's yellow
    rows, columns = np.nonzero(warm)
    assert columns.mean() < picture.shape[1] / 2
    assert rows.mean() < picture.shape[0] / 2
    assert np.abs(columns.mean() / 4 - 12.5) < 1.5


def test_bad_names_are_refused(result, tmp_path) -> None:
    with pytest.raises(DataError, match="cannot be a file name"):
        write_case_report(tmp_path, {**result.summary(), "case_id": "../x", "Settings": {}}, result)


def test_batch_page(result, page) -> None:
    records = [
        {"case_id": "sub-x", "status": "done", **result.summary()},
        {"case_id": "sub-y", "status": "failed", "error": "sub-y: the file is <b>empty</b>; copy it again"},
    ]
    text = write_batch_report(page.parent, records, {"method": "m", "note": None, "list": [1, {"a": True}]}).read_text()
    assert 'href="sub-x.html"' in text
    assert "the file is &lt;b&gt;empty&lt;/b&gt;" in text
    assert "1, a yes" in text
    assert text.count("data:image/png;base64,") == 1
    assert "above the threshold" not in text
    threshold = {"threshold": {"value": 0.5, "source": "exceeded by 1 % of healthy voxels"}}
    text = write_batch_report(page.parent, records, threshold).read_text(encoding="utf-8")
    assert "above the threshold 0.5, which is exceeded by 1 % of healthy voxels" in text


def test_nothing_found(result, tmp_path) -> None:
    quiet = dict(result.grid, map=result.grid["map"] * 0, mask=result.grid["mask"] & False)
    nothing = CaseResult(
        "sub-q", result.anomaly_map * 0, result.mask * 0, result.pseudohealthy, AFFINE, quiet, AFFINE,
        result.threshold, result.calibration, (), (), "nifti",
    )  # fmt: skip
    text = nothing.save_report(tmp_path).read_text(encoding="utf-8")
    assert "No voxel lies above the threshold" in text
    assert "Read this first" not in text
    assert "No warnings" in text


def test_colour_scale() -> None:
    places = overlays.tail_position(np.array([0, 90, 99, 99.9, 99.99, 100], dtype=np.float32))
    assert places == pytest.approx([0, 0, 1 / 3, 2 / 3, 1, 1], abs=1e-3)


def test_low_scores_leave_the_scan_as_it_is() -> None:
    scan = overlays.grey(np.full((4, 4), 0.5), 2)
    assert np.array_equal(overlays.heat(scan, np.zeros((4, 4)), 2), scan)


def browser() -> str:
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no chromium on this machine")
    return found


def test_the_viewer_starts_in_a_browser(result, tmp_path) -> None:
    """NiiVue draws the four layers; the page says so itself, or why not."""
    page = result.save_report(tmp_path, view="radiological")
    command = [
        *(browser(), "--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"),
        *("--enable-unsafe-swiftshader", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000"),
        *("--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if "<body" not in done.stdout:
        pytest.skip(f"chromium cannot run here: {done.stderr.strip().splitlines()[-1:]}")
    assert 'data-viewer="ready"' in done.stdout
    assert re.search(r"score 0\.500?: 0\.6 ml above it; in a healthy brain of this size about [\d.]+ ml", done.stdout)
    assert re.search(r"RAS, mm\): -2[0-9], 2[0-9], [0-9]+", done.stdout)  # the crosshair stands at the finding


def test_a_click_on_a_heading_sorts_the_group_page(tmp_path) -> None:
    """Once: most findings first, unknown values last; again, by the mouse or the Enter key: the other way; names go up first."""
    common = {"status": "done", "Warnings": [], "ReconstructionError": 0.01}
    place = {"volume_ml": 1.0, "where": "left"}
    records = [
        {"case_id": "sub-2", **common, "AnomalyVolumeMl": 9.5, "Findings": [place]},
        {"case_id": "sub-10", **common, "AnomalyVolumeMl": 10.25, "Findings": [place] * 2},
        {"case_id": "sub-3", "status": "failed", "error": "sub-3: it is empty"},
        {"case_id": "sub-1", **common, "AnomalyVolumeMl": 0.5, "Findings": []},
    ]
    page = write_batch_report(tmp_path, records, {})
    clicks = """<script>
      const said = [], heads = Array.from(document.querySelectorAll("#scans th"));
      const press = (name, event) => {
        const head = heads.find((one) => one.textContent === name);
        head.dispatchEvent(event);
        const rows = Array.from(document.querySelectorAll("#scans tbody tr"));
        said.push([head.getAttribute("aria-sort"), ...rows.map((row) => row.cells[1].textContent)].join(" "));
      };
      const click = () => new MouseEvent("click", {bubbles: true});
      press("Volume (ml)", click());
      press("Volume (ml)", new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
      press("Scan", click());
      press("Findings", click());
      document.body.dataset.said = said.join("; ");
    </script></body>"""
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", clicks), encoding="utf-8")
    command = [
        *(browser(), "--headless", "--no-sandbox", "--disable-gpu"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if "<body" not in done.stdout:
        pytest.skip(f"chromium cannot run here: {done.stderr.strip().splitlines()[-1:]}")
    assert re.search('data-said="([^"]*)"', done.stdout).group(1).split("; ") == [
        "descending sub-10 sub-2 sub-1 sub-3",
        "ascending sub-1 sub-2 sub-10 sub-3",
        "ascending sub-1 sub-2 sub-3 sub-10",
        "descending sub-10 sub-2 sub-1 sub-3",
    ]


def test_viewer_page_holds_everything(result, tmp_path) -> None:
    text = result.save_report(tmp_path).read_text(encoding="utf-8")
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!data:)""", outside)
    assert "connect-src data: blob:" in text  # the browser itself forbids any other connection
    assert "&lt;script&gt;alert(&#39;warning&#39;)" in outside
    assert (
        json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL).group(1))["case_id"] == "sub-x"
    )


def test_threshold_table_counts_what_lies_above(result) -> None:
    table = threshold_table(result, 1.0)
    at = next(row for row in table if row["score"] == 0.5)
    assert at["ml"] == pytest.approx(75 * 0.008)
    brain_ml = result.grid["brain"].sum() * 0.008
    assert at["healthy_ml"] == pytest.approx(brain_ml * 0.01, abs=0.01)
    assert [row["ml"] for row in table] == sorted((row["ml"] for row in table), reverse=True)


def test_radiological_view_turns_the_pictures(result, tmp_path) -> None:
    text = result.save_report(tmp_path, viewer="none", view="radiological").read_text(encoding="utf-8")
    assert "Radiological view: the patient's left (L) is on the right" in text
    picture = imread(tmp_path / "figures" / "sub-x_desc-anomaly_overview.png")[..., :3]
    columns = np.nonzero(picture[..., 0] - picture[..., 2] > 0.3)[1]
    assert columns.mean() > picture.shape[1] / 2
    assert re.search(r'alt="axial slice with overlay"><i class="l">R</i><i class="r">L</i>', text)


@pytest.mark.parametrize("setting", [{"viewer": "itk"}, {"view": "upside down"}])
def test_unknown_settings_are_refused(result, tmp_path, setting) -> None:
    with pytest.raises(ConfigError, match="unknown"):
        result.save_report(tmp_path, **setting)


def test_result_in_python(result, tmp_path) -> None:
    assert len(repr(result)) < 300
    assert "1 finding," in repr(result)
    assert "left, anterior, superior" in result._repr_html_()
    paths = result.save(tmp_path)
    assert all(path.is_file() for path in paths)
    assert json.loads((tmp_path / "sub-x_summary.json").read_text())["Findings"][0]["percentile"] > 99.9
    assert len(result.plot().axes) == 3


def test_a_browser_draws_it(page, tmp_path) -> None:
    target = tmp_path / "page.png"
    command = [
        *(browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,1000"),
        *(f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={target}", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    if not target.is_file():
        pytest.skip(f"chromium cannot run here: {done.stderr.strip().splitlines()[-1:]}")
    picture = imread(target)[..., :3]
    assert picture.shape[:2] == (1000, 1200)
    assert (picture.max(axis=2) < 0.02).mean() > 0.1  # the black frames of the pictures
    warm = (picture[..., 0] > 0.8) & (picture[..., 2] < 0.6) & (picture[..., 1] > 0.5)
    assert warm.sum() > 500  # the finding, in yellow

# SPDX-License-Identifier: Apache-2.0
"""The synthetic cohort: truths about brains and lesions on one person, and the files with a stand-in for the brains."""

import csv
import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from itertools import combinations

import nibabel as nib
import numpy as np
import psutil
import pytest
from scipy import ndimage

from custom.core.building import sweep
from custom.core.errors import ConfigError, DataError
from custom.synthetic import CohortSize, cohort, make_demo_cohort, make_subject
from custom.synthetic.fields import noise_field, output_affine, upsample
from custom.synthetic.lesions import KINDS, TumourPlan, plan_tumour
from custom.synthetic.subject import Subject
from custom.synthetic.variety import DEMO, WIDE, Variety
from custom.volumes.grid import halve_majority, halve_mean

SEED, AGE = 7, 45.0
VOXEL_ML = 0.008


@pytest.fixture(scope="session")
def twin():
    """The healthy twin of every patient below."""
    return make_subject(SEED, AGE)


@pytest.fixture(scope="session")
def patients():
    return {kind: make_subject(SEED, AGE, kind) for kind in KINDS}


@pytest.fixture(scope="session")
def other():
    return make_subject(SEED + 1, 75.0)


def test_the_same_seed_gives_the_same_bytes(twin, tmp_path):
    again = make_subject(SEED, AGE)
    for name, image in twin.images.items():
        for number, values in enumerate((image, again.images[name])):
            cohort.write_nifti(tmp_path / f"{name}{number}.nii.gz", values)
        assert (tmp_path / f"{name}0.nii.gz").read_bytes() == (tmp_path / f"{name}1.nii.gz").read_bytes()
    assert np.array_equal(twin.mask, again.mask)


def test_images_are_zero_outside_the_mask_and_positive_inside(twin, patients):
    for subject in (twin, *patients.values()):
        for image in subject.images.values():
            assert image.shape == (96, 96, 80)
            assert image.dtype == np.int16
            assert np.array_equal(image > 0, subject.mask > 0)


def test_brain_lies_like_the_prepared_real_scans(twin, other):
    # 156 prepared IXI scans: 161505..174509 voxels, centre 47.6, 44.8, 40.5
    for subject in (twin, other):
        assert 150_000 < subject.mask.sum() < 190_000
        assert np.argwhere(subject.mask).mean(axis=0) == pytest.approx([47.6, 44.8, 40.5], abs=2.0)
        labels, _ = ndimage.label(subject.mask)
        assert np.bincount(labels.ravel())[1:].max() > 0.999 * subject.mask.sum()


def test_fluid_is_dark_on_t1_and_bright_on_t2(twin):
    core = ndimage.binary_erosion(twin.mask, iterations=4)
    t1, t2 = twin.images["t1"][core].astype(float), twin.images["t2"][core].astype(float)
    fluid, white = t2 > np.quantile(t2, 0.98), t1 > np.quantile(t1, 0.7)
    assert np.median(t1[fluid]) < 0.65 * np.median(t1[white])
    assert np.median(t2[fluid]) > 2.0 * np.median(t2[white])
    middle = (t1 < np.quantile(t1, 0.45)) & (t1 > np.quantile(t1, 0.2))
    assert 1.1 < np.median(t2[middle]) / np.median(t2[white]) < 1.6  # grey matter is brighter than white on T2


def test_persons_differ_in_anatomy_and_age_opens_the_ventricles(twin, other):
    both = (twin.mask & other.mask) > 0
    correlation = np.corrcoef(twin.images["t2"][both], other.images["t2"][both])[0, 1]
    assert 0.2 < correlation < 0.85  # brains both, but not the same one
    centre = (slice(36, 60), slice(30, 66), slice(34, 56))

    def fluid_ml(subject: Subject) -> float:
        white = np.median(subject.images["t2"][ndimage.binary_erosion(subject.mask, iterations=8)])
        return float((subject.images["t2"][centre] > 2 * white).sum() * VOXEL_ML)

    assert fluid_ml(other) > fluid_ml(twin)


# millilitres that the published data sets of each kind span, rounded outwards
@pytest.mark.parametrize(
    ("kind", "low", "high"), [("tumour", 3, 200), ("ms", 0.3, 30), ("stroke", 2, 180), ("wmh", 0.5, 80)]
)
def test_lesion_has_a_plausible_volume_inside_the_brain(patients, kind, low, high):
    subject = patients[kind]
    assert low < subject.seg.sum() * VOXEL_ML < high
    assert not np.any(subject.seg & ~subject.mask)


def test_healthy_subjects_have_no_lesion(twin):
    assert not twin.seg.any()


@pytest.mark.parametrize("kind", ["ms", "stroke", "wmh"])
def test_patient_equals_the_healthy_twin_away_from_the_lesion(twin, patients, kind):
    far = ~ndimage.binary_dilation(patients[kind].seg, np.ones((3, 3, 3)), iterations=3)
    for name, image in twin.images.items():
        change = np.abs(patients[kind].images[name].astype(int) - image)
        assert np.mean(change[far] > 0.05 * np.median(image[image > 0])) < 2e-3
        assert np.median(change[patients[kind].seg > 0]) > 0.08 * np.median(image[image > 0])


@pytest.mark.parametrize("kind", ["ms", "stroke", "wmh"])
def test_lesion_is_brighter_on_t2_and_darker_on_t1_than_the_twin(twin, patients, kind):
    lesion = patients[kind].seg > 0
    for name, sign in (("t2", 1), ("t1", -1)):
        change = sign * (patients[kind].images[name][lesion].astype(float) - twin.images[name][lesion])
        assert np.mean(change > 0) > (0.95 if name == "t2" else 0.8)


@pytest.mark.parametrize("kind", KINDS)
def test_lesion_stands_out_from_white_matter_on_t2(patients, kind):
    subject = patients[kind]
    t2 = subject.images["t2"]
    white = np.median(t2[ndimage.binary_erosion(subject.mask, iterations=8) & (subject.seg == 0)])
    assert np.median(t2[subject.seg > 0]) > 1.25 * white


def test_tumour_pushes_the_brain_and_leaves_the_skull(twin, patients):
    tumour = patients["tumour"]
    assert np.mean(tumour.mask != twin.mask) < 0.005
    around = ndimage.binary_dilation(tumour.seg, iterations=6) & ~ndimage.binary_dilation(tumour.seg, iterations=2)
    change = np.abs(tumour.images["t1"][around].astype(int) - twin.images["t1"][around])
    assert np.mean(change > 0.05 * np.median(twin.images["t1"][twin.mask > 0])) > 0.05


def test_mass_effect_moves_tissue_outward_by_the_displaced_volume():
    # tissue now at radius r was at (r^3 - s R^3)^(1/3): the shell keeps its volume, here at the core's edge
    plan = TumourPlan(np.zeros(3, dtype=np.float32), 10.0, 0.5)
    edge = np.array([10.0, 0.0, 0.0], dtype=np.float32).reshape(3, 1, 1, 1)
    assert (edge + plan.push(edge)).ravel() == pytest.approx([np.cbrt(500.0), 0, 0], rel=1e-5)
    assert not plan.push(4.0 * edge).any()


def test_tumours_lie_in_the_hemispheres():
    places = np.array([plan_tumour(seed).centre_mm for seed in range(6)])
    assert len(np.unique(places, axis=0)) > 3
    assert np.all(np.abs(places[:, 0]) > 4)
    assert np.all((places[:, 2] > -45) & (places[:, 2] < 70))


def test_noise_field_has_unit_variance_and_its_spacing_sets_the_smoothness():
    fields = [noise_field(np.random.default_rng(3), (64, 64, 64), spacing) for spacing in (2.0, 8.0)]
    roughness = [np.diff(field, axis=0).std() for field in fields]
    assert fields[0].std() == pytest.approx(1, abs=0.05)
    assert fields[1].std() == pytest.approx(1, abs=0.2)
    assert roughness[0] / roughness[1] == pytest.approx(4, rel=0.3)


def test_upsampling_keeps_linear_functions_and_halving_undoes_it():
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None], (8, 6, 4))
    fine = upsample(ramp, (16, 12, 8))
    assert fine[2:-2, 0, 0] == pytest.approx(np.arange(16)[2:-2] / 2 - 0.25)
    assert halve_mean(fine)[1:-1] == pytest.approx(ramp[1:-1])


# From here on the brains are replaced by boxes, so that whole cohorts cost nothing.


def box(
    seed: int,
    age: float,
    kind: str | None = None,
    variety: Variety | None = None,
    contrasts: tuple[str, ...] = (),
    spacing_mm: int = 2,
) -> Subject:
    mask = np.zeros((96, 96, 80), dtype=np.uint8)
    mask[8:-8, 20:70, 20:60] = 1
    image = (mask * np.random.default_rng(seed).integers(1, 300)).astype(np.int16)
    seg = np.zeros_like(mask)
    seg[40:50, 40:50, 40:50] = int(kind is not None)
    return Subject({name: image + index * mask for index, name in enumerate(contrasts)}, mask, seg)


SIZE = CohortSize(healthy=9, healthy_test=2, patients_val=1, patients_test=2)


@pytest.fixture
def quick(monkeypatch):
    made = []
    monkeypatch.setattr(cohort, "make_subject", lambda *args: made.append(args) or box(*args))
    return made


def rows(root, name):
    with (root / "splits" / f"{name}.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_layout_and_tables_name_existing_files(quick, tmp_path):
    root = make_demo_cohort(tmp_path / "demo", SIZE, seed=1, workers=1)
    assert len(quick) == 9 + 4 * 3
    tables = {path.stem for path in (root / "splits").glob("*.csv")}
    folds = {f"demo_{part}_fold{fold}" for part in ("train", "val") for fold in range(5)}
    assert tables == folds | {"demo_test"} | {f"demo_{kind}_{part}" for kind in KINDS for part in ("val", "test")}
    for table in tables:
        for row in rows(root, table):
            healthy = row["label"] == "0"
            assert row["img_path"].startswith("/Train/demo/t1/" if healthy else "/Test/demo_")
            assert (row["seg_path"] == "") is healthy
            assert 18 <= float(row["age"]) <= 90
            for column in ("img_path", "mask_path", "seg_path"):
                assert row[column] == "" or (root / row[column].lstrip("/")).is_file()
            image = nib.load(root / row["img_path"].lstrip("/").replace("t1", "t2"))
            assert np.array_equal(image.affine, output_affine(2))
            assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert "synthetic" in (root / "README.txt").read_text().lower()
    assert "ICBM152" in (root / "README.txt").read_text()


def test_no_subject_is_in_two_parts(quick, tmp_path):
    root = make_demo_cohort(tmp_path / "demo", SIZE, workers=1)
    names = {path.stem: {row["img_name"] for row in rows(root, path.stem)} for path in (root / "splits").glob("*.csv")}
    for fold in range(5):
        parts = [names["demo_test"], names[f"demo_train_fold{fold}"], names[f"demo_val_fold{fold}"]]
        assert all(not a & b for a, b in combinations(parts, 2))
        assert len(set.union(*parts)) == 9
    assert not set.intersection(*(names[f"demo_train_fold{fold}"] for fold in range(5)))
    assert all(not names[f"demo_{kind}_val"] & names[f"demo_{kind}_test"] for kind in KINDS)


def test_every_subject_has_its_own_seed(quick, tmp_path):
    make_demo_cohort(tmp_path / "demo", SIZE, workers=1)
    assert len({seed for seed, *_ in quick}) == len(quick)


def test_manifest_records_the_files_and_the_bytes_hold_no_time(quick, tmp_path):
    first, second = (make_demo_cohort(tmp_path / name, SIZE, seed=3, workers=1) for name in ("a", "b"))
    manifest = json.loads((first / "DEMO.json").read_text())
    assert manifest == json.loads((second / "DEMO.json").read_text())
    assert manifest["seed"] == 3
    assert manifest["counts"]["healthy"] == 9
    path = "Train/demo/t1/DEMO001_t1.nii.gz"
    assert manifest["sha256"][path] == hashlib.sha256((first / path).read_bytes()).hexdigest()
    assert (first / path).read_bytes()[4:8] == bytes(4)  # gzip's time stamp
    assert gzip.decompress((first / path).read_bytes())[344:347] == b"n+1"


def test_an_intact_cohort_is_left_and_anything_else_is_not_overwritten(quick, tmp_path):
    root = make_demo_cohort(tmp_path / "demo", SIZE, workers=1)
    count = len(quick)
    assert make_demo_cohort(root, SIZE, workers=1) == root
    assert len(quick) == count
    (root / ".prepared").mkdir()  # later runs keep their caches in the data folder
    (root / ".prepared" / "volume.npy").write_bytes(b"cache")
    assert make_demo_cohort(root, SIZE, workers=1) == root
    assert len(quick) == count
    with pytest.raises(DataError, match="--overwrite"):
        make_demo_cohort(root, SIZE, seed=5, workers=1)
    damaged = root / "Test" / "demo_ms" / "seg" / "MS01_seg.nii.gz"
    damaged.write_bytes(b"")
    with pytest.raises(DataError):
        make_demo_cohort(root, SIZE, workers=1)
    make_demo_cohort(root, SIZE, workers=1, overwrite=True)
    assert damaged.stat().st_size > 0


def test_a_foreign_folder_is_never_replaced(quick, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="untouched"):
        make_demo_cohort(tmp_path, SIZE, workers=1, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_an_interrupted_run_leaves_nothing(monkeypatch, tmp_path):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cohort, "make_subject", stop)
    with pytest.raises(KeyboardInterrupt):
        make_demo_cohort(tmp_path / "demo", SIZE, workers=1)
    assert not list(tmp_path.iterdir())


def test_too_few_healthy_subjects_are_refused():
    with pytest.raises(ConfigError, match="folds"):
        CohortSize(healthy=8, healthy_test=4)


def test_a_wide_cohort_is_another_one_and_needs_no_patients(quick, tmp_path):
    size = CohortSize(healthy=5, healthy_test=0, patients_val=0, patients_test=0)
    root = make_demo_cohort(tmp_path / "wide", size, seed=1, workers=1, variety="wide")
    assert {arguments[3] for arguments in quick} == {WIDE}
    assert sorted(path.name for path in (root / "splits").iterdir())[-2:] == ["demo_val_fold4.csv", "splits.json"]
    assert cohort.is_complete(root, size, 1, "wide")
    assert not cohort.is_complete(root, size, 1)
    with pytest.raises(DataError, match="something other than this intact"):
        make_demo_cohort(root, size, seed=1, workers=1)
    with pytest.raises(ConfigError, match="no variety"):
        make_demo_cohort(tmp_path / "other", size, variety="wild")


def test_a_scan_of_1_mm_shows_the_same_brain_and_lesion(patients, tmp_path):
    coarse, fine = patients["tumour"], make_subject(SEED, AGE, "tumour", spacing_mm=1)
    assert fine.mask.shape == (192, 192, 160)
    for part in ("mask", "seg"):  # the share of a cell that counts differs a little
        halved, expected = halve_majority(getattr(fine, part)), getattr(coarse, part)
        assert 2 * (halved & expected).sum() / (halved.sum() + expected.sum()) > 0.97
    inside = ndimage.binary_erosion(coarse.mask, iterations=3)
    for name, image in coarse.images.items():
        difference = (halve_mean(fine.images[name]) - image)[inside]
        assert abs(difference.mean()) < 2  # of about 300 in white matter
        # what is left is the noise of two scans
        assert difference.std() < 0.1 * image[inside].mean()
    one, two = np.diag([1.0, 1, 1, 1]), np.diag([2.0, 2, 2, 1])
    one[:3, 3], two[:3, 3] = (-95.5, -109.5, -72.5), (-95, -109, -72)
    assert np.array_equal(output_affine(1), one)
    assert np.array_equal(output_affine(2), two)
    cohort.write_nifti(tmp_path / "fine.nii.gz", fine.seg, 1)
    cohort.write_nifti(tmp_path / "coarse.nii.gz", coarse.seg)
    centres = []
    for name in ("fine", "coarse"):
        image = nib.load(tmp_path / f"{name}.nii.gz")
        centres.append(nib.affines.apply_affine(image.affine, np.argwhere(np.asanyarray(image.dataobj)).mean(0)))
    assert np.linalg.norm(centres[0] - centres[1]) < 0.3


def test_a_cohort_of_1_mm_is_another_one(quick, tmp_path):
    root = make_demo_cohort(tmp_path / "demo", SIZE, workers=1, spacing_mm=1)
    assert cohort.is_complete(root, SIZE, 0, spacing_mm=1)
    assert not cohort.is_complete(root, SIZE, 0)
    with pytest.raises(ConfigError, match="1 or 2 mm, not 3"):
        make_demo_cohort(tmp_path / "other", SIZE, spacing_mm=3)


def test_flair_is_scanned_where_it_is_asked_for(quick, tmp_path):
    root = make_demo_cohort(tmp_path / "demo", SIZE, workers=1, contrasts=("t1", "t2", "flair"))
    assert (root / "Test" / "demo_ms" / "flair" / "MS01_flair.nii.gz").is_file()
    assert cohort.is_complete(root, SIZE, 0, contrasts=("t1", "t2", "flair"))
    assert not cohort.is_complete(root, SIZE, 0)
    with pytest.raises(ConfigError, match="t1 and what else of t1, t2, flair"):
        make_demo_cohort(tmp_path / "other", SIZE, contrasts=("flair",))


def test_the_wide_variety_contains_the_demo():
    for name in ("bias_sd", "noise", "in_plane_mm", "edge_mm"):
        (low, high), (wide_low, wide_high) = getattr(DEMO, name), getattr(WIDE, name)
        assert wide_low <= low <= high <= wide_high
    for name in ("scale", "rotation_deg", "shift_mm", "ventricle_sd_mm", "tissue_spread"):
        assert getattr(WIDE, name) > getattr(DEMO, name)


@pytest.mark.fault(
    92,
    "the generator of the demo cohort is killed",
    "its workers end with it, its half-built folder is swept by the next one",
    "mended",
)
def test_workers_end_with_the_process_that_started_them_and_their_folder_is_swept(tmp_path, repository):
    code = (
        "from custom.synthetic.cohort import CohortSize, make_demo_cohort\n"
        f"if __name__ == '__main__': make_demo_cohort({str(tmp_path / 'out')!r}, CohortSize(60, 4, 0, 0), workers=2)"
    )
    (tmp_path / "make.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "make.py"], cwd=repository, env={**os.environ, "PYTHONPATH": str(repository)}
    )
    try:
        parent, written = psutil.Process(process.pid), []
        while not written:
            assert process.poll() is None
            time.sleep(0.1)
            written = list(tmp_path.glob(".out.*/**/*.nii.gz"))
        workers = parent.children()
        assert len(workers) >= 2
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=120)
    for worker in alive:
        worker.kill()
    assert alive == []
    sweep(tmp_path / "out")
    assert not list(tmp_path.glob(".out.*"))

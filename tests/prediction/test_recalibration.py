# SPDX-License-Identifier: Apache-2.0
"""Robust quantiles: one odd brain is named and moves nothing."""

import numpy as np
import pytest

from custom.cli.main import main
from custom.core.errors import ConfigError, DataError
from custom.prediction.healthy_scans import HealthyScans
from custom.prediction.predictor import Predictor
from custom.prediction.recalibration import (
    HealthyScan,
    calibrate,
    calibrate_pictures,
    recalibrated,
    robust_quantiles,
)
from custom.runs.lock import RunLock
from custom.runs.model_folder import ModelFolder
from tests.model_fixtures import blurring_model
from tests.prediction.test_predictor import RAS, write_scan

LEVELS = [0.5, 0.9, 0.99, 0.999]


def scans(count: int, odd: int | None = None) -> list[HealthyScan]:
    found = []
    for k in range(count):
        rng = np.random.default_rng(k)
        brain = np.ones((24, 24, 12), dtype=bool)
        scores = rng.exponential(0.1 * (1 + 0.02 * k), brain.sum()).astype(np.float32)
        if k == odd:
            scores *= 8
        found.append(HealthyScan(f"sub-{k}", scores, rng.random(brain.shape).astype(np.float32), brain))
    return found


def scored(*arguments: int) -> list[tuple[str, np.ndarray]]:
    return [(scan.case_id, scan.scores) for scan in scans(*arguments)]


def test_one_odd_brain_moves_nothing() -> None:
    plain, nothing = robust_quantiles(scored(11), LEVELS)
    moved, odd = robust_quantiles(scored(11, 4), LEVELS)
    assert nothing == []
    assert odd == ["sub-4"]
    assert moved == pytest.approx(plain, rel=0.05)  # one rank of eleven
    pooled = np.quantile(np.concatenate([scan.scores for scan in scans(11, odd=4)]), 0.999)
    assert pooled > 1.5 * moved[-1]  # what pooling would have done
    assert plain == sorted(plain)


def test_thresholds_are_those_of_exponential_scores() -> None:
    before = {"score": "l1", "healthy_quantiles": {"levels": LEVELS, "scores": [0.1, 0.2, 0.3, 0.4]}, "thresholds": {}}
    after, _ = recalibrated(before, scans(11), "the scanner")
    assert after["score"] == "l1"
    assert after["thresholds"]["healthy_fpr_0.01"]["value"] == pytest.approx(0.11 * np.log(100), rel=0.05)
    assert "11 healthy scans of the scanner" in after["thresholds"]["healthy_fpr_0.01"]["source"]
    assert after["scanner"] == "the scanner"
    assert before["healthy_quantiles"]["scores"][0] == 0.1


def test_a_head_extracted_here_is_no_scan_of_an_extracted_cohort() -> None:
    cohort = HealthyScans(7, "ixi")
    assert cohort.unlike("", "given mask") == []
    (sentence,) = cohort.unlike("", "deepbet")
    assert "brain extracted by deepbet" in sentence
    assert HealthyScans(7, "A", ("A",), ("deepbet",)).unlike("a", "deepbet") == []


def test_too_few() -> None:
    with pytest.raises(DataError, match="at least 5"):
        robust_quantiles(scored(4), LEVELS)


@pytest.mark.parametrize("calibration", [calibrate, calibrate_pictures])
def test_too_few_scans_are_refused_before_a_model_is_looked_for(calibration, tmp_path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "P1.nii.gz").touch()
    with pytest.raises(DataError, match="at least 5"):
        calibration(tmp_path / "absent", tmp_path / "scans", tmp_path / "out", "scanner")


@pytest.mark.fault(118)
def test_a_calibrated_copy_predicts(tmp_path, capsys, monkeypatch) -> None:
    """The command, on a model of a mean filter and six made brains: own thresholds, the original untouched."""
    model = blurring_model(tmp_path / "model")
    before = (model / "model.json").read_bytes()
    healthy = tmp_path / "healthy"
    healthy.mkdir()
    for number in range(6):
        write_scan(healthy / f"sub-{number}_T1w.nii.gz", RAS, seed=number)
    copy = tmp_path / "copy"
    assert main(["calibrate", str(model), str(healthy), "-o", str(copy), "--scanner", "Scanner A"]) == 0
    assert (model / "model.json").read_bytes() == before
    threshold = Predictor.load(copy, extractor="none").predict(healthy / "sub-0_T1w.nii.gz").threshold
    assert "6 healthy scans of Scanner A" in threshold.source
    result = Predictor.load(copy, scanner="scanner a").predict(healthy / "sub-0_T1w.nii.gz")
    assert not any("not calibrated" in warning for warning in result.warnings)
    assert result.calibration.healthy_error == pytest.approx(result.reconstruction_error, rel=0.5)
    (healthy / "sub-1_T1w.json").write_text(
        '{"Manufacturer": "B", "ManufacturersModelName": "9", "MagneticFieldStrength": 3}'
    )
    other = Predictor.load(copy).predict(healthy / "sub-1_T1w.nii.gz")
    assert any("not calibrated for this scanner (B 9 3 T)" in warning for warning in other.warnings)
    page = other.save_report(tmp_path / "page", viewer="none").read_text()
    assert "not calibrated for this scanner (B 9 3 T)" in page
    assert "6 healthy scans of Scanner A" in page
    assert "this scan: " in page
    assert threshold.value != Predictor.load(model).calibration.threshold().value
    monkeypatch.setattr(Predictor, "predict", lambda *_: pytest.fail("work before the refusal"))
    assert main(["calibrate", str(model), str(healthy), "-o", str(copy), "--scanner", "B"]) == 2
    assert "holds a model already" in capsys.readouterr().err
    with RunLock(tmp_path / "other"):
        assert main(["calibrate", str(model), str(healthy), "-o", str(tmp_path / "other"), "--scanner", "B"]) == 2
    assert "is in use by another process" in capsys.readouterr().err
    for path in sorted(healthy.glob("*.nii.gz"))[4:]:
        path.unlink()
    assert main(["calibrate", str(model), str(healthy), "-o", str(tmp_path / "few"), "--scanner", "B"]) == 4
    assert "4 healthy scans are too few" in capsys.readouterr().err
    assert not (tmp_path / "few").exists()


@pytest.mark.fault(
    118,
    "`uad calibrate` killed, on a full disk, or twice at once",
    "the copy is no model before its last file, the same command makes it; a second one, a folder with a model and too few scans are refused before the work",
    "mended",
)
def test_a_killed_copy_is_no_model_and_the_same_call_completes_it(tmp_path, monkeypatch) -> None:
    model = ModelFolder.read(blurring_model(tmp_path / "model"))
    calibration = {**(model.calibration or {}), "scanner": "A"}
    with monkeypatch.context() as patch:
        patch.setattr(ModelFolder, "_write", lambda _: pytest.fail("killed"))  # between the weights and the model
        with pytest.raises(pytest.fail.Exception):
            model.copy(tmp_path / "copy", calibration)
    with pytest.raises(ConfigError, match="no trained model"):
        ModelFolder.read(tmp_path / "copy")
    model.copy(tmp_path / "copy", calibration)
    assert ModelFolder.read(tmp_path / "copy").calibration == calibration
    with pytest.raises(ConfigError, match="other weights"):
        model.copy(tmp_path / "third", {**calibration, "weights_sha256": "0" * 64})
    assert not (tmp_path / "third" / "model.json").exists()

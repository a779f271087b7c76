# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from custom.core.description import build, describe
from custom.core.errors import ConfigError
from custom.evaluation import EvaluationPlan, MapCollector
from custom.evaluation.healthy_scores import finish_healthy_scores
from custom.evaluation.spool import CaseInfo
from custom.postprocessing import none
from custom.scoring import HealthyRelative, HealthySums, Product, SigmaSweep, SSIMEnsemble, l1

SPACING = (2.0, 2.0, 2.0)
PLAN = EvaluationPlan({"ms/test": None}, "demo/val")


def _volumes(seed):
    generator = torch.Generator().manual_seed(seed)
    image, reconstruction = torch.rand(2, 12, 10, 8, generator=generator)
    mask = torch.zeros(12, 10, 8, dtype=torch.uint8)
    mask[1:-1, 1:-1] = 1
    seg = (torch.rand(12, 10, 8, generator=generator) > 0.9).to(torch.uint8) * mask
    return image, reconstruction, mask, seg


def _collected(folder, scores, healthy=(1, 2, 3)):
    collector = MapCollector(scores, {"none": none()}, folder, SPACING)
    for seed in healthy:
        image, reconstruction, mask, _ = _volumes(seed)
        collector.add(CaseInfo(f"c{seed}", "demo/val", 0), image, reconstruction, mask, torch.zeros_like(mask))
    collector.add(CaseInfo("c9", "ms/test", 1), *_volumes(9))
    return collector


def test_calibration_scans_are_compared_with_the_others_and_patients_with_all(tmp_path):
    collector = _collected(tmp_path, {"l1": l1, "relative": HealthyRelative(l1)})
    assert "relative" not in collector.variants
    finish_healthy_scores(collector, PLAN)
    assert {"l1", "relative", "uninformative"} == set(collector.variants)
    for seed in (1, 2, 3, 9):
        sums = HealthySums(4.0)
        for other in {1, 2, 3} - {seed}:
            image, reconstruction, mask, _ = _volumes(other)
            sums.add(l1(image, reconstruction).numpy(), mask.numpy())
        image, reconstruction, mask, _ = _volumes(seed)
        expected = HealthyRelative(l1, statistics=sums.statistics())(image, reconstruction) * (mask > 0)
        case = next(case for case in collector.cases if case.case_id == f"c{seed}")
        np.testing.assert_allclose(collector.volume(case, "relative"), expected.numpy(), rtol=5e-3, atol=1e-6)
    histogram = collector.whole["relative", "ms/test"]
    assert histogram.total_anomalous == int(_volumes(9)[3].sum())


def test_the_score_of_a_prediction_gives_the_bits_of_the_evaluation(tmp_path):
    collector = _collected(tmp_path, {"relative": HealthyRelative(l1, "z")})
    finish_healthy_scores(collector, PLAN)
    image, reconstruction, mask, _ = _volumes(9)
    score = build(describe(collector.score_of("relative")))
    expected = torch.where(mask > 0, score(image, reconstruction), 0.0)
    assert torch.equal(torch.from_numpy(collector.volume(collector.of_group("ms/test")[0], "relative")), expected)


def _counted(function, calls):
    def counting(*given):
        calls.append(1)
        return function(*given)

    return counting


def test_a_map_that_another_score_makes_is_not_made_twice(tmp_path, monkeypatch):
    """Alone, by itself and from a sweep, the maps are equal bit for bit, and the ensemble is computed once."""
    ensemble = SSIMEnsemble((0.5, 0.9))
    relative = HealthyRelative(ensemble, "z")
    maps = []
    for number, scores in enumerate(({}, {"ssim_ens": ensemble}, {"ssim_ens": SigmaSweep(ensemble)})):
        calls: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(SSIMEnsemble, "__call__", _counted(SSIMEnsemble.__call__, calls))
            collector = _collected(tmp_path / str(number), {**scores, "relative": relative})
        assert len(calls) == (0 if number == 2 else 4)
        finish_healthy_scores(collector, PLAN)
        maps.append(collector.volume(collector.of_group("ms/test")[0], "relative"))
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


def test_too_few_healthy_scans_leave_it_out(tmp_path, caplog):
    collector = _collected(tmp_path, {"l1": l1, "relative": HealthyRelative(l1)}, healthy=(1,))
    finish_healthy_scores(collector, PLAN)
    assert "relative" not in collector.variants
    assert "needs 2 healthy scans" in caplog.text
    with pytest.raises(ConfigError, match="two or more healthy"):
        collector.score_of("relative")(*_volumes(9)[:2])


def test_products_take_it_once_it_is_fitted():
    image, reconstruction, mask, _ = _volumes(1)
    sums = HealthySums(2.0)
    sums.add(l1(image, reconstruction).numpy(), mask.numpy())
    fitted = HealthyRelative(l1).fitted(sums.statistics())
    product = Product([fitted, l1])(image, reconstruction)
    torch.testing.assert_close(product, fitted(image, reconstruction) * l1(image, reconstruction))

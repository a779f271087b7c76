# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from custom.core.errors import DataError
from custom.metrics import bootstrap_ci, mean_std, summarise_cases

pytestmark = [
    pytest.mark.fault(40),
]


def test_undefined_values_are_left_out_and_counted() -> None:
    cases = [
        {"case_id": "a", "dice": 0.2, "fp_ml": 1.0},
        {"case_id": "b", "dice": None, "fp_ml": 3.0},
        {"case_id": "c", "dice": 0.6, "fp_ml": 5.0, "extra": None},
        {"case_id": "d", "dice": 0.7},
    ]
    found = summarise_cases(cases, seed=5)
    assert list(found) == ["dice", "fp_ml", "extra"]
    assert (found["dice"]["n"], found["dice"]["excluded"]) == (3, 1)
    assert (found["fp_ml"]["n"], found["fp_ml"]["excluded"]) == (3, 1)
    assert found["dice"]["mean"] == pytest.approx(0.5)
    assert found["dice"]["std"] == pytest.approx(np.std([0.2, 0.6, 0.7], ddof=1))
    assert (found["dice"]["min"], found["dice"]["max"]) == (0.2, 0.7)
    assert found["extra"] == dict.fromkeys(found["dice"]) | {"n": 0, "excluded": 4}


def test_ten_cases_have_an_interval_and_nine_a_range() -> None:
    values = np.linspace(0.1, 0.9, 10).tolist()
    found = summarise_cases([{"dice": value} for value in values], seed=5)["dice"]
    interval = bootstrap_ci(values, seed=5)
    assert (found["ci_low"], found["ci_high"]) == (interval.low, interval.high)
    fewer = summarise_cases([{"dice": value} for value in values[:9]] + [{"dice": None}])["dice"]
    assert (fewer["ci_low"], fewer["ci_high"], fewer["min"], fewer["max"]) == (None, None, values[0], values[8])


def test_one_case_has_a_mean_and_no_spread() -> None:
    found = summarise_cases([{"dice": 0.4}])["dice"]
    assert found == dict.fromkeys(found) | {"mean": 0.4, "n": 1, "excluded": 0, "min": 0.4, "max": 0.4}
    assert summarise_cases([]) == {}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_a_fault_and_not_an_undefined_metric(bad: float) -> None:
    with pytest.raises(DataError, match=r"'dice' is NaN or infinite for 1 of 2"):
        summarise_cases([{"dice": bad}, {"dice": 0.5}])


def test_mean_over_folds() -> None:
    mean, deviation = mean_std([0.4, 0.5, 0.6])
    assert (mean, deviation) == (pytest.approx(0.5), pytest.approx(0.1))
    assert mean_std([0.3]) == (0.3, None)
    with pytest.raises(DataError, match="at least one"):
        mean_std([])

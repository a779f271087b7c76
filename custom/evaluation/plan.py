# SPDX-License-Identifier: Apache-2.0
"""Which scans calibrate which threshold, and which are scored with it.

Scans come in *groups*, named ``<data set>/<split>``. A threshold is frozen on a labelled validation group (``tuned``)
or on healthy validation scans without labels (``healthy_fpr_*``), and only then applied to the test group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import ConfigError


@dataclass(frozen=True)
class TestPlan:
    """One test group and the labelled group that its ``tuned`` threshold comes from (None: there is none)."""

    __test__ = False  # not a pytest class

    group: str
    tuning_group: str | None

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.group.split("/")[0]


@dataclass(frozen=True)
class EvaluationPlan:
    """The groups of one evaluation.

    Args:
        tests: ``{test group: tuning group or None}``.
        healthy_calibration: group of healthy scans that the label-free thresholds are quantiles of.
        healthy_test: group of healthy scans that false positives are counted on, or None.
        healthy_fprs: wanted voxel-wise false-positive rates inside healthy brains.
    """

    tests: Mapping[str, str | None]
    healthy_calibration: str
    healthy_test: str | None = None
    healthy_fprs: Sequence[float] = field(default=(0.01, 0.05))

    def __post_init__(self) -> None:
        same = [test for test, tuning in self.tests.items() if test == tuning]
        if same:
            raise ConfigError(
                f"{', '.join(same)} would be tested with a threshold tuned on itself; that is an oracle, which is "
                "reported anyway. Give another tuning group or null."
            )

    @property
    def test_plans(self) -> list[TestPlan]:
        """The test groups in their order."""
        return [TestPlan(test, tuning) for test, tuning in self.tests.items()]

    @property
    def groups(self) -> list[str]:
        """Every group that must be scored, each once, calibration first."""
        healthy = [self.healthy_calibration, *([self.healthy_test] if self.healthy_test else [])]
        tuning = [plan.tuning_group for plan in self.test_plans if plan.tuning_group]
        return list(dict.fromkeys([*healthy, *tuning, *self.tests]))

    def describe(self) -> dict[str, Any]:
        """Return the plan as JSON values for the protocol block."""
        return {
            "tests": dict(self.tests),
            "healthy_calibration": self.healthy_calibration,
            "healthy_test": self.healthy_test,
            "healthy_fprs": list(self.healthy_fprs),
        }

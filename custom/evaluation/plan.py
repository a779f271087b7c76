# SPDX-License-Identifier: Apache-2.0
"""Which scans calibrate which threshold, and which are scored with it.

Scans come in *groups*, named ``<data set>/<split>``. A threshold is frozen on a labelled validation group (``tuned``)
or on healthy validation scans without labels (``healthy_fpr_*``), and only then applied to the test group. What a
threshold marks in healthy brains is measured on healthy scans that it does not come from: the healthy test list, or, without
one, one half of the healthy validation scans (``<data set>/val_held_out``), while ``<data set>/val_calibration`` calibrates.
Where scans are too few to be divided, all calibrate, and each is measured at the thresholds of the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..core.errors import ConfigError
from ..core.seeding import derive_seed

HALVES = ("calibration", "held_out")


def source_of(group: str) -> tuple[str, str, str | None]:
    """Return data set, split list and half (None: all of the list) of a group.

    >>> source_of("ixi/val_held_out"), source_of("ixi/test")
    (('ixi', 'val', 'held_out'), ('ixi', 'test', None))
    """
    name, _, split = group.partition("/")
    for half in HALVES:
        if split.endswith(f"_{half}"):
            return name, split.removesuffix(f"_{half}"), half
    return name, split, None


def half_of(names: Sequence[str], half: str | None) -> set[str]:
    """Return the scans of a half; the halves are dealt out in an order that is a hash of the names.

    >>> sorted(half_of(["a", "b", "c"], "calibration") | half_of(["a", "b", "c"], "held_out"))
    ['a', 'b', 'c']
    """
    if half is None:
        return set(names)
    order = sorted(set(names), key=lambda name: (derive_seed("healthy half", name), name))
    return set(order[HALVES.index(half) :: 2])


@dataclass(frozen=True)
class TestPlan:
    """One test group and the labelled group that its ``tuned`` threshold comes from (None: there is none).

    >>> TestPlan("ms/test", tuning_group="ms/val").name
    'ms'
    """

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
        healthy_test: group of healthy scans that false positives are counted on, no threshold comes from them; or None.
        healthy_fprs: wanted voxel-wise false-positive rates inside healthy brains.
        conformal_rate: probability with which a new healthy scan may exceed the first of those rates under the threshold
            ``conformal_<rate>``; it needs 1 / conformal_rate - 1 calibration scans.

    >>> plan = EvaluationPlan({"ms/test": "ms/val"}, healthy_calibration="ixi/val", healthy_test="ixi/test")
    >>> plan.groups, sorted(plan.only_tested)
    (['ixi/val', 'ixi/test', 'ms/val', 'ms/test'], ['ixi/test', 'ms/test'])
    """

    tests: Mapping[str, str | None]
    healthy_calibration: str
    healthy_test: str | None = None
    healthy_fprs: Sequence[float] = field(default=(0.01, 0.05))
    conformal_rate: float = 0.1

    def __post_init__(self) -> None:
        if self.healthy_test == self.healthy_calibration:
            raise ConfigError(
                f"{self.healthy_test} would calibrate the thresholds and measure their false-positive rate too, which then is "
                "what it was made to be. Give other healthy scans, or none."
            )
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

    @property
    def only_tested(self) -> set[str]:
        """The groups that no threshold comes from."""
        tuning = {plan.tuning_group for plan in self.test_plans}
        return set(self.groups) - {self.healthy_calibration} - {group for group in tuning if group}

    def describe(self) -> dict[str, Any]:
        """Return the plan as JSON values for the protocol block."""
        return asdict(self) | {"healthy_fprs": list(self.healthy_fprs)}

# SPDX-License-Identifier: Apache-2.0
"""A small round of ``make inject``: every kind of file is damaged a few times, and no damage passes in silence."""

import sys

import pytest

pytestmark = [
    pytest.mark.fault(72),
    pytest.mark.fault(
        114,
        "a record of repairs or of a job, a table, a made list or declaration that was changed",
        "refused by its digest",
        "unrecorded",
    ),
]


@pytest.fixture(scope="module")
def inject(repository):
    sys.path.insert(0, str(repository / "fuzz"))
    try:
        import inject
        import kinds

        yield inject, kinds
    finally:
        sys.path.remove(str(repository / "fuzz"))
        for name in ("inject", "kinds", "kinds_data", "kinds_models", "kinds_results", "file_kind"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("number", range(27))
def test_no_damage_is_silent_and_none_is_a_traceback(inject, number):
    module, kinds = inject
    assert len(kinds.KINDS) == 27
    outcomes, problems = module.inject(kinds.KINDS[number], 15, 1)
    assert problems == []
    assert outcomes["silent"] == outcomes["traceback"] == 0
    assert outcomes.total() == 15


def test_a_reader_that_checks_nothing_is_caught(inject):
    module, _ = inject

    def make(folder):
        (folder / "a").write_bytes(bytes(range(48, 90)))
        return [folder / "a"]

    careless = module.FileKind("careless", make, lambda folder: (folder / "a").read_bytes())
    assert module.inject(careless, 10, 0)[0]["silent"] == 10
    broken = module.FileKind(
        "broken", make, lambda folder: {48: 1}[sum((folder / "a").read_bytes()) - sum(range(49, 90))]
    )
    outcomes, problems = module.inject(broken, 10, 0)
    assert outcomes["traceback"] == 10
    assert "KeyError" in problems[0]

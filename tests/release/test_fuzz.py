# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets stay in working order: their examples pass, some mutations of each raise nothing unforeseen."""

import sys

import pytest


@pytest.fixture(scope="module")
def fuzzing(repository):
    sys.path.insert(0, str(repository / "fuzz"))
    try:
        import run
        import targets

        yield run, targets
    finally:
        sys.path.remove(str(repository / "fuzz"))
        for name in ("run", "targets"):
            sys.modules.pop(name, None)


def test_every_example_is_accepted(fuzzing):
    _, targets = fuzzing
    assert len(targets.TARGETS) >= 5
    for target in targets.TARGETS:
        for example in target.examples:
            targets.run_target(target, example)


@pytest.mark.parametrize("name", ["csv", "nifti", "manifest", "cache", "weights"])
def test_a_short_round_finds_nothing(fuzzing, name):
    run, targets = fuzzing
    target = next(t for t in targets.TARGETS if t.name == name)
    defects = run.Defects()
    assert run.fuzz(target, 600, defects, 0, most=80) == 80
    assert defects.found == {}


def test_a_defect_is_found_and_the_smallest_input_kept(fuzzing):
    run, targets = fuzzing

    def broken(data, folder):
        if b"x" in data:
            raise KeyError("x")

    defects = run.Defects()
    for data in (b"aaxa", b"x", b"xx", b"a"):
        defects.run(targets.Target("broken", broken, (b"",), (b"x",)), data)
    ((found, _),) = defects.found.values()
    assert (found, defects.executions) == (b"x", 4)


def test_an_error_without_words_is_a_defect(fuzzing):
    from custom.core.errors import ConfigError

    def fails():
        raise ConfigError("")

    with pytest.raises(AssertionError, match="without a message"):
        fuzzing[1]._tolerant(fails)

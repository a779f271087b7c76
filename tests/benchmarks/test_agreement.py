# SPDX-License-Identifier: Apache-2.0
"""Every benchmark's candidates give the same answer within the stated tolerance; nothing is timed."""

import math

import pytest

pytest.importorskip("sklearn")

from benchmarks import cpu, end_to_end, loading, noise, postprocessing, scores, thresholds, training
from benchmarks.harness import Candidate, Measured, Row, Subject, agreement, disagreements, markdown, measure, peer

SHAPE = (40, 36, 26)
SUBJECTS = {
    "noise": lambda: noise.subjects(batch=3, size=24),
    "scores": lambda: scores.subjects(SHAPE),
    "postprocessing": lambda: postprocessing.subjects(SHAPE),
    "thresholds": lambda: thresholds.subjects(3, SHAPE),
    "loading": lambda: loading.subjects(2, (64, 64, 40), (80, 80, 62)),
    "end_to_end": lambda: end_to_end.subjects("tiny", (48, 48, 32)),
    "training": lambda: training.subjects("tiny", 2, (16, 16), 1),
    "cpu": lambda: cpu.subjects("tiny", 16, compiled=False, batches=(1, 4)),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_candidates_agree_with_ours(name):
    compared = 0
    for subject in SUBJECTS[name]():
        for candidate, (deviation, tolerance) in agreement(subject).items():
            assert deviation <= tolerance, f"{subject.name}: {candidate}"
            compared += 1
    if name == "noise" and compared == 0:
        pytest.skip("opensimplex, the only peer of the noise, is not installed")
    assert compared > 0


def _clock(ticks):
    return lambda: next(ticks)


def test_ratios_are_those_of_one_round_and_report_their_range(monkeypatch):
    ends = iter([0, 1, 1, 3, 3, 5, 5, 13])  # ours 1 then 2 s, the peer 2 then 8 s
    monkeypatch.setattr("benchmarks.harness.time.process_time", _clock(ends))
    subject = Subject(
        "s", [Candidate("ours", lambda: 1.0), Candidate("peer", lambda: 1.5, lambda a, b: a - b, 0.4)], rounds=2
    )
    measured = measure(subject)
    assert [(row.seconds, row.ratio, row.low, row.high) for row in measured.rows] == [
        (1.5, 1.0, 1.0, 1.0),
        (5.0, 3.0, 2.0, 4.0),
    ]
    assert disagreements(measured) == ["s: peer deviates by 0.5, more than 0.4"]
    assert "| peer | **3x** | 2 ... 4 | 0.5 (tolerance 0.4) |" in markdown(measured)


def test_a_missing_package_is_a_row_and_not_an_error():
    absent = peer("no_such_package.at_all", "the peer", lambda module: Candidate("never", None))
    assert absent.run is None
    measured = measure(Subject("s", [Candidate("ours", lambda: 0), absent], rounds=1))
    assert "| the peer | not run | | | no_such_package is not installed |" in markdown(measured)


def test_a_deviation_that_is_no_number_is_a_disagreement():
    assert disagreements(Measured("s", "", [Row("peer", deviation=math.nan, tolerance=1.0)]))

# SPDX-License-Identifier: Apache-2.0
"""Interleaved timing: A B C A B C ... in one process, by process CPU time, each answer checked against ours.

A neighbour on the machine slows all candidates of a round alike, so only ratios within a round are kept. The ratio of a
candidate is its time divided by ours: above 1 ours is faster. Reported are the median over the rounds and the range.
"""

import importlib
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """One way to do the work of a subject.

    Args:
        name: what a user would call it.
        run: does the work once; None where the package is missing.
        deviation: ``(result of this, result of ours) -> number``, 0 = equal; None: not comparable, ``note`` says why.
        tolerance: largest deviation that is accepted.
        note: remark of the table.
        every: work that one call does, relative to ours (a slow candidate may do a part; its time is divided by this).
    """

    name: str
    run: Callable[[], Any] | None
    deviation: Callable[[Any, Any], float] | None = None
    tolerance: float = 0.0
    note: str = ""
    every: float = 1.0


@dataclass(frozen=True)
class Subject:
    """A part of ours (first candidate) beside its peers."""

    name: str
    candidates: Sequence[Candidate]
    rounds: int = 5
    target: str = ""


@dataclass(frozen=True)
class Row:
    """What was measured of a candidate."""

    name: str
    seconds: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    tolerance: float = 0.0
    note: str = ""


@dataclass
class Measured:
    """Rows of one subject."""

    subject: str
    target: str
    rows: list[Row] = field(default_factory=list)


def cpu_info() -> dict[str, str]:
    """Return the lines of ``/proc/cpuinfo`` for the first core, nothing where there is no such file."""
    info: dict[str, str] = {}
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            info.setdefault(key.strip(), value.strip())
    return info


def processor() -> str:
    """Return the name of the processor."""
    return cpu_info().get("model name", platform.processor())


def peer(package: str, name: str, build: Callable[[Any], Candidate]) -> Candidate:
    """Return ``build(module)``, or a candidate that says that the package is not installed."""
    try:
        return build(importlib.import_module(package))
    except ImportError as error:
        return Candidate(name, None, note=f"{(error.name or package).split('.')[0]} is not installed")


def agreement(subject: Subject) -> dict[str, tuple[float, float]]:
    """Run every candidate once, untimed, and return ``{name: (deviation, tolerance)}`` of the comparable ones."""
    ours, *others = subject.candidates
    assert ours.run is not None
    expected = ours.run()
    found = {}
    for candidate in others:
        if candidate.run is not None and candidate.deviation is not None:
            found[candidate.name] = (float(candidate.deviation(candidate.run(), expected)), candidate.tolerance)
    return found


def measure(subject: Subject, rounds: int | None = None) -> Measured:
    """Time the candidates in turn; the first, untimed round warms caches and compilers up and gives the agreement."""
    running = [candidate for candidate in subject.candidates if candidate.run is not None]
    deviations = agreement(subject)
    times: dict[str, list[float]] = {candidate.name: [] for candidate in running}
    for _ in range(rounds or subject.rounds):
        for candidate in running:
            assert candidate.run is not None
            start = time.process_time()
            candidate.run()
            times[candidate.name].append((time.process_time() - start) / candidate.every)
    ours = times[running[0].name]
    measured = Measured(subject.name, subject.target)
    for candidate in subject.candidates:
        if candidate.run is None:
            measured.rows.append(Row(candidate.name, note=candidate.note))
            continue
        ratios = [other / own for other, own in zip(times[candidate.name], ours, strict=True)]
        deviation, tolerance = deviations.get(candidate.name, (None, 0.0))
        measured.rows.append(
            Row(
                candidate.name, statistics.median(times[candidate.name]), statistics.median(ratios), min(ratios), max(ratios),
                deviation, tolerance, candidate.note,
            )
        )  # fmt: skip
    return measured


def markdown(measured: Measured) -> str:
    """Return the table of one subject."""
    lines = [f"### {measured.subject}", ""]
    if measured.target:
        lines += [f"Target: {measured.target}.", ""]
    lines += ["| candidate | time / ours | range | deviation from ours | remark |", "|---|---|---|---|---|"]
    for number, row in enumerate(measured.rows):
        if row.ratio is None or row.low is None or row.high is None:
            lines.append(f"| {row.name} | not run | | | {row.note} |")
            continue
        time_of = (
            f"1 ({1000 * row.seconds:.3g} ms CPU)"
            if number == 0 and row.seconds is not None
            else f"**{row.ratio:.3g}x**"
        )
        spread = "" if number == 0 else f"{row.low:.3g} ... {row.high:.3g}"
        deviation = "" if row.deviation is None else f"{row.deviation:.2g} (tolerance {row.tolerance:.2g})"
        lines.append(f"| {row.name} | {time_of} | {spread} | {deviation} | {row.note} |")
    return "\n".join(lines) + "\n"


def disagreements(measured: Measured) -> list[str]:
    """Return a sentence for every candidate outside its tolerance."""
    return [
        f"{measured.subject}: {row.name} deviates by {row.deviation:.3g}, more than {row.tolerance:.3g}"
        for row in measured.rows
        if row.deviation is not None and not row.deviation <= row.tolerance
    ]

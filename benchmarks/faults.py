# SPDX-License-Identifier: Apache-2.0
"""The table of faults in docs/robustness.md, read from the tests that provoke them.

A test, or a module of tests by its ``pytestmark``, says which fault it holds::

    @pytest.mark.fault(48, "truncated checkpoint", "the one before is used and named", "foreseen")

number, fault, what happens, and how it was at first: ``foreseen`` (built in from the beginning), ``held`` when it was
tried, ``mended`` (the code was changed for it), or ``unrecorded`` (tried, but nobody noted how it ended). Further tests of
the same fault give its number alone. ``pytest -m fault`` runs them all.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
TRIALS = ("foreseen", "held", "mended", "unrecorded")


@dataclass
class Fault:
    """One row: the first test is the one that describes the fault."""

    number: int
    texts: tuple[str, str, str]
    tests: list[str] = field(default_factory=list)


def faults(tests: Path = TESTS) -> list[Fault]:
    """Return the faults that the tests in a folder hold, by number.

    Raises:
        ValueError: a number that is described twice or never, a gap in the numbers, or an unknown third text.
    """
    found: dict[int, Fault] = {}
    more: list[tuple[int, str]] = []
    for path in sorted(tests.rglob("test_*.py")):
        for (number, *texts), place in _marks(path, path.relative_to(tests).as_posix()):
            if not texts:
                more.append((number, place))
                continue
            fault, answer, trial = texts
            if number in found or trial not in TRIALS:
                raise ValueError(f"{place}: fault {number} is described twice, or {trial!r} is none of {TRIALS}")
            found[number] = Fault(number, (fault, answer, trial), [place])
    for number, place in more:
        if number not in found:
            raise ValueError(f"{place}: no test describes fault {number}")
        found[number].tests.append(place)
    if sorted(found) != list(range(1, len(found) + 1)):
        raise ValueError(f"missing fault {min(set(range(1, len(found) + 1)) - set(found))}")
    return [found[number] for number in sorted(found)]


def fault_table(tests: Path = TESTS) -> str:
    """Return the numbers in a sentence, and the table in Markdown."""
    rows = faults(tests)
    count = Counter(row.texts[2] for row in rows)
    lines = [
        f"{len(rows)} faults, each provoked by the tests that are named. {count['foreseen']} were foreseen; of "
        f"{len(rows) - count['foreseen']} that were tried later, {count['held']} held, {count['mended']} were mended, and of "
        f"{count['unrecorded']} it was not recorded. What held and needed no new test has no row: this is no rate.",
        "",
        "| # | fault | what happens | at first | tested |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        places = ", ".join(f"`{place}`" for place in row.tests)
        lines.append(" | ".join((f"| {row.number}", *row.texts, f"{places} |")))
    return "\n".join(lines) + "\n"


def _marks(path: Path, name: str) -> Iterator[tuple[list, str]]:
    """Yield the arguments of every mark in a module, and the module or test that it is of."""
    text = path.read_text(encoding="utf-8")
    if "mark.fault(" not in text:
        return
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "pytestmark":
            marked, place = [node.value], name
        elif isinstance(node, ast.FunctionDef):
            marked, place = list(node.decorator_list), f"{name}::{node.name}"
        else:
            continue
        for call in (part for one in marked for part in ast.walk(one) if isinstance(part, ast.Call)):
            if ast.unparse(call.func) == "pytest.mark.fault":
                yield [ast.literal_eval(argument) for argument in call.args], place

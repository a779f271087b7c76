# SPDX-License-Identifier: Apache-2.0
"""docs/robustness.md says of every fault which test provokes it; those tests exist, and the numbers are theirs."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) \| (.*?) \| (.*) \| (.*?) \|$", TEXT.split("## The faults")[1], re.MULTILINE)


def test_rows_are_numbered_and_summed_up():
    assert [int(number) for number, *_ in ROWS] == list(range(1, len(ROWS) + 1))
    untested = sum(tests == "-" for *_, tests in ROWS)
    partly = sum(text.startswith("partly") for _, _, text, _ in ROWS)
    assert f"{len(ROWS)} faults: {len(ROWS) - untested} with a test that provokes them, {untested} without" in TEXT
    assert f"{partly} are handled partly" in TEXT


@pytest.mark.parametrize(("number", "fault", "answer", "tests"), ROWS, ids=[row[0] for row in ROWS])
def test_the_tests_of_a_row_exist(number, fault, answer, tests):
    if tests == "-":
        return
    references = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", tests)
    assert len(references) == len(tests.split(", ")), tests
    for file, name in references:
        path = ROOT / "tests" / file
        assert path.is_file(), f"row {number} names tests/{file}"
        functions = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
        assert not name or name in functions, f"row {number} names {name}, which is not in tests/{file}"

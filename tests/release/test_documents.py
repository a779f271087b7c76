# SPDX-License-Identifier: Apache-2.0
"""``docs/robustness.md`` names tests that exist and counts that are true."""

import ast
import re


def test_every_named_test_exists(repository):
    text = (repository / "docs/robustness.md").read_text(encoding="utf-8")
    named = set(re.findall(r"((?:\w+/)?test_\w+\.py)(?:::(\w+))?", text))
    assert len(named) > 50
    assert sum(bool(function) for _, function in named) > 15

    def exists(name, function):
        path = repository / "tests" / name
        return path.is_file() and (not function or f"def {function}(" in path.read_text(encoding="utf-8"))

    assert {one for one in named if not exists(*one)} == set()


def test_every_fault_has_a_row(repository):
    text = (repository / "docs/robustness.md").read_text(encoding="utf-8")
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == list(range(1, 72))


def test_the_number_of_planted_faults_is_that_of_the_document(repository):
    tree = ast.parse((repository / "tests/cohorts/test_gate_planted.py").read_text(encoding="utf-8"))
    (planted,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "FAULTS"
    )
    text = (repository / "docs/robustness.md").read_text(encoding="utf-8")
    assert f"plants {len(planted.keys)} faults" in text
    assert len(planted.keys) >= 40

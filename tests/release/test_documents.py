# SPDX-License-Identifier: Apache-2.0
"""``docs/robustness.md`` counts the planted faults rightly; its rows are held by ``tests/test_robustness.py``."""

import ast


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

# SPDX-License-Identifier: Apache-2.0
"""The table of docs/robustness.md comes from marks of tests; marks that do not fit together are noticed."""

import pytest

from benchmarks.documents import ROOT, filled
from benchmarks.faults import fault_table, faults

DESCRIBED = 'import pytest\n\n\n@pytest.mark.fault({}, "a fault", "a sentence", "{}")\ndef test_it():\n    pass\n'


def test_the_page_holds_the_table_of_today():
    text = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    assert fault_table() in text, "run: python -m benchmarks.documents"
    assert filled("<!-- faults -->\nold\n<!-- /faults -->\n") == f"<!-- faults -->\n{fault_table()}<!-- /faults -->\n"


def test_a_fault_names_all_its_tests_and_the_sum_counts_them(tmp_path):
    (tmp_path / "test_a.py").write_text("import pytest\n\npytestmark = [pytest.mark.fault(1)]\n")
    (tmp_path / "test_b.py").write_text(DESCRIBED.format(1, "held"))
    (tmp_path / "test_c.py").write_text(DESCRIBED.format(2, "foreseen"))
    assert [fault.tests for fault in faults(tmp_path)] == [["test_b.py::test_it", "test_a.py"], ["test_c.py::test_it"]]
    table = fault_table(tmp_path)
    assert "2 faults" in table
    assert "1 were foreseen; of 1 that were tried later, 1 held, 0 were mended, and of 0 it was not recorded" in table
    assert "| 1 | a fault | a sentence | held | `test_b.py::test_it`, `test_a.py` |" in table


@pytest.mark.parametrize(
    ("number", "trial", "reason"),
    [(1, "held", "described twice"), (2, "lucky", "is none of"), (3, "held", "missing fault 2")],
)
def test_marks_that_do_not_fit_together(tmp_path, number, trial, reason):
    (tmp_path / "test_a.py").write_text(DESCRIBED.format(1, "held"))
    (tmp_path / "test_b.py").write_text(DESCRIBED.format(number, trial))
    with pytest.raises(ValueError, match=reason):
        faults(tmp_path)


def test_a_number_without_its_fault(tmp_path):
    (tmp_path / "test_a.py").write_text("import pytest\n\npytestmark = pytest.mark.fault(1)\n")
    with pytest.raises(ValueError, match="no test describes fault 1"):
        faults(tmp_path)

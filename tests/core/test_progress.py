# SPDX-License-Identifier: Apache-2.0
"""Where stderr is no terminal, long work says now and then how far it is, and short work says nothing."""

import pytest

from custom.core.progress import progress


@pytest.mark.parametrize(("every_s", "lines"), [(0.0, ["subjects: 1/2 subject", "subjects: 2/2 subject"]), (1e6, [])])
def test_a_line_now_and_then(every_s, lines, capsys):
    assert list(progress(["a", "b"], desc="subjects", unit="subject", every_s=every_s)) == ["a", "b"]
    assert capsys.readouterr().err.splitlines() == lines


def test_a_number_of_items_that_is_not_known_is_left_out(capsys):
    assert list(progress(iter("a"), desc="files", unit="file", every_s=0.0)) == ["a"]
    assert capsys.readouterr().err == "files: 1 file\n"

# SPDX-License-Identifier: Apache-2.0
import pytest

from custom.errors import DataError, UADError
from custom.workflow.start import find_foreseen, short_traceback


def _wrapped() -> RuntimeError:
    try:
        try:
            raise DataError("the mask is empty", case="IXI002")
        except DataError as cause:
            raise RuntimeError("Failed to instantiate component") from cause
    except RuntimeError as error:
        return error


def test_wrapped_fault_is_found():
    assert isinstance(find_foreseen(_wrapped()), UADError)
    assert find_foreseen(KeyError("defect")) is None


def test_one_sentence_and_exit_code(capsys):
    error = _wrapped()
    with pytest.raises(SystemExit) as left:
        short_traceback(type(error), error, None)
    assert left.value.code == 4
    printed = capsys.readouterr().err
    assert printed == "error: IXI002: the mask is empty\n"


def test_defects_keep_their_traceback(capsys):
    short_traceback(KeyError, KeyError("defect"), None)
    assert "KeyError" in capsys.readouterr().err

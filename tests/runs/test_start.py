# SPDX-License-Identifier: Apache-2.0
import os
import signal

import pytest
import torch

from custom.core.errors import DataError, UADError
from custom.core.foreseen import find_foreseen
from custom.runs.start import short_traceback

pytestmark = [
    pytest.mark.fault(50),
]


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


@pytest.mark.fault(58)
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(28, "No space left on device", "/results/map.npy"), "the disk is full (/results/map.npy)"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full; files"),
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "GPU is full (CUDA out of memory)",
        ),
    ],
)
def test_exhausted_machine_is_foreseen(error, sentence, capsys):
    with pytest.raises(SystemExit) as left:
        short_traceback(type(error), error, None)
    assert left.value.code == 1
    assert sentence in capsys.readouterr().err


class _Killer(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.fault(
    60,
    "killed loader process",
    "there are none by default, volumes lie in memory; with `--num_workers` a sentence that says to leave them out. No second try: what was killed for memory would be killed again",
    "foreseen",
)
def test_killed_loader_process_is_foreseen():
    with pytest.raises(RuntimeError) as left:
        next(iter(torch.utils.data.DataLoader(_Killer(), num_workers=1)))
    assert "--num_workers 0" in str(find_foreseen(left.value))


@pytest.mark.fault(
    57,
    "no GPU",
    "by default the CPU is used and the bars tell the remaining time; a GPU that was asked for and does not exist is a sentence, exit code 1",
    "foreseen",
)
@pytest.mark.skipif(torch.cuda.device_count() > 7, reason="the GPU is there")
def test_missing_gpu_is_foreseen():
    with pytest.raises((RuntimeError, AssertionError)) as left:
        torch.zeros(1, device="cuda:7")
    assert "--device cpu" in str(find_foreseen(left.value))


@pytest.mark.skipif(torch.backends.cuda.is_built(), reason="torch is built with CUDA")
def test_gpu_of_a_cpu_build_is_foreseen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)  # the operator is then looked up and missing
    with pytest.raises(NotImplementedError) as left:
        torch.zeros(1, device="cuda:7")
    assert str(find_foreseen(left.value)).startswith(
        "this machine has no such GPU (Could not run 'aten::empty.memory_format' with arguments from the 'CUDA' backend); "
    )


@pytest.mark.fault(53)
def test_ctrl_c_says_how_to_go_on(capsys):
    with pytest.raises(SystemExit) as left:
        short_traceback(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert left.value.code == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C; finished work is kept, the same command goes on from there.\n"


def test_defects_keep_their_traceback(capsys):
    short_traceback(KeyError, KeyError("defect"), None)
    assert "KeyError" in capsys.readouterr().err

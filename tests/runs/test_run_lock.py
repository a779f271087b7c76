# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys

import pytest

from custom.core.errors import ConfigError
from custom.runs.lock import RunLock

pytestmark = [
    pytest.mark.fault(
        54,
        "two processes in one folder",
        "the second is refused before it writes anything, a dead one never blocks",
        "foreseen",
    ),
]

HOLD = "import sys, time; sys.path.insert(0, {root!r}); from custom.runs.lock import RunLock\n" \
       "lock = RunLock({folder!r}); lock.acquire(); print('held', flush=True); time.sleep(60)"  # fmt: skip


def test_second_process_is_refused_by_name_and_a_dead_one_never_blocks(tmp_path, repository):
    command = [sys.executable, "-c", HOLD.format(root=str(repository), folder=str(tmp_path))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match=f"process {process.pid}.*choose another --output_dir"):
        RunLock(tmp_path).acquire()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with RunLock(tmp_path):
        pass


def test_released_lock_is_free(tmp_path):
    with RunLock(tmp_path), pytest.raises(ConfigError, match="in use"):
        RunLock(tmp_path).acquire()
    with RunLock(tmp_path):
        pass


def test_old_temporary_files_are_removed_by_the_holder_only(tmp_path):
    left = tmp_path / ".tmp-0-model.safetensors"
    with RunLock(tmp_path):
        left.write_bytes(b"half")
        os.utime(left, (0, 0))
        with pytest.raises(ConfigError):
            RunLock(tmp_path).acquire()
        assert left.exists()
    with RunLock(tmp_path):
        assert not left.exists()

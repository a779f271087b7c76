# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

from custom.core.building import building

pytestmark = [
    pytest.mark.fault(92),
]

SCRIPT = """
import sys, time
from custom.core.building import building
with building(sys.argv[1]) as folder:
    (folder / "half").write_text("x")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_the_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out"
    with pytest.raises(RuntimeError), building(target) as folder:
        (folder / "a").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with building(target) as folder:
        (folder / "a").write_text("whole")
        folder.rename(target)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (target / "a").read_text() == "whole"


def test_what_a_killed_builder_left_is_swept_and_a_living_one_is_left_alone(tmp_path, repository):
    target = tmp_path / "out"
    others = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, str(target)], stdout=subprocess.PIPE, cwd=repository)
        for _ in "ab"
    ]
    try:
        for other in others:
            assert other.stdout.readline() == b"ready\n"
        others[0].kill()
        others[0].wait()
        (tmp_path / ".out.mine").mkdir()
        with building(target):
            pass
        assert len(list(tmp_path.glob(".out.*/half"))) == 1
        others[1].kill()
        others[1].wait()
        with building(target):
            pass
        assert [path.name for path in tmp_path.iterdir()] == [".out.mine"]
    finally:
        for other in others:
            other.kill()
            other.wait()
            other.stdout.close()

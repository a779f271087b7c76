# SPDX-License-Identifier: Apache-2.0
"""A preparation that is killed (SIGKILL) before or after any of its files appears, and then goes on, ends as one that was not."""

import os
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from custom.core.digests import file_sha256
from custom.core.files import atomic_write_text
from custom.rawscans import batch, chain
from custom.rawscans.batch import prepare_batch
from custom.rawscans.chain import RawSettings
from custom.rawscans.raw_scan import RawScan
from tests.rawscans.test_rawscans import Quick

SETTINGS = RawSettings("atlas", spacing_mm=2.0)


@pytest.fixture
def scans(tmp_path, monkeypatch) -> list[RawScan]:
    """A small scan with a lesion mask; steps and page are stood in for by quick ones, the files are real."""
    monkeypatch.setattr(chain, "raw_steps", lambda *settings: (Quick(),))
    monkeypatch.setattr(chain, "GRID_SHAPE", (48, 48, 40))
    monkeypatch.setattr(
        batch, "write_quality_page", lambda folder, case, *rest: atomic_write_text(folder / f"{case}.html", case)
    )
    block = np.zeros((30, 30, 30), dtype=np.float32)
    block[4:26, 4:26, 4:26] = np.random.default_rng(1).uniform(1, 9, (22, 22, 22))
    image, seg = tmp_path / "sub-1_T1w.nii.gz", tmp_path / "sub-1_seg.nii.gz"
    nib.Nifti1Image(block, np.diag([5.0, 5, 5, 1])).to_filename(image)
    nib.Nifti1Image((block > 8).astype(np.uint8), np.diag([5.0, 5, 5, 1])).to_filename(seg)
    return [RawScan("sub-1", image, "t1", seg=seg)]


def run(scans: list[RawScan], folder: Path, killed_at: float = float("inf")) -> tuple[int, int]:
    """Prepare in a process of its own; return its status and how many renames it made. Every rename has a half before and after."""
    counter = folder.with_suffix(".renames")
    child = os.fork()
    if child == 0:
        replace, done = os.replace, [0.0]

        def counted(source, target, **named):
            done[0] += 0.5
            if done[0] >= killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target, **named)
            done[0] += 0.5
            if done[0] >= killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = counted
        try:
            prepare_batch(scans, folder, SETTINGS)
            counter.write_text(str(int(done[0])))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return status, int(counter.read_text()) if counter.is_file() else 0


def content(folder: Path) -> dict[str, str]:
    """Digest of every finished file."""
    return {str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_killed_anywhere(scans, tmp_path) -> None:
    status, renames = run(scans, tmp_path / "whole")
    assert status == 0
    wanted = content(tmp_path / "whole")
    moments = [half / 2 for half in range(1, 2 * renames + 1)]
    assert len(moments) >= 18
    for moment in moments:
        folder = tmp_path / f"killed_{moment}"
        assert os.WTERMSIG(run(scans, folder, moment)[0]) == signal.SIGKILL
        assert run(scans, folder)[0] == 0
        found = content(folder)
        assert {name: digest for name, digest in found.items() if name in wanted} == wanted, moment
        left = [name for name in found if name not in wanted]
        assert all(Path(name).name.startswith(".") for name in left), left  # a file that was being written

# SPDX-License-Identifier: Apache-2.0
import os

import pytest
import torch

from custom.reconstruction.cached import CachedReconstruction


class _Counting:
    def __init__(self):
        self.calls = []

    def __call__(self, inputs, network, case_ids):
        self.calls += case_ids
        return inputs * 2


@pytest.fixture
def volumes():
    return torch.rand(2, 1, 4, 4, 3, generator=torch.Generator().manual_seed(0))


def test_second_time_comes_from_disk_bit_for_bit(volumes, tmp_path):
    counting = _Counting()
    cached = CachedReconstruction(counting, tmp_path, {"seed": 1})
    first = cached(volumes, None, ["a", "b"])
    assert torch.equal(first, volumes * 2)
    assert torch.equal(first, CachedReconstruction(counting, tmp_path, {"seed": 1})(volumes, None, ["a", "b"]))
    assert counting.calls == ["a", "b"]


def test_what_a_killed_process_left_long_ago_is_removed(tmp_path):
    for name in (".tmp-0-old.npy", "kept.npy"):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (0, 0))
    CachedReconstruction(_Counting(), tmp_path, {"seed": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["kept.npy"]


def test_other_key_image_or_case_is_made_anew(volumes, tmp_path):
    counting = _Counting()
    CachedReconstruction(counting, tmp_path, {"seed": 1})(volumes[:1], None, ["a"])
    CachedReconstruction(counting, tmp_path, {"seed": 2})(volumes[:1], None, ["a"])
    CachedReconstruction(counting, tmp_path, {"seed": 1})(volumes[1:], None, ["a"])
    CachedReconstruction(counting, tmp_path, {"seed": 1})(volumes[:1], None, ["b"])
    assert counting.calls == ["a", "a", "a", "b"]


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_file_is_made_anew(volumes, tmp_path, damage):
    counting = _Counting()
    cached = CachedReconstruction(counting, tmp_path, {})
    cached(volumes[:1], None, ["a"])
    path = cached.path(volumes[0], "a")
    path.write_bytes(path.read_bytes()[:-7] if damage is None else damage)
    assert torch.equal(cached(volumes[:1], None, ["a"]), volumes[:1] * 2)
    assert counting.calls == ["a", "a"]

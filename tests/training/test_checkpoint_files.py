# SPDX-License-Identifier: Apache-2.0
import hashlib
import json
import os

import pytest
import torch

from custom.core.errors import ConfigError
from custom.training.checkpoint_files import CheckpointFolder, load_objects


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickled_code_with_a_fitting_digest_is_never_run(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.save({"network": torch.ones(1)}, 1, {})
    bad = folder.folder / "iteration_00000002.pt"
    torch.save({"network": _Bomb(tmp_path / "exploded")}, bad)
    bad.with_suffix(".json").write_text(
        json.dumps({"iteration": 2, "sha256": hashlib.sha256(bad.read_bytes()).hexdigest()})
    )
    assert folder.newest()[1]["iteration"] == 1
    assert not (tmp_path / "exploded").exists()


def test_other_network_is_named_by_keys_and_shapes_and_nothing_is_loaded(tmp_path):
    network, other = torch.nn.Linear(2, 3), torch.nn.Linear(4, 3, bias=False)
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ConfigError, match=r"missing: bias; other shapes: weight is \[3, 4\], should be \[3, 2\]"):
        load_objects({"network": network}, {"network": other.state_dict()}, "the checkpoint")
    assert all(torch.equal(value, kept[key]) for key, value in network.state_dict().items())


def test_what_a_killed_process_left_is_cleared(tmp_path):
    (tmp_path / ".tmp-0123456789ab-iteration_00000007.pt").write_bytes(b"half")
    CheckpointFolder(tmp_path).save({"network": torch.ones(1)}, 8, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["iteration_00000008.json", "iteration_00000008.pt"]

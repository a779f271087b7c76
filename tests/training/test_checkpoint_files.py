# SPDX-License-Identifier: Apache-2.0
import os

import pytest
import torch

from custom.core.digests import DamagedFileError, file_sha256, write_checked_json
from custom.core.errors import ConfigError
from custom.training.checkpoint_files import CheckpointFolder, load_objects

pytestmark = [
    pytest.mark.fault(46),
    pytest.mark.fault(47),
    pytest.mark.fault(72),
]


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
    write_checked_json(bad.with_suffix(".json"), {"iteration": 2, "file": bad.name, "sha256": file_sha256(bad)})
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


def test_a_checkpoint_in_the_place_of_another_is_passed_over(tmp_path, caplog):
    folder = CheckpointFolder(tmp_path, keep_last=3)
    for iteration in (1, 2, 3):
        folder.save({"network": torch.full((1,), iteration)}, iteration, {})
    for ending in (".pt", ".json"):
        os.replace(tmp_path / f"iteration_00000001{ending}", tmp_path / f"iteration_00000003{ending}")
    assert folder.newest()[1]["iteration"] == 2
    assert "belongs to iteration_00000001.pt" in caplog.text


def test_a_changed_number_beside_a_checkpoint_is_noticed(tmp_path):
    folder = CheckpointFolder(tmp_path)
    path = folder.save({"network": torch.ones(1)}, 120, {"epoch": 12})
    beside = path.with_suffix(".json")
    beside.write_text(beside.read_text().replace('"iteration": 120', '"iteration": 100'))
    with pytest.raises(DamagedFileError, match="was changed after it was written"):
        folder.load(path)


@pytest.mark.fault(73, "all checkpoints damaged", "refused; the training does not begin anew over them", "unrecorded")
def test_training_does_not_begin_anew_over_damaged_checkpoints(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save({"network": torch.ones(1)}, 1, {}).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"all 1 checkpoint\(s\) .* are damaged"):
        folder.newest()

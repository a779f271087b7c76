# SPDX-License-Identifier: Apache-2.0
import os
import pickle

import pytest
import torch

from custom.core.digests import file_sha256
from custom.core.errors import ConfigError
from custom.models.weights import load_weights, metadata_of, save_weights

pytestmark = [
    pytest.mark.fault(46, "malicious pickle", "refused, nothing runs", "foreseen"),
    pytest.mark.fault(
        47,
        "weights of another network",
        "error with the difference in keys and shapes; contrast comes with the model",
        "foreseen",
    ),
]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def _same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_round_trip(network, tmp_path):
    digest = save_weights(network, tmp_path / "model.safetensors", {"contrast": "t1"})
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    assert not _same(network, other)
    assert _same(network, load_weights(other, tmp_path / "model.safetensors"))
    assert not other.training
    assert digest == file_sha256(tmp_path / "model.safetensors")
    assert metadata_of(tmp_path / "model.safetensors") == {"contrast": "t1"}


def test_equal_weights_and_metadata_are_equal_files(network, tmp_path):
    metadata = {f"setting {letter}": letter for letter in "abcdefgh"}
    digests = {save_weights(network, tmp_path / f"{n}.safetensors", dict(reversed(metadata.items()))) for n in range(5)}
    assert digests == {save_weights(network, tmp_path / "model.safetensors", metadata)}
    assert metadata_of(tmp_path / "model.safetensors") == metadata
    network[0].weight.data[0] += 1
    assert save_weights(network, tmp_path / "model.safetensors", metadata) not in digests


@pytest.mark.parametrize("metadata", [{}, {"contrast": "t1"}])
def test_weights_of_nothing(metadata, tmp_path):
    """A method without a network (thresholding) has a file of weights too."""
    save_weights({}, tmp_path / "model.safetensors", metadata)
    assert metadata_of(tmp_path / "model.safetensors") == metadata
    load_weights(torch.nn.Identity(), tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="missing: weight"):
        load_weights(torch.nn.Linear(1, 1), tmp_path / "model.safetensors")


def test_torch_file_with_and_without_wrapping(network, tmp_path):
    for name, content in (("a.pt", network.state_dict()), ("b.pt", {"model": network.state_dict()})):
        torch.save(content, tmp_path / name)
        other = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
        assert _same(network, load_weights(other, tmp_path / name))


def test_changed_byte_is_noticed(network, tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(network, path, {})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match="sha256 differs"):
        load_weights(network, path)


def test_other_architecture_names_the_difference_and_loads_nothing(network, tmp_path):
    save_weights(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3)), tmp_path / "model.safetensors", {})
    before = [value.clone() for value in network.state_dict().values()]
    with pytest.raises(ConfigError, match=r"missing: 1\.weight.*0\.weight is \[4, 1, 3, 3\], should be \[2, 1, 3, 3\]"):
        load_weights(network, tmp_path / "model.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickle_bomb_runs_nothing(network, tmp_path):
    (tmp_path / "model.pt").write_bytes(pickle.dumps(_Bomb(tmp_path / "boom")))
    torch.save({"model": _Bomb(tmp_path / "boom")}, tmp_path / "wrapped.pt")
    for name in ("model.pt", "wrapped.pt"):
        with pytest.raises(ConfigError, match="cannot be read as weights"):
            load_weights(network, tmp_path / name)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x10\x00\x00\x00\x00\x00\x00\x00{broken json....."])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_damaged_file_is_one_sentence(network, tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        load_weights(network, tmp_path / name)


def test_missing_file(network, tmp_path):
    with pytest.raises(ConfigError, match="no weights at"):
        load_weights(network, tmp_path / "model.safetensors")


@pytest.mark.fault(105, "weights that are no numbers, with a digest that agrees", "not loaded", "unrecorded")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_loaded(network, tmp_path, value):
    state = {
        name: torch.full_like(tensor, value) if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    save_weights(state, tmp_path / "w.safetensors", {})
    with pytest.raises(ConfigError, match="holds weights that are no numbers"):
        load_weights(network, tmp_path / "w.safetensors")


@pytest.mark.fault(
    104,
    "a pointer of Git LFS in the place of weights, `model.json` or another JSON file",
    "named, with `git lfs pull`",
    "unrecorded",
)
def test_a_pointer_of_git_lfs_is_named(network, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(ConfigError, match=r"w\.safetensors is a Git LFS pointer.* git lfs pull"):
        load_weights(network, tmp_path / "w.safetensors", "0" * 64)


def _header(folder, text, data=b""):
    path = folder / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.mark.fault(
    122,
    "safetensors of absurd shapes: overflowing, negative, beyond the file, overlapping, a header without end",
    "one sentence, before any memory is taken",
    "held",
)
@pytest.mark.parametrize(
    "shape", ["[4294967296,4294967296,4]", "[-1]", "[18446744073709551615]", "[1e3]", "[0,9999999999999]", "[3]"]
)
@pytest.mark.parametrize("offsets", ["[0,8]", "[0,0]", "[8,0]", "[0,18446744073709551615]"])
def test_absurd_shapes(network, tmp_path, shape, offsets):
    text = f'{{"0.weight":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}'.encode()
    path = _header(tmp_path, text, bytes(8))
    with pytest.raises(ConfigError, match=r"cannot be read as weights|another network"):
        load_weights(network, path)
    with pytest.raises(ConfigError, match="no whole safetensors file"):
        metadata_of(path)


@pytest.mark.parametrize("length", [2**63, 2**40, 10**8 + 1])
def test_a_header_without_end(network, tmp_path, length):
    path = tmp_path / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        load_weights(network, path)


@pytest.mark.fault(
    123,
    "weights of a terabyte in the place of a small network's",
    "refused by their size, before they are read",
    "mended",
)
def test_weights_far_larger_than_the_network(network, tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as stream:
        stream.truncate(2**40)  # takes no room
    with pytest.raises(ConfigError, match="far more than this network's weights"):
        load_weights(network, path, "0" * 64)


def test_a_folder_whose_name_is_no_utf_8(network, tmp_path):
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    save_weights(network, folder / "model.safetensors", {"contrast": "t1"})
    assert metadata_of(folder / "model.safetensors") == {"contrast": "t1"}
    load_weights(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)), folder / "model.safetensors")

# SPDX-License-Identifier: Apache-2.0
"""Read and write network weights without ever running foreign code.

Weights are safetensors, or a torch file opened with ``weights_only=True``. A network of another shape is an error
that names the difference; nothing is loaded in part.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..core.digests import file_sha256
from ..core.errors import ConfigError, listed
from ..core.files import atomic_write_bytes, refuse_pointer

Network = TypeVar("Network", bound=nn.Module)
_SHOWN = 6
_HEADER_BYTES = 100_000_000  # the longest header of a safetensors file, and more than a pickle adds


def load_weights(network: Network, path: str | Path, sha256: str | None = None) -> Network:
    """Load the state dict in ``path`` into ``network``, set it to evaluation mode and return it.

    Args:
        network: the network to fill; left untouched if anything is wrong.
        path: ``.safetensors``, or ``.pt`` holding a state dict.
        sha256: expected digest of the file; None reads it from ``<path>.sha256`` where that exists.

    Raises:
        ConfigError: missing or damaged file, wrong digest, pickled code, weights that are no numbers, or other keys or shapes
            than the network's.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there are no weights at {path}; train the model first or give the path of its weights.")
    refuse_pointer(path)
    room = 2 * sum(value.nbytes for value in network.state_dict().values()) + _HEADER_BYTES
    if (size := path.stat().st_size) > room:
        raise ConfigError(f"{path} has {size:.3g} bytes, far more than this network's weights; copy it again.")
    beside = path.with_name(path.name + ".sha256")
    expected = sha256 or (beside.read_text(encoding="utf-8").split()[0] if beside.is_file() else None)
    if expected is not None and expected != file_sha256(path):
        raise ConfigError(f"{path} is not the file it should be (its sha256 differs); copy it again from its source.")
    state = read_state_dict(path)
    difference = state_difference(network.state_dict(), state)
    if difference:
        raise ConfigError(f"{path} belongs to another network: {difference}. Use the settings it was trained with.")
    lost = [name for name, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if lost:
        raise ConfigError(f"{path} holds weights that are no numbers ({', '.join(lost[:3])}); train the model again.")
    network.load_state_dict(state)
    return network.eval()


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors in a ``.safetensors`` or ``.pt`` file; code in a pickle is never run."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            with _name_of(path) as name:
                return load_file(name)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader of old files lets whatever its bytes provoke come out
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"{path} cannot be read as weights ({reason}); it is damaged or holds more than tensors. Copy it again, "
            "or use the safetensors file."
        ) from None
    state = state.get("model", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ConfigError(f"{path} holds no state dict of tensors; save network.state_dict().")
    return dict(state)


def save_weights(network: nn.Module | Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> str:
    """Write the weights to ``path`` (safetensors, atomic) and their digest beside it; return the sha256.

    Equal weights and metadata give equal bytes, whatever their order: reconstructions are kept by this digest.

    Args:
        network: network or state dict.
        path: name of the file.
        metadata: strings stored in the header of the file.
    """
    state = network.state_dict() if isinstance(network, nn.Module) else network
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    data = _in_order(save(tensors, dict(metadata) or None))  # of nothing with an empty header, save makes no valid file
    digest = hashlib.sha256(data).hexdigest()
    path = Path(path)
    atomic_write_bytes(path, data)
    atomic_write_bytes(path.with_name(path.name + ".sha256"), f"{digest}  {path.name}\n".encode())
    return digest


def _in_order(data: bytes) -> bytes:
    """Sort the metadata in the header of a safetensors file, whose writer leaves their order to chance."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def state_difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """Say how two state dicts differ in keys and shapes, or return None.

    >>> state_difference({"a": torch.zeros(2)}, {"a": torch.zeros(3), "b": torch.zeros(1)})
    'not in the network: b; other shapes: a is [3], should be [2]'
    """
    shapes = [
        f"{key} is {list(found[key].shape)}, should be {list(value.shape)}"
        for key, value in expected.items()
        if key in found and found[key].shape != value.shape
    ]
    parts = {
        "missing": [key for key in expected if key not in found],
        "not in the network": [key for key in found if key not in expected],
        "other shapes": shapes,
    }
    return "; ".join(f"{name}: {listed(items, _SHOWN)}" for name, items in parts.items() if items) or None


@contextmanager
def _name_of(path: str | Path) -> Iterator[str]:
    """Yield a name of the file that safetensors can take: it knows UTF-8 alone."""
    name = str(path)
    if name.isascii() or name.encode("utf-8", "replace").decode() == name:
        yield name
    else:
        with open(path, "rb") as stream:
            yield f"/dev/fd/{stream.fileno()}"


def metadata_of(path: str | Path) -> dict[str, str]:
    """Return the strings in the header of a safetensors file."""
    try:
        with _name_of(path) as name, safe_open(name, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} is no whole safetensors file ({error}); copy it again.") from error

# SPDX-License-Identifier: Apache-2.0
"""Keep every reconstruction on disk, so that no network pass is ever done twice.

All scores, post-processings and thresholds of an evaluation read the same file, and an interrupted evaluation goes
on where it stopped. A file is used only if it was made with the same ``key`` (weights, seed, noise, t, precision), by the
same version of the code, from the same image, and if it is whole to the last bit; a damaged one is made anew and
mentioned.
"""

import hashlib
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from ..core.digests import DamagedFileError, read_sealed, write_sealed
from ..core.files import remove_left_overs

_LOG = logging.getLogger(__name__)

VERSION = 2  # of the reconstructions themselves: raised when equal settings give other numbers than before


class CachedReconstruction(Inferer):
    """Wrap a reconstruction inferer.

    Args:
        inferer: ``inferer(volumes [B, 1, X, Y, Z], network, case_ids) -> volumes``.
        folder: where ``<hash>.npy`` files (float32, 1.8 MB a case at 96x96x50, sealed) are written.
        key: everything that a reconstruction depends on beside the image; any JSON value.

    >>> from tempfile import TemporaryDirectory
    >>> from custom.reconstruction.slicewise import SlicewiseReconstruction
    >>> volumes = torch.full((1, 1, 8, 8, 4), 0.5)
    >>> with TemporaryDirectory() as folder:
    ...     cached = CachedReconstruction(SlicewiseReconstruction(), folder, key={"seed": 1})
    ...     first = cached(volumes, nn.Identity(), ["case1"])
    ...     second = cached(volumes, nn.Tanh(), ["case1"])  # from disk: this network is not called
    >>> torch.equal(first, second)
    True
    """

    def __init__(self, inferer: Any, folder: str | Path, key: Mapping[str, Any]) -> None:
        self.inferer = inferer
        self.has_mask_channel = bool(getattr(inferer, "has_mask_channel", False))
        self.folder = Path(folder)
        self.key = json.dumps({"version": VERSION, **key}, sort_keys=True, default=str)
        remove_left_overs(self.folder)

    def __call__(self, inputs: Tensor, network: nn.Module, case_ids: Sequence[str]) -> Tensor:
        """Return the reconstructions of ``inputs``, from disk where they are known."""
        plain = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        return torch.stack([self._one(volume, network, name) for volume, name in zip(plain, case_ids, strict=True)])

    def path(self, volume: Tensor, case_id: str) -> Path:
        """Return the file that belongs to the reconstruction of ``volume`` ``[1, X, Y, Z]``."""
        digest = hashlib.sha256(self.key.encode() + case_id.encode() + b"\x1f")
        digest.update(volume.cpu().contiguous().numpy().tobytes())
        return self.folder / f"{digest.hexdigest()[:32]}.npy"

    def _one(self, volume: Tensor, network: nn.Module, case_id: str) -> Tensor:
        path = self.path(volume, case_id)
        if path.exists():
            try:
                data = read_sealed(path, path.stem, "it is made anew.")
                return torch.from_numpy(np.load(io.BytesIO(data), allow_pickle=False)).to(volume.device)
            except DamagedFileError as error:
                _LOG.warning("%s: %s", case_id, error)
        reconstruction: Tensor = self.inferer(volume[None], network, [case_id])[0]
        self.folder.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        np.save(stream, reconstruction.cpu().numpy(), allow_pickle=False)
        write_sealed(path, stream.getvalue(), path.stem)
        return reconstruction

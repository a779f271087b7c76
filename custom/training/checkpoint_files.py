# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on disk: each file is whole or absent, its digest is known, and a damaged one is passed over.

``checkpoints/iteration_00000120.pt`` with ``iteration_00000120.json`` (name, sha256, epoch, metric, own digest) beside it,
written in this order, each by temporary file, fsync and rename. A ``.pt`` without its ``.json`` was never finished; one
with another digest or name is damaged, which is mentioned. Files are opened with ``weights_only=True``.
"""

import errno
import io
import logging
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.digests import DamagedFileError, file_sha256, read_checked_json, write_checked_json
from ..core.errors import ConfigError, DiskFullError, ResourceError
from ..core.files import NO_SPACE, atomic_write_bytes, remove_left_overs
from ..models.weights import state_difference

logger = logging.getLogger(__name__)


class CheckpointFolder:
    """The newest checkpoints and the best one of a training.

    Args:
        folder: made when the first checkpoint is written.
        keep_last: number of newest checkpoints that stay.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     checkpoints = CheckpointFolder(folder, keep_last=1)
    ...     for iteration in (10, 20):
    ...         path = checkpoints.save({"weight": torch.zeros(1)}, iteration, {"epoch": iteration // 10})
    ...     content, info = checkpoints.newest()
    >>> path.name, info["epoch"], content
    ('iteration_00000020.pt', 2, {'weight': tensor([0.])})
    """

    def __init__(self, folder: str | Path, keep_last: int = 2) -> None:
        self.folder = Path(folder)
        self.keep_last = keep_last

    def save(self, content: Mapping[str, Any], iteration: int, info: Mapping[str, Any], best: bool = False) -> Path:
        """Write a checkpoint and drop the oldest ones beyond ``keep_last``.

        Raises:
            ResourceError: the disk is full; everything written before is still whole.
        """
        buffer = io.BytesIO()
        torch.save(dict(content), buffer)
        data = buffer.getvalue()
        path = self.folder / f"{'best' if best else f'iteration_{iteration:08d}'}.pt"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_left_overs(self.folder, older_than_s=0)  # the folder is locked: they are nobody's
            free = shutil.disk_usage(self.folder).free
            if free < len(data) + 1_000_000:
                raise OSError(errno.ENOSPC, f"{free} bytes are free")
            atomic_write_bytes(path, data)
            known = {**info, "iteration": iteration, "file": path.name, "sha256": file_sha256(path)}
            write_checked_json(path.with_suffix(".json"), known)
        except OSError as error:
            fault = DiskFullError if error.errno in NO_SPACE else ResourceError
            raise fault(
                f"the checkpoint of iteration {iteration} could not be written to {self.folder} ({error}); it needs "
                f"{len(data)} bytes. The earlier checkpoints are whole: free some space and start again with the same "
                "--output_dir to go on from them."
            ) from error
        if not best:
            self._drop_old()
        return path

    def newest(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return content and information of the newest whole checkpoint, or None; damaged ones are reported.

        Raises:
            ConfigError: there are checkpoints, and all of them are damaged.
        """
        damaged = 0
        for path in sorted(self.folder.glob("iteration_*.pt"), reverse=True):
            try:
                found = self.load(path)
            except DamagedFileError as error:
                damaged += 1
                logger.warning("%s The checkpoint before it is used.", error)
                continue
            if found is not None:
                return found
            logger.warning("%s was never finished; the checkpoint before it is used.", path)
        if damaged:
            raise ConfigError(
                f"all {damaged} checkpoint(s) in {self.folder} are damaged; restore one from a copy, or choose another "
                "--output_dir (or remove this one) to train from the beginning."
            )
        return None

    def best(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return content and information of the best checkpoint, or None; a damaged one is reported."""
        try:
            return self.load(self.folder / "best.pt")
        except DamagedFileError as error:
            logger.warning("%s", error)
            return None

    def load(self, path: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return content and information of one checkpoint; None if it is missing or was never finished.

        Raises:
            DamagedFileError: it is not what was written.
        """
        beside, remedy = path.with_suffix(".json"), "restore it from a copy."
        if not path.is_file() or not beside.is_file():
            return None
        info = read_checked_json(beside, remedy)
        if info.get("file") != path.name:
            raise DamagedFileError(f"{beside} belongs to {info.get('file')}; {remedy}")
        try:
            if info.get("sha256") == file_sha256(path):
                return torch.load(path, map_location="cpu", weights_only=True), info
        except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise DamagedFileError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}); {remedy}") from error
        raise DamagedFileError(f"{path} is damaged (its digest differs); {remedy}")

    def _drop_old(self) -> None:
        for path in sorted(self.folder.glob("iteration_*.pt"))[: -self.keep_last]:
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def load_objects(objects: Mapping[str, Any], content: Mapping[str, Any], source: str) -> None:
    """Restore every object by its ``load_state_dict``.

    Raises:
        ConfigError: the checkpoint lacks an object, or belongs to another network.
    """
    missing = [name for name in objects if name not in content]
    if missing:
        raise ConfigError(f"{source} holds no {', '.join(missing)}; it was written by another kind of training.")
    for name, item in objects.items():
        difference = state_difference(item.state_dict(), content[name]) if isinstance(item, nn.Module) else None
        try:
            if not difference:
                item.load_state_dict(content[name])
        except (RuntimeError, ValueError, KeyError) as error:
            difference = str(error).splitlines()[0]
        if difference:
            raise ConfigError(
                f"{source} does not fit the {name} of this configuration ({difference}); continue with the settings it was "
                "trained with, or choose another --output_dir."
            )

# SPDX-License-Identifier: Apache-2.0
"""What a kind of file is, and what its makers share.

``make(folder)`` writes the files and returns those that are damaged, and of the same kind those that ``read`` does not look at
(in ``other`` folders, older checkpoints), which may be put in the place of the others.
``read(folder)`` reads all that was written the way the package does and returns it as a value that can be compared.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from custom.preparation.prepare import preparation


@dataclasses.dataclass(frozen=True)
class FileKind:
    """One kind of file: its name in the table, how it is made and how it is read.

    Attributes:
        exchangeable: an exchanged file can be noticed. What a user brings, and records that nothing else refers to, is what
            it is.
    """

    name: str
    make: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    exchangeable: bool = True

    def targets(self, files: list[Path]) -> list[Path]:
        """Return the files that are read."""
        if self.name.endswith("checkpoint"):
            return files[:1]
        return [path for path in files if path.parent.name != "other"]


class Again(Exception):
    """The reader noticed the damage and would make the file again."""


PREPARATION = preparation("standard", shape=(24, 24, 12))


def write_scan(path: Path, seed: int, label: bool = False) -> Path:
    """Write a small scan, or its mask, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(20, 200, (24, 24, 12)).astype(np.int16)
    inside = np.zeros(values.shape, bool)
    inside[3:-3, 3:-3, 2:-2] = True
    nib.save(nib.Nifti1Image((inside if label else values * inside).astype(np.int16), np.diag([2.0, 2, 2, 1])), path)
    return path

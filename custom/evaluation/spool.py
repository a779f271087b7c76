# SPDX-License-Identifier: Apache-2.0
"""Post-processed anomaly maps on disk between the pass that finds thresholds and the pass that applies them.

One float32 ``.npy`` a case and variant (1.8 MB at 96x96x50) keeps the working memory of an evaluation at one volume.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.files import atomic_path


@dataclass(frozen=True)
class CaseInfo:
    """What is known of a case beside its voxels; ``group`` is ``<data set>/<split>``."""

    case_id: str
    group: str
    label: int


class MapSpool:
    """Store arrays by case and name below ``folder``.

    Args:
        folder: made when the first array is stored.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def put(self, case: CaseInfo, name: str, array: NDArray[np.generic]) -> None:
        """Store ``array``; an existing one is replaced."""
        path = self._path(case, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as stream:
            np.save(stream, array, allow_pickle=False)

    def get(self, case: CaseInfo, name: str) -> NDArray[np.generic]:
        """Return what was stored."""
        array: NDArray[np.generic] = np.load(self._path(case, name), allow_pickle=False)
        return array

    def remove(self) -> None:
        """Delete everything stored."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, case: CaseInfo, name: str) -> Path:
        return self.folder / case.group / case.case_id / f"{name.replace('/', '__')}.npy"

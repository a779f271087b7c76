# SPDX-License-Identifier: Apache-2.0
"""Post-processed anomaly maps on disk between the pass that finds thresholds and the pass that applies them.

One float32 ``.npy`` a case and variant (1.8 MB at 96x96x50) keeps the working memory of an evaluation at one volume. A
map that is read is bit for bit the one that was counted: its digest is kept with the counts.
"""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.digests import read_sealed, write_sealed


@dataclass(frozen=True)
class CaseInfo:
    """What is known of a case beside its voxels; ``group`` is ``<data set>/<split>``, ``label`` 0 (healthy) or 1.

    >>> CaseInfo("P1", group="ms/test", label=1).group.split("/")
    ['ms', 'test']
    """

    case_id: str
    group: str
    label: int


class MapSpool:
    """Store arrays by case and name below ``folder``.

    Args:
        folder: made when the first array is stored.

    Attributes:
        digests: of the arrays that were stored, by their names; those that other processes stored may be added.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spool = MapSpool(folder)
    ...     spool.put(CaseInfo("P1", "ms/test", 1), "l1", np.ones((4, 4, 2), np.float32))
    ...     spool.get(CaseInfo("P1", "ms/test", 1), "l1").shape, list(spool.digests)
    ((4, 4, 2), ['ms/test/P1/l1'])
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.digests: dict[str, str] = {}

    def put(self, case: CaseInfo, name: str, array: NDArray[np.generic]) -> None:
        """Store ``array``; an existing one is replaced."""
        path = self._path(case, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        self.digests[_key(case, name)] = write_sealed(path, stream.getvalue(), _key(case, name))

    def get(self, case: CaseInfo, name: str) -> NDArray[np.generic]:
        """Return what was stored.

        Raises:
            DamagedFileError: it is not there any more, or is another one.
        """
        key = _key(case, name)
        remedy = "run the evaluation again, its reconstructions are kept."
        data = read_sealed(self._path(case, name), key, remedy, self.digests.get(key))
        array: NDArray[np.generic] = np.load(io.BytesIO(data), allow_pickle=False)
        return array

    def remove(self) -> None:
        """Delete everything stored."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, case: CaseInfo, name: str) -> Path:
        return self.folder / case.group / case.case_id / f"{name.replace('/', '__')}.npy"


def _key(case: CaseInfo, name: str) -> str:
    return f"{case.group}/{case.case_id}/{name}"

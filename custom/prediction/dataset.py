# SPDX-License-Identifier: Apache-2.0
"""Scans as a dataset in which a broken one is an item with an ``error`` instead of the end of the batch."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset

from ..core.errors import DiskFullError
from ..core.foreseen import find_foreseen
from .find import ScanSource
from .names import shown
from .watch import begin, prepared


class ScanDataset(Dataset[dict[str, Any]]):
    """Prepared scans, one per item.

    ``preprocessing`` is a transform of ``{"image": path, "mask": path or None, "case_id": name}``; ``debug`` lets errors
    through.

    >>> from pathlib import Path
    >>> sources = [ScanSource("sub-1", Path("sub-1.nii.gz")), ScanSource("sub-2", Path("b.nii.gz"), problem="it is listed twice")]
    >>> scans = ScanDataset(sources, preprocessing=lambda data: {**data, "read": True})
    >>> scans[0]["read"], scans[1]["error"]
    (True, 'sub-2: it is listed twice')
    """

    def __init__(self, sources: Sequence[ScanSource], preprocessing: Callable[..., Any], debug: bool = False) -> None:
        self.sources = list(sources)
        self.preprocessing = preprocessing
        self.debug = debug

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> dict[str, Any]:
        source = self.sources[index]
        known = {"index": index, "case_id": source.case_id}
        if source.problem:
            return {**known, "error": f"{source.case_id}: {source.problem}"}
        if (ended := begin(source.path)) is not None:
            return {**known, "error": f"{source.case_id}: {ended}"}
        try:
            return dict(self.preprocessing({**known, **source.as_data()}))
        except Exception as error:
            return {**known, "error": survived(error, source.case_id, self.debug)}
        finally:
            prepared(source.path)


def survived(error: Exception, case_id: str, debug: bool) -> str:
    """Return what the table says about an error that costs one scan; one that ends the batch (a full disk) is raised again."""
    if debug or isinstance(find_foreseen(error), DiskFullError):
        raise error
    return sentence(error, case_id)


def sentence(error: BaseException, case_id: str, remedy: str = "run this scan alone with --debug and report it") -> str:
    """Return what the table says about an error: a foreseen one in its own words, others by kind, message and ``remedy``."""
    foreseen = find_foreseen(error)
    if foreseen is not None:
        text = shown(str(foreseen))
        return text if text.startswith(case_id) else f"{case_id}: {text}"
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    reason = shown(" ".join(str(root).split())[:200])
    return f"{case_id}: unexpected {type(root).__name__} ({reason}); {remedy}"

# SPDX-License-Identifier: Apache-2.0
"""NOVA, a benchmark of rare findings in brain MRI (Bercea et al., NeurIPS 2025). Nothing of it is shipped here.

Its figures come from case reports: any sequence, any plane, the skull is there, some show several panels. It is for
evaluation only; thresholds are calibrated on healthy slices elsewhere, never on it. It is downloaded from Hugging Face
(c-i-ber/Nova, earlier Ano-2090/Nova). Its README states CC BY-NC-SA 4.0, its croissant.json CC BY 4.0; it is treated as the
stricter, and pictures, boxes and captions are never part of this package or of a result.
"""

from collections.abc import Mapping
from types import MappingProxyType

from .records import PictureSet

EXPECTED: Mapping[str | None, tuple[int, int, int]] = MappingProxyType({None: (906, 281, 1068), "T2": (335, 189, 394)})
"""Pictures, cases and agreed boxes: of all, and of those with "T2" in the caption."""


def count_notes(pictures: PictureSet, subset: str | None = None) -> list[str]:
    """Return a sentence if the numbers of the set differ from those known."""
    if subset not in EXPECTED:
        return []
    chosen = pictures.subset(subset).pictures.values()
    found = (len(chosen), len({p.case for p in chosen}), sum(len(p.gold) for p in chosen))
    if found == EXPECTED[subset]:
        return []
    here, there = ("{} pictures, {} cases, {} boxes".format(*numbers) for numbers in (found, EXPECTED[subset]))
    return [f"NOVA{f', {subset}' if subset else ''}: {here}, the benchmark has {there}"]

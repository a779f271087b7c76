# SPDX-License-Identifier: Apache-2.0
"""Which of a picture's boxes hit which of the readers' boxes."""

import numpy as np
from numpy.typing import NDArray


def hits(overlaps: NDArray[np.float64], least: float, only_best: bool) -> NDArray[np.bool_]:
    """Say for each box, in the order given, whether it is a true positive; a reader's box is hit once.

    Args:
        overlaps: ``[predicted, true]``.
        least: overlap from which on a box is a hit.
        only_best: a box can only hit the reader's box that it overlaps most; if an earlier box took that, it is a false
            positive. Otherwise it takes the best of those that are still free.

    >>> hits(np.array([[0.9, 0.0], [0.6, 0.5]]), 0.5, only_best=True), hits(np.array([[0.9, 0.0], [0.6, 0.5]]), 0.5, only_best=False)
    (array([ True, False]), array([ True,  True]))
    """
    free = np.ones(overlaps.shape[1], dtype=bool)
    result = np.zeros(len(overlaps), dtype=bool)
    for number, row in enumerate(overlaps if overlaps.shape[1] else ()):
        best = int(np.argmax(row if only_best else np.where(free, row, -1.0)))
        if free[best] and row[best] >= least:
            free[best] = False
            result[number] = True
    return result

# SPDX-License-Identifier: Apache-2.0
"""The one place where axes are flipped and exchanged."""

from dataclasses import dataclass

import numpy as np

from ..volumes.resampling import to_closest_ras
from .subject import Subject


@dataclass(frozen=True)
class Orient:
    """Turn the axes until they point as nearly right, anterior, superior as they can; nothing is interpolated.

    >>> image = np.array([[[1.0]], [[2.0]]], np.float32)
    >>> subject = Orient()(Subject("case1", image, np.diag([-1.0, 1, 1, 1])))  # the first axis points left
    >>> subject.image.ravel().tolist(), subject.affine[0].tolist()
    ([2.0, 1.0], [1.0, 0.0, 0.0, -1.0])
    """

    def __call__(self, subject: Subject) -> Subject:
        """Return the subject in RAS axes; the third axis of a two-dimensional image stays the third."""
        if subject.is_flat and abs(np.linalg.inv(subject.affine)[2, :3]).argmax() != 2:
            return subject  # a sagittal or coronal picture keeps its plane
        image, affine = to_closest_ras(subject.image, subject.affine)
        labels = subject.labels(lambda label: to_closest_ras(label, subject.affine)[0])
        return subject.replaced(image=np.asarray(image, np.float32), affine=affine, **labels)

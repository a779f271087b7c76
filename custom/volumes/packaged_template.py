# SPDX-License-Identifier: Apache-2.0
"""The ICBM152 2009a symmetric average brain at 2 mm, which this package carries: T1, grey and white matter, brain mask.

Made from the maps (1 mm, brain extracted) that nilearn packages: mean over cells of 2x2x2 voxels; the mask is the largest
part with signal and tissue, holes filled. Its space is MNI152NLin2009aSym. Source: Fonov et al., NeuroImage 54(1), 2011,
doi 10.1016/j.neuroimage.2010.07.033; the licence lies beside the file.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SPACE = "MNI152NLin2009aSym"
_FILE = Path(__file__).parent / "template" / "icbm152_2009a_sym_2mm.nii.gz"


@dataclass(frozen=True, eq=False)
class BrainTemplate:
    """Average brain at 2 mm.

    Attributes:
        t1: ``[X, Y, Z]`` float32 in [0, 1], zero outside the brain; the faintest voxels of its rim lie outside ``mask``.
        grey, white: tissue probabilities in [0, 1], same grid.
        mask: brain without holes, bool.
        affine: voxels to template space (RAS, mm).

    >>> template = brain_template()
    >>> template.t1.shape == template.mask.shape, np.diag(template.affine).tolist()
    (True, [2.0, 2.0, 2.0, 1.0])
    """

    t1: NDArray[np.float32]
    grey: NDArray[np.float32]
    white: NDArray[np.float32]
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]


@lru_cache(maxsize=1)
def brain_template() -> BrainTemplate:
    """Read the template, once per process."""
    image = nib.load(_FILE)
    volumes = np.asarray(image.dataobj)
    t1, grey, white = (np.ascontiguousarray(volumes[..., k], dtype=np.float32) / np.float32(255) for k in range(3))
    return BrainTemplate(t1, grey, white, volumes[..., 3] > 0, np.asarray(image.affine, dtype=np.float64))

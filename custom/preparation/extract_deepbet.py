# SPDX-License-Identifier: Apache-2.0
"""Brain extraction by deepbet (Fisch et al., Computers in Biology and Medicine 179, 2024), whose wheel has its weights.

The two TorchScript files are compared with their SHA-256 before they are loaded: such a file is a program. deepbet was
trained on T1 scans of healthy adults; it works on T2 and FLAIR too, and cuts off part of dark lesions at the surface.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.digests import file_sha256
from ..core.errors import ConfigError
from ..volumes.resampling import Affine, Floats

WEIGHTS_SHA256 = {
    "model.pt": "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
    "bbox_model.pt": "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
}
PROBABILITY = 0.5  # of brain, above which a voxel counts
INSTALL = "pip install 'uad-brain-mri[strip-fast]' (deepbet, 10 MB)"


def deepbet_weights() -> tuple[Path, ...] | None:
    """Return the weight files of the installed wheel, or None."""
    spec = find_spec("deepbet")
    if spec is None or spec.origin is None:
        return None
    paths = tuple(Path(spec.origin).parents[1] / "data" / "models" / name for name in WEIGHTS_SHA256)
    return paths if all(path.is_file() for path in paths) else None


def deepbet(image: Floats, affine: Affine, case: str) -> NDArray[np.bool_]:
    """Return the brain mask of ``image`` ``[X, Y, Z]`` whose axes point right, anterior, superior."""
    paths = deepbet_weights()
    if paths is None:
        raise ConfigError(f"the extractor deepbet is not installed: {INSTALL}")
    for path in paths:
        if file_sha256(path) != WEIGHTS_SHA256[path.name]:
            raise ConfigError(f"{path} is not the file that this package knows; install deepbet 1.0.2 again")
    from deepbet.bet import BrainExtraction

    network = BrainExtraction(no_gpu=True, model_path=str(paths[0]), bbox_model_path=str(paths[1]))
    mask = network.run_model(np.ascontiguousarray(image, dtype=np.float32).copy()) > PROBABILITY
    return np.asarray(network.postprocess(mask), dtype=bool)

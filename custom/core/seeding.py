# SPDX-License-Identifier: Apache-2.0
"""Counter-based randomness: every draw has a name, and its seed is a hash of that name.

Nothing depends on how often a global generator was used before. The noise of a test volume is a function of
``(seed, case_id)``, that of a training step a function of ``(seed, iteration)``; the order of cases, the number of
workers and an interruption with resumption therefore change nothing.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on all ``parts`` and their order (SHA-256, stable over processes and platforms).

    >>> derive_seed(0, "case1") == derive_seed(0, "case1") != derive_seed("case1", 0)
    True
    """
    digest = hashlib.sha256("\x1f".join(f"{type(part).__name__}:{part}" for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on ``device`` that starts at ``derive_seed(*parts)``."""
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))


@contextmanager
def kept_generators() -> Iterator[None]:
    """Give the global generators of Python, NumPy and torch (CPU) back as they were, whatever is drawn inside.

    A network that is built draws weights, although others are loaded into it afterwards.
    """
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        torch.set_rng_state(kept[2])


def sent_to(drawn: Tensor, device: torch.device) -> Tensor:
    """Return numbers drawn on the host on ``device``; neither the host nor a GPU waits for the copy.

    A GPU copies from pinned memory by itself; from ordinary memory, the host would first wait until the GPU has done all
    that it was given before.
    """
    on_gpu = device.type == "cuda"
    if on_gpu and drawn.device.type == "cpu":
        drawn = drawn.pin_memory()
    return drawn.to(device, non_blocking=on_gpu)

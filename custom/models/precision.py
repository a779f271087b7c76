# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of the network's forward pass.

MONAI's trainers autocast for CUDA only; bfloat16 needs no gradient scaling and works on CPUs too, so the inferers
apply it themselves. float16 needs the trainer's scaler: use ``amp`` of ``SupervisedTrainer`` for that.
"""

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum

import torch

from ..core.errors import ConfigError


class Precision(StrEnum):
    """Options of the ``precision`` knob.

    >>> Precision.of("fp32").autocast(torch.device("cpu")) is not None, str(Precision.of("bf16"))
    (True, 'bf16')
    """

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"

    @classmethod
    def of(cls, name: str) -> "Precision":
        """Return the option called ``name``; ``"auto"`` takes bf16 where the hardware computes it natively, else fp32.

        Raises:
            ConfigError: no such option.
        """
        if name == "auto":
            return cls.BF16 if _has_native_bfloat16() else cls.FP32
        try:
            return cls(name)
        except ValueError:
            raise ConfigError(
                f"precision '{name}' is unknown; choose one of auto, {', '.join(p.value for p in cls)}."
            ) from None

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Context in which the network runs on ``device``; fp32 (and float16 in training) leaves things as they are."""
        if self is Precision.BF16:
            return torch.autocast(device.type, dtype=torch.bfloat16)
        if self is Precision.FP16 and device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.float16)
        return nullcontext()


def _has_native_bfloat16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and "avx512_bf16" in _cpu_flags()


def _cpu_flags() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii") as stream:
            return next((line for line in stream if line.startswith("flags")), "")
    except OSError:
        return ""

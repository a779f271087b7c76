# SPDX-License-Identifier: Apache-2.0
"""Noise schedules and reverse chains; importing the package registers ``cosine_float64`` with MONAI."""

from .noise_scheduler import NoiseDDPMScheduler, cosine_float64

__all__ = ["NoiseDDPMScheduler", "cosine_float64"]

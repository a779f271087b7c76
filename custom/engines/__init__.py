# SPDX-License-Identifier: Apache-2.0
"""What an Ignite engine of MONAI needs to train and validate reconstruction models; there is no trainer of our own."""

from .case_batch import CasePrepareBatch
from .prepare_batch import DenoisingPrepareBatch, DiffusionPrepareBatch, ReconstructionPrepareBatch

__all__ = ["CasePrepareBatch", "DenoisingPrepareBatch", "DiffusionPrepareBatch", "ReconstructionPrepareBatch"]

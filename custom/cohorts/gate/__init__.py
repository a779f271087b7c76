# SPDX-License-Identifier: Apache-2.0
"""The integrity gate: every fault of a data root in one table, before anything is trained or scored on it."""

from ...core.codes import CODES
from .checking import Checked, check, gate_splits
from .fault import Fault
from .repair import repair
from .table import table

__all__ = ["CODES", "Checked", "Fault", "check", "gate_splits", "repair", "table"]

# SPDX-License-Identifier: Apache-2.0
"""Experiment tracking that never stops a run: a local outbox is the truth, MLflow receives copies of it."""

from .outbox import Outbox
from .sync import default_uri, sync_outbox

__all__ = ["Outbox", "default_uri", "sync_outbox"]

# SPDX-License-Identifier: Apache-2.0
"""Score one shard of an evaluation and leave the measuring to the merging run, see :mod:`custom.evaluation.shards`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from .scoring_handler import AnomalyScoringHandler
from .shards import save_shard

logger = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class ShardScoringHandler(AnomalyScoringHandler):
    """Attach to an evaluator that sees the scans of one shard; other shards may work in the same folder.

    Args:
        collector: keeps maps and histograms.
        plan: the groups.
        folder: common to all shards.
        shard, num_shards: number of this shard, from 0, and of all.
        key: everything that the maps depend on beside the scans.

    >>> import tempfile
    >>> from custom.evaluation import EvaluationPlan, MapCollector
    >>> from custom.postprocessing import none
    >>> from custom.scoring import l1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     collector = MapCollector({"l1": l1}, {"none": none()}, f"{folder}/maps", spacing_mm=(2, 2, 2))
    ...     plan = EvaluationPlan({"ms/test": None}, "ixi/val")
    ...     handler = ShardScoringHandler(collector, plan, folder=folder, shard=0, num_shards=2, key={"seed": 1})
    ...     handler.save(Engine(lambda engine, batch: None))  # as at the end of an evaluator that it is attached to
    ...     [path.name for path in Path(folder).glob("*.pt")]
    ['shard_0000_of_0002.pt']
    """

    folder: str | Path
    shard: int
    num_shards: int
    key: Mapping[str, Any]

    def attach(self, engine: Engine) -> None:
        """Register the handler with ``engine``."""
        engine.add_event_handler(Events.STARTED, lambda _: self.collector.forget())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        """Write what the merging run needs."""
        path = save_shard(self.collector, self.folder, self.shard, self.num_shards, self.key)
        logger.info("shard %d of %d: %d scans, %s", self.shard, self.num_shards, len(self.collector.cases), path)

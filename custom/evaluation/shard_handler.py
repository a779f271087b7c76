# SPDX-License-Identifier: Apache-2.0
"""Score one shard of an evaluation and leave the measuring to the merging run, see :mod:`custom.evaluation.shards`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from .collector import MapCollector
from .plan import EvaluationPlan
from .scoring_handler import AnomalyScoringHandler
from .shards import save_shard

logger = logging.getLogger(__name__)


class ShardScoringHandler(AnomalyScoringHandler):
    """Attach to an evaluator that sees the scans of one shard; other shards may work in the same folder.

    Args:
        collector: keeps maps and histograms.
        plan: the groups.
        folder: common to all shards.
        shard: number of this shard.
        num_shards: number of shards.
        key: everything that the maps depend on beside the scans.

    >>> import tempfile
    >>> from custom.postprocessing import none
    >>> from custom.scoring import l1
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     collector = MapCollector({"l1": l1}, {"none": none()}, f"{folder}/maps", spacing_mm=(2, 2, 2))
    ...     plan = EvaluationPlan({"ms/test": None}, "ixi/val")
    ...     handler = ShardScoringHandler(collector, plan, folder, shard=0, num_shards=2, key={"seed": 1})
    ...     handler.save(Engine(lambda engine, batch: None))  # as at the end of an evaluator that it is attached to
    ...     [path.name for path in Path(folder).glob("*.pt")]
    ['shard_0000_of_0002.pt']
    """

    def __init__(
        self,
        collector: MapCollector,
        plan: EvaluationPlan,
        folder: str | Path,
        shard: int,
        num_shards: int,
        key: Mapping[str, Any],
    ) -> None:
        super().__init__(collector, plan, reporters=())
        self.folder, self.shard, self.num_shards, self.key = Path(folder), shard, num_shards, key

    def attach(self, engine: Engine) -> None:
        """Register the handler with ``engine``."""
        engine.add_event_handler(Events.STARTED, lambda _: self.collector.forget())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, engine: Engine) -> None:
        """Write what the merging run needs."""
        path = save_shard(self.collector, self.folder, self.shard, self.num_shards, self.key)
        logger.info("shard %d of %d: %d scans, %s", self.shard, self.num_shards, len(self.collector.cases), path)

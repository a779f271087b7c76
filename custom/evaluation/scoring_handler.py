# SPDX-License-Identifier: Apache-2.0
"""The SSIM-ens handler: turns an Ignite evaluator that reconstructs volumes into a scored benchmark.

Attached to MONAI's ``SupervisedEvaluator``, it takes image, reconstruction, brain mask and segmentation of every
case, makes the anomaly maps of all scores, post-processes them, and at the end freezes the thresholds, computes the
metrics and writes the results. Which scores, post-processings and groups stands in the configuration (SSIM-ens,
Behrendt et al., ISBI 2024, is the default score of the bundles). The memory used is that of one volume plus
histograms; maps wait on disk.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ..scoring import Reconstructions
from .collector import MapCollector
from .healthy_scores import finish_healthy_scores
from .plan import EvaluationPlan
from .spool import CaseInfo

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class AnomalyScoringHandler:
    """Score the cases of an evaluator.

    Args:
        collector: makes the maps of the configured scores and post-processings and keeps them and their histograms.
        plan: the groups, see :class:`~custom.evaluation.plan.EvaluationPlan`.
        reporters: callables ``report(collector, plan)`` run at the end in this order; each returns a dictionary that
            is added to ``engine.state.metrics`` or None.

    >>> import tempfile
    >>> from custom.postprocessing import none
    >>> from custom.scoring import l1
    >>> volume = torch.full((1, 1, 6, 6, 6), 0.5)
    >>> batch = {"image": volume, "mask": volume > 0, "seg": volume > 1, "case_id": ["H1"], "role": ["ixi/val"], "label": [0]}
    >>> engine = Engine(lambda engine, batch: {"pred": batch["image"]})  # in a bundle, MONAI's SupervisedEvaluator
    >>> engine.inferer = None
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     collector = MapCollector({"l1": l1}, {"none": none()}, folder, spacing_mm=(2, 2, 2))
    ...     plan = EvaluationPlan({"ms/test": None}, "ixi/val")
    ...     AnomalyScoringHandler(collector, plan, [lambda found, plan: {"scans": len(found.cases)}]).attach(engine)
    ...     engine.run([batch]).metrics
    {'scans': 1}
    """

    collector: MapCollector
    plan: EvaluationPlan
    reporters: Sequence[Callable[[MapCollector, EvaluationPlan], Mapping[str, float] | None]] = ()

    def attach(self, engine: Engine) -> None:
        """Register the handler with ``engine``."""
        engine.add_event_handler(Events.STARTED, lambda _: self.collector.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.report)

    def collect(self, engine: Engine) -> None:
        """Score the cases of the iteration that has just ended."""
        batch = engine.state.batch
        outputs = engine.state.output if isinstance(engine.state.output, list) else [engine.state.output]
        predictions: list[Tensor] = [p for output in outputs for p in _unbatched(output["pred"], len(outputs) > 1)]
        has_mask = bool(getattr(engine.inferer, "has_mask_channel", False))
        for index, channels in enumerate(predictions):
            case = CaseInfo(batch["case_id"][index], batch["role"][index], int(batch["label"][index]))
            self.collector.add(
                case,
                image=_plain(batch["image"][index][0]).to(channels.device, torch.float32),
                reconstruction=Reconstructions.from_channels(channels, has_mask),
                mask=_plain(batch["mask"][index][0]),
                seg=_plain(batch["seg"][index][0]),
            )

    def report(self, engine: Engine) -> None:
        """Freeze thresholds, compute metrics, write results."""
        finish_healthy_scores(self.collector, self.plan)
        for reporter in self.reporters:
            engine.state.metrics.update(reporter(self.collector, self.plan) or {})
        self.collector.spool.remove()


def _unbatched(prediction: Tensor, decollated: bool) -> list[Tensor]:
    prediction = _plain(prediction)
    return [prediction] if decollated or prediction.ndim == 4 else list(prediction)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor

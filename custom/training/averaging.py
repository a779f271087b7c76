# SPDX-License-Identifier: Apache-2.0
"""Exponential moving average of the weights (AnoDDPM: decay 0.9999 over long trainings).

Ignite's ``EMAHandler`` averages too, but neither saves its warm-up nor swaps its weights in for a validation. The
decay grows from 0.1 to its final value as (1 + n) / (10 + n), so that short trainings are not held by their
initialisation (the rule of TensorFlow's ``ExponentialMovingAverage``).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AveragedWeights:
    """Attach to a ``SupervisedTrainer``; updated after every optimiser step.

    Args:
        network: the network that is trained (not wrapped for distribution or compilation).
        decay: final decay per step in [0, 1); 0 follows the network exactly.

    >>> network = nn.Linear(1, 1)
    >>> average = AveragedWeights(network, decay=0.9)
    >>> average.update()
    >>> with average.swapped_in():
    ...     pass  # the network has the averaged weights here
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = network
        self.decay = decay
        self.steps = 0
        self.average: dict[str, Tensor] = {k: v.detach().clone() for k, v in network.state_dict().items()}

    def attach(self, engine: Engine) -> None:
        """Register with the trainer, before any handler that saves."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: self.update())

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the network's present weights; integer buffers are copied."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        averages, values = [], []
        for name, value in self.network.state_dict().items():
            average = self.average[name]
            if average.is_floating_point():
                averages.append(average)
                values.append(value.to(average.device))
            else:
                average.copy_(value)
        get_ema_multi_avg_fn(decay)(averages, values, None)  # type: ignore[no-untyped-call]  # few kernels for all

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Let the network have the averaged weights within a ``with`` block."""
        kept = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        try:
            yield
        finally:
            self.network.load_state_dict(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return average and number of steps."""
        return {"average": dict(self.average), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.steps = int(state["steps"])
        if state["average"].keys() != self.average.keys():
            raise ValueError("the averaged weights belong to another network")
        for name, value in state["average"].items():
            self.average[name].copy_(value)

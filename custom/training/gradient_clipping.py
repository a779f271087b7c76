# SPDX-License-Identifier: Apache-2.0
"""Clip the gradient's norm between the backward pass and the optimiser step (AnoDDPM clips at 1)."""

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents


class GradientClipping:
    """Attach to a ``SupervisedTrainer``; gradients of a float16 run are unscaled first.

    Args:
        max_norm: largest L2 norm over all parameters; None or 0 switches clipping off.

    >>> from types import SimpleNamespace
    >>> network = torch.nn.Linear(1, 1, bias=False)
    >>> network.weight.grad = torch.tensor([[3.0]])
    >>> GradientClipping(max_norm=1.0)(SimpleNamespace(network=network, amp=False))
    >>> round(network.weight.grad.item(), 3)
    1.0
    """

    def __init__(self, max_norm: float | None) -> None:
        self.max_norm = max_norm or 0.0

    def attach(self, engine: Engine) -> None:
        """Register the handler with ``engine``."""
        if self.max_norm:
            engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip the gradients of the step under way."""
        if engine.amp and engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        torch.nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_norm)

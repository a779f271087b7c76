# SPDX-License-Identifier: Apache-2.0
"""Gradient accumulation within a step: a batch goes through the network in pieces, so that it needs less memory."""

from contextlib import nullcontext
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..core.errors import ConfigError


class MicroBatchStep:
    """``iteration_update`` of a MONAI ``SupervisedTrainer``: one optimiser step for the whole batch, whatever the size of its pieces.

    The batch is prepared once, so augmentation, noise and timesteps are those of the undivided step; the gradient is the same
    to rounding for a loss that is a mean over the batch. (MONAI's ``accumulation_steps`` adds up several batches of the
    loader instead, and counts each as an iteration.)

    Args:
        size: slices in a piece.

    >>> from types import SimpleNamespace
    >>> from monai.engines import SupervisedTrainer
    >>> network, loss = torch.nn.Linear(1, 1), torch.nn.MSELoss()
    >>> batches = [{"image": torch.ones(5, 1), "label": torch.zeros(5, 1)}]
    >>> optimizer = SimpleNamespace(zero_grad=lambda set_to_none: None, step=lambda: sizes.append("step"))
    >>> sizes = []
    >>> _ = network.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    >>> step = MicroBatchStep(size=2)
    >>> SupervisedTrainer("cpu", 1, batches, network, optimizer, loss, iteration_update=step).run()
    >>> sizes
    [2, 2, 1, 'step']
    """

    def __init__(self, size: int) -> None:
        self.size = int(size)

    def __call__(self, engine: Any, batchdata: Any) -> dict[str, Any]:
        """Return image, label, prediction and loss of the batch, as the trainer's own step does.

        Raises:
            ConfigError: layers normalise over the batch, so pieces would be another network.
        """
        inputs, targets, *rest = engine.prepare_batch(
            batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs
        )
        arguments, keywords = rest if rest else ((), {})
        output: dict[str, Any] = {CommonKeys.IMAGE: inputs, CommonKeys.LABEL: targets}
        engine.state.output = output
        engine.network.train()
        if any(isinstance(layer, _BatchNorm) and layer.training for layer in engine.network.modules()):
            raise ConfigError("this network normalises over the batch; leave --micro_batch_size out.")
        engine.optimizer.zero_grad(set_to_none=engine.optim_set_to_none)
        scaler = engine.scaler if engine.amp else None
        predictions, losses = [], []
        for rows in (slice(start, start + self.size) for start in range(0, len(inputs), self.size)):
            with torch.autocast("cuda", **engine.amp_kwargs) if scaler is not None else nullcontext():
                prediction = engine.inferer(
                    inputs[rows],
                    engine.network,
                    *(_piece(value, rows, len(inputs)) for value in arguments),
                    **{name: _piece(value, rows, len(inputs)) for name, value in keywords.items()},
                )
                loss = engine.loss_function(prediction, targets[rows]).mean() * (len(inputs[rows]) / len(inputs))
            (loss if scaler is None else scaler.scale(loss)).backward()
            predictions.append(prediction.detach())
            losses.append(loss.detach())
        output[CommonKeys.PRED], output[CommonKeys.LOSS] = torch.cat(predictions), torch.stack(losses).sum()
        self._step(engine, scaler)
        return output

    def _step(self, engine: Engine | Any, scaler: Any) -> None:
        for event in (IterationEvents.FORWARD_COMPLETED, IterationEvents.LOSS_COMPLETED):
            engine.fire_event(event)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if scaler is None:
            engine.optimizer.step()
        else:
            scaler.step(engine.optimizer)
            scaler.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)


def _piece(value: Any, rows: slice, batch: int) -> Any:
    """Return the rows of what there is one of per slice, and anything else as it is."""
    return value[rows] if isinstance(value, Tensor) and value.ndim and len(value) == batch else value

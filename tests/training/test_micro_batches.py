# SPDX-License-Identifier: Apache-2.0
"""A step in pieces is the step of the whole batch."""

import pytest
import torch
from ignite.engine import Events
from monai.engines import IterationEvents, SupervisedTrainer
from monai.inferers import SimpleInferer

from custom.core.errors import ConfigError
from custom.training.gradient_clipping import GradientClipping
from custom.training.micro_batches import MicroBatchStep

pytestmark = [
    pytest.mark.fault(103),
]


class _Shifted(torch.nn.Module):
    """Convolutions and a value per slice that is added."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(4, 1, 3, padding=1)
        )
        self.norm = torch.nn.BatchNorm2d(1) if norm else torch.nn.Identity()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        return self.norm(self.layers(x) + shift[:, None, None, None])


def _trained(size: int | None, norm: bool = False) -> tuple[_Shifted, list[float], list[str]]:
    torch.manual_seed(0)
    network = _Shifted(norm)
    batches = [{"image": torch.randn(7, 1, 8, 8), "shift": torch.randn(7)} for _ in range(3)]
    events: list[str] = []
    losses: list[float] = []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"), max_epochs=2, train_data_loader=batches, network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.01), loss_function=torch.nn.L1Loss(),
        prepare_batch=lambda batch, device, non_blocking: (batch["image"], batch["image"].flip(2), (), {"shift": batch["shift"]}),
        inferer=SimpleInferer(), iteration_update=None if size is None else MicroBatchStep(size), decollate=False,
        train_handlers=[GradientClipping(0.05)],
    )  # fmt: skip
    for event in IterationEvents:
        trainer.add_event_handler(event, lambda engine, name=event.value: events.append(name))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(float(engine.state.output["loss"]))
    )
    trainer.run()
    assert trainer.state.output["pred"].shape == (7, 1, 8, 8)
    return network, losses, events


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_pieces_give_the_training_of_the_whole_batch(size) -> None:
    whole, losses, events = _trained(None)
    pieces, same_losses, same_events = _trained(size)
    assert max(pieces.seen) == min(size, 7)
    assert same_losses == pytest.approx(losses, rel=1e-5)
    assert same_events == events
    for one, other in zip(whole.parameters(), pieces.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_networks_that_normalise_over_the_batch_are_refused() -> None:
    with pytest.raises(ConfigError, match="normalises over the batch; leave --micro_batch_size out"):
        _trained(3, norm=True)

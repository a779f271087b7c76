# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from monai.engines import SupervisedTrainer

from custom.training.gradient_clipping import GradientClipping


@pytest.mark.parametrize(("max_norm", "expected"), [(0.5, 0.5), (None, 4.0), (100.0, 4.0)])
def test_step_length_is_the_clipped_norm(max_norm, expected):
    network = torch.nn.Linear(1, 1, bias=False)
    before = network.weight.item()
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[{"image": torch.ones(1, 1), "label": torch.zeros(1, 1)}],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        loss_function=lambda prediction, _: prediction * 4,  # gradient 4
        train_handlers=[GradientClipping(max_norm)],
        decollate=False,
    )
    trainer.run()
    assert before - network.weight.item() == pytest.approx(expected, rel=1e-5)

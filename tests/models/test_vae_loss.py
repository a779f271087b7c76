# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from torch.distributions import Independent, Normal
from torch.distributions.kl import kl_divergence as torch_kl

from custom.core.errors import ConfigError
from custom.models.baur_autoencoder import BaurAutoencoder, VariationalOutput
from custom.models.vae_loss import EvidenceLowerBound, kl_divergence


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 40))
def test_divergence_equals_torch_distributions(seed, batch, latent):
    generator = torch.Generator().manual_seed(seed)
    mu, log_sigma = torch.randn(2, batch, latent, generator=generator, dtype=torch.float64)
    posterior = Independent(Normal(mu, log_sigma.exp()), 1)
    prior = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    torch.testing.assert_close(kl_divergence(mu, log_sigma), torch_kl(posterior, prior))


def test_divergence_vanishes_only_at_the_prior():
    assert kl_divergence(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0
    assert kl_divergence(torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2)).item() == pytest.approx(2.0)  # mu^2 / 2


@pytest.mark.parametrize(
    ("reconstruction", "reduction", "error"),
    [("l1", "mean", 0.5), ("l2", "mean", 0.25), ("l1", "sum", 0.5 * 12), ("l2", "sum", 0.25 * 12)],
)
@pytest.mark.parametrize("beta", [0.0, 0.001, 2.0])
def test_loss_is_error_plus_weighted_divergence(reconstruction, reduction, error, beta):
    target = torch.rand(5, 1, 3, 4)
    mu = torch.zeros(5, 2)
    mu[0, 0] = 2.0  # divergence 2 for one of five images
    output = VariationalOutput(target + 0.5, mu, torch.zeros(5, 2))
    loss = EvidenceLowerBound(beta, reconstruction, reduction)(output, target)
    assert loss.item() == pytest.approx(error + beta * 2.0 / 5, rel=1e-5)


def test_a_plain_reconstruction_is_refused():
    with pytest.raises(ConfigError, match="variational=True"):
        EvidenceLowerBound(0.001)(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4))


@pytest.mark.parametrize("arguments", [(-1.0,), (1.0, "l3"), (1.0, "l1", "none")])
def test_unknown_options_are_refused(arguments):
    with pytest.raises(ConfigError, match="EvidenceLowerBound takes"):
        EvidenceLowerBound(*arguments)


def test_monais_trainer_takes_network_and_loss_as_they_are():
    torch.manual_seed(0)
    network = BaurAutoencoder(16, latent_size=4, min_channels=4, max_channels=8, variational=True)
    images = torch.rand(4, 1, 16, 16)
    losses = []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=25,
        train_data_loader=DataLoader([{"image": image, "label": image} for image in images], batch_size=4),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=1e-2),
        loss_function=EvidenceLowerBound(beta=0.001),
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"]))
    trainer.run()
    assert losses[-1] < 0.7 * losses[0]
    assert network.to_log_sigma.weight.grad.abs().sum() > 0

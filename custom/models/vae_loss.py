# SPDX-License-Identifier: Apache-2.0
"""Loss of the variational autoencoder: the negative evidence lower bound (Kingma & Welling, ICLR 2014, eq. 10, with
the weight β of Higgins et al., ICLR 2017)::

    loss  = reconstruction error + β KL
    KL    = ½ Σ_j (μ_j² + σ_j² - log σ_j² - 1),   from N(μ, diag σ²) to N(0, 1), summed over the latent vector

averaged over the batch. Behrendt et al. (cDDPM, arXiv 2312.04215) take β = 0.001 and the absolute error averaged over
the pixels (``reduction="mean"``); Baur et al. sum it over the pixels (``"sum"``), so the same β weighs H W times less.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import ConfigError
from .baur_autoencoder import VariationalOutput

_ERRORS = {"l1": F.l1_loss, "l2": F.mse_loss}


class EvidenceLowerBound(nn.Module):
    """Loss ``loss(VariationalOutput, target) -> scalar``, to be given to MONAI's ``SupervisedTrainer`` as it is.

    Args:
        beta: weight of the KL divergence.
        reconstruction: ``"l1"``, absolute, or ``"l2"``, squared error.
        reduction: ``"mean"`` or ``"sum"`` over the pixels of an image.

    >>> import torch
    >>> standard_normal = torch.zeros(2, 8)  # both of μ and of log σ: the divergence is 0
    >>> output = VariationalOutput(torch.ones(2, 1, 4, 4), standard_normal, standard_normal)
    >>> EvidenceLowerBound(beta=0.001)(output, target=torch.zeros(2, 1, 4, 4))
    tensor(1.)
    """

    def __init__(self, beta: float, reconstruction: str = "l1", reduction: str = "mean") -> None:
        super().__init__()
        if reconstruction not in _ERRORS or reduction not in ("mean", "sum") or beta < 0:
            raise ConfigError(
                "EvidenceLowerBound takes beta >= 0, reconstruction 'l1' or 'l2' and reduction 'mean' or 'sum', got "
                f"{beta}, {reconstruction!r}, {reduction!r}."
            )
        self.beta = beta
        self.reconstruction = reconstruction
        self.reduction = reduction

    def forward(self, output: VariationalOutput, target: Tensor) -> Tensor:
        """Return the loss of a batch; ``target`` is ``[B, C, H, W]``."""
        if not isinstance(output, VariationalOutput):
            raise ConfigError(
                f"EvidenceLowerBound needs the output of a variational network in training mode and got a "
                f"{type(output).__name__}; set variational=True in the network, or take another loss (validation: the "
                "mean absolute error)."
            )
        error = _ERRORS[self.reconstruction](output.reconstruction.float(), target, reduction=self.reduction)
        if self.reduction == "sum":
            error = error / len(target)
        return error + self.beta * kl_divergence(output.mu, output.log_sigma).mean()


def kl_divergence(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """Return the divergence ``[B]`` of N(μ, diag σ²) from N(0, 1) for ``[B, latent]`` means and log deviations."""
    return 0.5 * (mu**2 + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(dim=1)

# SPDX-License-Identifier: Apache-2.0
"""Contrastive loss with a margin: epsilon-InfoNCE (epsilon-SupInfoNCE of Barbano et al., ICLR 2023, eq. 10, without
labels; for brain MRI, Patrício et al., arXiv 2406.00772).

Two views of each of B slices give 2B unit vectors z. With s = z zᵀ / tau, p(i) the other view of the slice and N(i) the
2B - 2 vectors of other slices::

    loss = mean over i of  log( exp(s_ip - epsilon) + sum over n in N(i) of exp(s_in) ) - s_ip

Its infimum is -epsilon, so it may be negative; equal vectors give ln(exp(-epsilon) + 2B - 2). With epsilon 0 it is NT-Xent
(SimCLR). The public implementation adds 1e-6 within the logarithm, after subtracting the largest similarity, that of a
vector with itself: its values are larger (by 0.02 for random vectors of length 2048, B 32, tau 0.07).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import ConfigError


class EpsilonInfoNCE(nn.Module):
    """Loss ``loss(one, other, groups) -> scalar``.

    Args:
        temperature: tau > 0.
        epsilon: margin >= 0, in units of the logits s.

    >>> loss = EpsilonInfoNCE(temperature=0.07, epsilon=0.5)
    >>> print(f"{loss(torch.ones(4, 8), torch.ones(4, 8)):.4f}")
    1.8881
    """

    def __init__(self, temperature: float = 0.07, epsilon: float = 0.5) -> None:
        super().__init__()
        if temperature <= 0 or epsilon < 0:
            raise ConfigError(
                f"EpsilonInfoNCE takes temperature > 0 and epsilon >= 0, got {temperature} and {epsilon}."
            )
        self.temperature = temperature
        self.epsilon = epsilon

    def forward(self, one: Tensor, other: Tensor, groups: Tensor | None = None) -> Tensor:
        """Return the loss of two views ``[B, D]`` of the same slices, of any length; they are normalised here.

        Args:
            one: features of the first view.
            other: features of the second.
            groups: integers ``[B]``; slices of the same group (of the same subject) are no negatives of each other.
        """
        batch = len(one)
        if batch < 2:
            raise ConfigError("a contrastive loss compares slices with each other: batch_size must be at least 2.")
        z = F.normalize(torch.cat([one, other]).to(torch.promote_types(one.dtype, torch.float32)), dim=1)
        similarity = z @ z.T / self.temperature
        number = torch.arange(batch, device=one.device) if groups is None else groups
        slices = torch.arange(batch, device=one.device).repeat(2)
        same_group = number.repeat(2)[:, None] == number.repeat(2)
        positives = similarity.roll(batch, dims=1).diagonal()
        negatives = similarity.masked_fill(same_group | (slices[:, None] == slices), -torch.inf)
        terms = torch.cat([positives[:, None] - self.epsilon, negatives], dim=1)
        return (terms.logsumexp(dim=1) - positives).mean()


def feature_spread(features: Tensor) -> Tensor:
    """Return how far unit vectors spread, in [0, 1]: 0 when all are equal (collapse), near 1 when they point everywhere.

    It is the root of the total variance of the normalised rows of ``features`` ``[N, D]``.

    >>> feature_spread(torch.cat([torch.eye(3), -torch.eye(3)])).item()
    1.0
    """
    z = F.normalize(features.float(), dim=1)
    return (z - z.mean(dim=0)).square().sum(dim=1).mean().sqrt()

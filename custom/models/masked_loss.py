# SPDX-License-Identifier: Apache-2.0
"""Loss of masked pre-training: the error in the masked cells (SparK, Tian et al., ICLR 2023, section 3.4)::

    loss = mean over masked cells of mean over the cell's pixels of (reconstruction - x)²

With ``pix_norm``, SparK's own choice, x is brought to mean 0 and deviation 1 within each cell, (x - mean) / √(var + 1e-6),
where the variance has the n - 1 of samples. cDDPM's released code leaves x as it is.
"""

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from .spark import MaskedOutput

_VARIANCE_FLOOR = 1e-6


class MaskedReconstructionLoss(nn.Module):
    """Loss ``loss(MaskedOutput, target) -> scalar``, to be given to MONAI's ``SupervisedTrainer`` as it is.

    Args:
        pix_norm: compare with the target normalised within each cell.
        l1: absolute instead of squared error.

    >>> active = torch.tensor([[[[True, False], [True, True]]]])  # one of four cells is masked
    >>> target, reconstruction = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    >>> reconstruction[..., :2, 2:] = 3.0  # in the masked cell
    >>> loss = MaskedReconstructionLoss()
    >>> loss(MaskedOutput(reconstruction, active, torch.zeros(1, 8, 2, 2)), target)
    tensor(9.)
    """

    def __init__(self, pix_norm: bool = False, l1: bool = False) -> None:
        super().__init__()
        self.pix_norm = pix_norm
        self.l1 = l1

    def forward(self, output: MaskedOutput, target: Tensor) -> Tensor:
        """Return the loss of a batch; ``target`` is ``[B, 1, H, W]``. No masked cell: 0."""
        if not isinstance(output, MaskedOutput):
            raise ConfigError(
                f"MaskedReconstructionLoss needs the output of SparK and got a {type(output).__name__}; it belongs to the "
                "pre-training of an encoder."
            )
        active = output.active[:, 0]
        reconstructed, wanted = (_cells(x.float(), active) for x in (output.reconstruction, target))
        if self.pix_norm:
            variance, mean = torch.var_mean(wanted, dim=-1, keepdim=True)
            wanted = (wanted - mean) / (variance + _VARIANCE_FLOOR).sqrt()
        error = reconstructed - wanted
        per_cell = (error.abs() if self.l1 else error**2).mean(dim=-1)
        masked = ~active
        return (per_cell * masked).sum() / masked.sum().clamp(min=1)


def _cells(images: Tensor, active: Tensor) -> Tensor:
    """Cut ``[B, C, H, W]`` into cells ``[B, rows, columns, pixels]``."""
    rows, columns = active.shape[-2:]
    batch, channels, height, width = images.shape
    cut = images.reshape(batch, channels, rows, height // rows, columns, width // columns)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3)

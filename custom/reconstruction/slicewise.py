# SPDX-License-Identifier: Apache-2.0
"""Reconstruct a volume slice by slice with a 2-D network.

Volumes are ``[1, 1, X, Y, Z]`` in [0, 1]; the network sees axial slices ``[b, 1, X, Y]`` in micro-batches. On a CPU
batches of one to four slices are fastest (larger ones leave the cache); on a GPU take all slices at once. The batch
size changes a reconstruction by float rounding only, so it is halved when the memory of the GPU is full.
"""

import logging
from collections.abc import Sequence
from typing import cast

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from ..core.errors import DataError
from ..models.precision import Precision

logger = logging.getLogger(__name__)


class SlicewiseReconstruction(Inferer):
    """Autoencoder reconstruction: ``network(slice)`` for every axial slice.

    Args:
        slice_batch_size: slices per network pass; None: 4 on a CPU, 64 on a GPU.
        precision: arithmetic of the network, see :class:`~custom.models.precision.Precision`.
        channels_last: hand the slices over in NHWC order.

    >>> volumes = torch.rand(2, 1, 8, 8, 4)
    >>> torch.equal(SlicewiseReconstruction(slice_batch_size=3)(volumes, nn.Identity()), volumes)
    True
    """

    def __init__(
        self, slice_batch_size: int | None = None, precision: str = "fp32", channels_last: bool = False
    ) -> None:
        self.slice_batch_size = slice_batch_size
        self.precision = Precision.of(precision)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    has_mask_channel = False  # whether the last channel of a result is the mask's probability

    @torch.inference_mode()
    def __call__(self, inputs: Tensor, network: nn.Module, case_ids: Sequence[str] | None = None) -> Tensor:
        """Return the reconstructions of ``inputs`` ``[B, 1, X, Y, Z]``: ``[B, n, X, Y, Z]``, float32, same device.

        n is 1 unless the method makes several, and one more with ``has_mask_channel``.

        Args:
            inputs: volumes in [0, 1].
            network: 2-D network in evaluation mode.
            case_ids: names of the volumes; seed whatever the method draws at random.
        """
        if inputs.ndim != 5 or inputs.shape[1] != 1:
            raise DataError(
                f"volumes must be [B, 1, X, Y, Z], got {list(inputs.shape)}; add the batch and channel axes."
            )
        plain = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        names = case_ids if case_ids is not None else [str(index) for index in range(len(plain))]
        volumes = [
            self.reconstruct(v[0].permute(2, 0, 1)[:, None], network, n) for v, n in zip(plain, names, strict=True)
        ]
        return torch.stack([volume.permute(1, 2, 3, 0) for volume in volumes]).contiguous()

    def reconstruct(self, slices: Tensor, network: nn.Module, case_id: str) -> Tensor:
        """Return the reconstructions ``[Z, n, X, Y]`` of ``slices`` ``[Z, 1, X, Y]`` in [0, 1] of the volume ``case_id``."""
        return self._in_batches(network, slices)

    def _in_batches(
        self, network: nn.Module, slices: Tensor, timestep: int | None = None, **arguments: Tensor
    ) -> Tensor:
        """Return the network's output for all slices; ``arguments``, one row per slice, go to it by their names."""
        predictions: list[Tensor] = []
        done = 0
        if self.slice_batch_size is None:
            self.slice_batch_size = 4 if slices.device.type == "cpu" else 64
        with self.precision.autocast(slices.device):
            while done < len(slices):
                part = slice(done, done + self.slice_batch_size)
                batch = slices[part].to(memory_format=self.memory_format)
                rows = {name: values[part] for name, values in arguments.items()}
                try:
                    predictions.append(self._predict(network, batch, timestep, **rows))
                except torch.cuda.OutOfMemoryError:
                    if len(batch) == 1:
                        raise
                    self.slice_batch_size = len(batch) // 2
                else:
                    done += len(batch)
                    continue
                torch.cuda.empty_cache()  # here, where the exception no longer holds the tensors
                logger.warning(
                    "%d slices do not fit into the memory of the GPU; going on with %d",
                    len(batch),
                    self.slice_batch_size,
                )
        return torch.cat(predictions)

    def _predict(self, network: nn.Module, batch: Tensor, timestep: int | None, **rows: Tensor) -> Tensor:
        if timestep is None:
            return cast(Tensor, network(batch, **rows)).float()
        steps = torch.full((len(batch),), timestep, device=batch.device, dtype=torch.long)
        return cast(Tensor, network(batch, timesteps=steps, **rows)).float()

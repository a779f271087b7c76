# SPDX-License-Identifier: Apache-2.0
"""The forward pass of one training or validation step."""

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from ..models.precision import Precision


class PlainTrainingInferer(Inferer):
    """``network(inputs)`` in the chosen precision; autoencoders.

    With ``region`` (masked loss of Kascenas et al., MIDL 2022) the prediction outside of it is replaced by the inputs,
    which are clean there: the loss sees the region alone, still averaged over the whole slice as in their code.

    Args:
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"`` (the latter together with the trainer's ``amp``).
        channels_last: hand the slices over in NHWC order (5 % faster on CPUs, more on GPUs).

    >>> inputs, region = torch.zeros(1, 1, 2, 2), torch.tensor([[[[True, False], [False, False]]]])
    >>> PlainTrainingInferer()(inputs, lambda slices: slices + 1, region=region).tolist()
    [[[[1.0, 0.0], [0.0, 0.0]]]]
    """

    def __init__(self, precision: str = "fp32", channels_last: bool = False) -> None:
        self.precision = Precision.of(precision)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(
        self, inputs: Tensor, network: nn.Module, *args: Any, region: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """Return the network's prediction for ``inputs``, float32 if it is a tensor."""
        with self.precision.autocast(inputs.device):
            output = network(inputs.to(memory_format=self.memory_format), *args, **kwargs)
        output = output.float() if isinstance(output, Tensor) else output
        return output if region is None else torch.where(region, output, inputs)


class DiffusionTrainingInferer(PlainTrainingInferer):
    """Noise ``x0`` to ``timesteps`` with the given field and let the network predict (Ho et al. 2020, eq. 4).

    Args:
        scheduler: MONAI scheduler with ``add_noise``; must be on the CPU or the device of the inputs.
        **kwargs: see :class:`PlainTrainingInferer`.

    With ``region`` (pDDPM) only the inside of the region is noised, and the prediction outside is replaced by the target
    (``x0``, or the noise where the network predicts that): the loss sees the region alone, still averaged over the whole
    slice as in the released code.

    >>> from custom.models.noise_scheduler import NoiseDDPMScheduler
    >>> from custom.noise import GaussianNoise
    >>> scheduler = NoiseDDPMScheduler(GaussianNoise(), 1000, schedule="cosine_float64", prediction_type="sample")
    >>> slices, noise, timesteps = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8), torch.tensor([0, 999])
    >>> seen = DiffusionTrainingInferer(scheduler)(slices, lambda noisy, timesteps: noisy, noise, timesteps)
    >>> seen.amax((1, 2, 3)).round(decimals=1)
    tensor([0., 1.])
    """

    def __init__(self, scheduler: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scheduler = scheduler

    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: nn.Module,
        noise: Tensor,
        timesteps: Tensor,
        region: Tensor | None = None,
        **condition: Tensor,
    ) -> Tensor:
        """Return the prediction for slices ``[B, 1, H, W]`` in [-1, 1] noised to ``timesteps`` ``[B]``.

        ``condition`` goes to the network by its names.
        """
        noisy = self.scheduler.add_noise(original_samples=inputs, noise=noise, timesteps=timesteps)
        seen = noisy if region is None else torch.where(region, noisy, inputs)
        prediction: Tensor = super().__call__(seen, network, timesteps=timesteps, **condition)
        if region is None:
            return prediction
        target = noise if getattr(self.scheduler, "prediction_type", "sample") == "epsilon" else inputs
        return torch.where(region, prediction, target)

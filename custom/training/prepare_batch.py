# SPDX-License-Identifier: Apache-2.0
"""From a batch of slices to what ``SupervisedTrainer`` feeds the network: augmentation, noise, timesteps, target.

All draws of one optimiser step come from one generator whose seed is a hash of ``(seed, epoch, batch number)``. They
are made for the *global* batch and every process takes the rows of its own samples, so that one process and several
(DistributedDataParallel) see the same noise, and a resumed run sees what an undisturbed one would have seen.

Batches are dictionaries with ``image`` ``[B, 1, H, W]`` in [0, 1], ``mask`` of the same shape, and the integers
``epoch`` and ``position`` (place of the sample in its epoch), as ``custom.cohorts.dataset`` makes them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.seeding import derive_seed, generator_for, sent_to

Noise = Callable[..., Tensor]
Batch = Mapping[str, Any]
Prepared = tuple[Tensor, Tensor, tuple[()], dict[str, Any]]


class ReconstructionPrepareBatch:
    """Autoencoders: the (augmented) slice is both input and target.

    Args:
        seed: seed of the run.
        batch_size: number of samples of the global batch, over all processes.
        augmentation: ``augmentation(images, mask, generator) -> images``; None for validation.
        stage: name that separates the random streams of training and validation.

    >>> batch = {"image": torch.rand(2, 1, 8, 8), "mask": torch.ones(2, 1, 8, 8), "epoch": [1, 1], "position": [0, 1]}
    >>> prepare = ReconstructionPrepareBatch(seed=1, batch_size=2, stage="val")
    >>> inputs, target, _, arguments = prepare(batch)
    >>> torch.equal(inputs, target), arguments
    (True, {})
    """

    def __init__(
        self, seed: int, batch_size: int, augmentation: Callable[..., Tensor] | None = None, stage: str = "train"
    ) -> None:
        self.seed = seed
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.stage = stage

    def __call__(
        self, batchdata: Batch, device: torch.device | str | None = None, non_blocking: bool = False, **kwargs: Any
    ) -> Prepared:
        """Return network input, target, positional and keyword arguments of the inferer."""
        images = _plain(batchdata["image"]).to(device, torch.float32, non_blocking=non_blocking)
        mask = _plain(batchdata["mask"]).to(device, non_blocking=non_blocking)
        rows, generator = self._draws(batchdata)
        if self.augmentation is not None:
            images = self._rows_of(self.augmentation, images, mask, rows, generator)
        return self.prepare(images, mask, rows, generator)

    def prepare(self, images: Tensor, mask: Tensor, rows: Tensor, generator: torch.Generator) -> Prepared:
        """Return network input, target and keyword arguments of the inferer for clean slices in [0, 1]."""
        return images, images, (), {}

    def _draws(self, batchdata: Batch) -> tuple[Tensor, torch.Generator]:
        positions = torch.as_tensor(batchdata["position"]).reshape(-1).cpu()
        epoch = int(torch.as_tensor(batchdata["epoch"]).reshape(-1)[0])
        number = int(positions[0]) // self.batch_size
        rows = positions - number * self.batch_size
        if self.stage == "train":  # layers such as dropout draw from torch's global generators
            torch.manual_seed(derive_seed(self.seed, "layers", epoch, int(positions[0])))
        return rows, generator_for(self.seed, self.stage, epoch, number)

    def _rows_of(
        self, function: Callable[..., Tensor], images: Tensor, mask: Tensor, rows: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Apply a randomised ``function`` as if the whole global batch were here, and keep our rows."""
        if self._are_all(rows):
            return function(images, mask, generator)
        rows = sent_to(rows, images.device)
        return function(self._whole(images, rows), self._whole(mask, rows), generator)[rows]

    def _whole(self, part: Tensor, rows: Tensor) -> Tensor:
        """Return the global batch with our rows in it, zeros elsewhere."""
        whole = part.new_zeros((self.batch_size, *part.shape[1:]))
        whole[rows] = part
        return whole

    def _noise(self, noise: Noise, images: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        drawn = noise(images.new_empty((self.batch_size, *images.shape[1:])), generator)
        return drawn if self._are_all(rows) else drawn[sent_to(rows, images.device)]

    def _are_all(self, rows: Tensor) -> bool:
        return len(rows) == self.batch_size and bool((rows == torch.arange(self.batch_size)).all())


class DenoisingPrepareBatch(ReconstructionPrepareBatch):
    """Denoising autoencoder (Kascenas et al., MIDL 2022): input = slice + noise inside the brain, target = slice.

    Args:
        corruption: ``noise(like, generator)``, added inside the brain mask.
        masked_loss: tell the inferer the brain mask as ``region``, so that the loss sees the brain alone.
        **kwargs: see :class:`ReconstructionPrepareBatch`.

    >>> from custom.noise import GaussianNoise
    >>> batch = {"image": torch.rand(2, 1, 8, 8), "mask": torch.ones(2, 1, 8, 8), "epoch": [1, 1], "position": [0, 1]}
    >>> batch["mask"][..., 0] = 0
    >>> inputs, target, *_ = DenoisingPrepareBatch(GaussianNoise(), seed=1, batch_size=2, stage="val")(batch)
    >>> torch.equal(inputs[..., 0], target[..., 0]), torch.equal(inputs[..., 1], target[..., 1])
    (True, False)
    """

    def __init__(self, corruption: Noise, masked_loss: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.corruption = corruption
        self.masked_loss = masked_loss

    def prepare(self, images: Tensor, mask: Tensor, rows: Tensor, generator: torch.Generator) -> Prepared:
        """Return the corrupted slices, the clean ones and, with ``masked_loss``, ``region`` for the inferer."""
        brain = mask > 0
        noise = self._noise(self.corruption, images, rows, generator)
        return images + noise * brain, images, (), {"region": brain} if self.masked_loss else {}


class DiffusionPrepareBatch(ReconstructionPrepareBatch):
    """Diffusion: slices scaled to [-1, 1], a timestep and a noise field per sample.

    Args:
        noise: ``noise(like, generator) -> Tensor`` of the shape of ``like``.
        num_train_timesteps: T; timesteps are uniform over 1 ... T (Ho et al. 2020, algorithm 1); the network is given t - 1.
        prediction_type: what the network predicts: ``"sample"`` (x0, the papers' choice) or ``"epsilon"``.
        timesteps: fixed ones, 1 ... T, dealt out in turn by position instead of random ones (validation).
        patches: optional ``patches(like, generator) -> bool mask``; noise is applied inside it only (pDDPM,
            Behrendt et al., MIDL 2023).
        conditioned: hand the network the clean (augmented) slices too, as ``image`` in [0, 1] (cDDPM, Behrendt et al.,
            arXiv 2312.04215).
        **kwargs: see :class:`ReconstructionPrepareBatch`.

    >>> from custom.noise import GaussianNoise
    >>> batch = {"image": torch.zeros(2, 1, 8, 8), "mask": torch.ones(2, 1, 8, 8), "epoch": [1, 1], "position": [0, 1]}
    >>> settings = {"seed": 1, "batch_size": 2, "stage": "val"}
    >>> inputs, _, _, arguments = DiffusionPrepareBatch(GaussianNoise(), 1000, timesteps=[250, 500], **settings)(batch)
    >>> inputs.unique().tolist(), arguments["timesteps"].tolist(), arguments["noise"].shape
    ([-1.0], [249, 499], torch.Size([2, 1, 8, 8]))
    """

    def __init__(
        self,
        noise: Noise,
        num_train_timesteps: int,
        prediction_type: str = "sample",
        timesteps: int | Sequence[int] | None = None,
        patches: Noise | None = None,
        conditioned: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.noise = noise
        self.num_train_timesteps = num_train_timesteps
        self.prediction_type = prediction_type
        self.timesteps = (timesteps,) if isinstance(timesteps, int) else timesteps
        self.patches = patches
        self.conditioned = conditioned

    def prepare(self, images: Tensor, mask: Tensor, rows: Tensor, generator: torch.Generator) -> Prepared:
        """Return x0 in [-1, 1], the target, and ``noise``, ``timesteps`` (``region``, ``image``) for the inferer."""
        condition = {"image": images} if self.conditioned else {}
        images = images * 2 - 1
        timesteps = sent_to(self._timesteps(rows, generator), images.device)
        noise = self._noise(self.noise, images, rows, generator)
        arguments: dict[str, Any] = {"noise": noise, "timesteps": timesteps, **condition}
        if self.patches is not None:
            arguments["region"] = self._noise(self.patches, images, rows, generator)
        target = {"sample": images, "epsilon": noise}[self.prediction_type]
        return images, target, (), arguments

    def _timesteps(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the index of the timestep of every row, one less than its number."""
        if self.timesteps is not None:
            return torch.as_tensor(self.timesteps)[rows % len(self.timesteps)] - 1
        return torch.randint(0, self.num_train_timesteps, (self.batch_size,), generator=generator)[rows]


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor

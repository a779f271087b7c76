# SPDX-License-Identifier: Apache-2.0
"""Pictures of the validation while a training runs: does it learn what it should?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from ..report.figures import new_figure, save_figure, style
from ..runs.run_folder import RunFolder

_COLUMNS = ("input", "prediction", "target", "absolute difference")


class ValidationPictures:
    """Draw the first slices of each validation into ``pictures/epoch_00010.png`` of the run folder, and track the file.

    A row is a slice: input (for diffusion models before noise is added), prediction, target and their difference; of several
    channels the middle one of the input and the first of the others. Prediction and target of a row share their grey scale. Nothing is drawn of outputs that are no slices.

    Args:
        run_folder: of the training.
        rows: slices drawn.

    >>> from tempfile import TemporaryDirectory
    >>> definition = {"bundle": "mine", "method": "mine", "contrast": "t2", "dataset": "demo", "fold": 0, "seed": 1}
    >>> with TemporaryDirectory() as folder:
    ...     run = RunFolder(folder, {**definition, "parts": {"network": None, "preparation": None}})
    ...     validator = Engine(lambda engine, batch: [{"pred": torch.zeros(4)}])  # no slices: nothing is drawn
    ...     ValidationPictures(run).attach(validator)
    ...     _ = validator.run([0])
    ...     (run.folder / "pictures").exists()
    False
    """

    def __init__(self, run_folder: RunFolder, rows: int = 4) -> None:
        self.run_folder, self.rows = run_folder, rows

    def attach(self, validator: Engine) -> None:
        """Register with the evaluator of the validation scans."""
        if self.run_folder.is_main:
            validator.add_event_handler(Events.ITERATION_COMPLETED, self)

    @style()
    def __call__(self, validator: Engine) -> None:
        """Draw the first batch."""
        if validator.state.iteration != 1:
            return
        output = validator.state.output
        items: list[Mapping[str, Any]] = list(output) if isinstance(output, list) else _items(output or {})
        rows = [row for row in map(_row, items[: self.rows]) if row is not None]
        if not rows:
            return
        figure = new_figure(1.6 * len(_COLUMNS), 1.6 * len(rows) + 0.4)
        grid = figure.subplots(len(rows), len(_COLUMNS), squeeze=False)
        for number, (axes, slices) in enumerate(zip(grid, rows, strict=True)):
            low, high = float(slices[2].min()), float(slices[2].max())
            limits = [(None, None), (low, high), (low, high), (0, max(high - low, 1e-6))]
            for ax, title, image, (vmin, vmax) in zip(axes, _COLUMNS, slices, limits, strict=True):
                ax.imshow(image.T, cmap="gray", origin="lower", vmin=vmin, vmax=vmax)
                ax.set_axis_off()
                ax.set_title("" if number else title, fontsize=8)
        figure.suptitle(f"{self.run_folder.model.method}, validation after epoch {validator.state.epoch}", fontsize=10)
        path = self.run_folder.folder / "pictures" / f"epoch_{validator.state.epoch:05d}.png"
        save_figure(figure, path)
        self.run_folder.tracking.picture(path)


def _items(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the items of a batch that was not taken apart."""
    count = len(output["pred"]) if isinstance(output.get("pred"), torch.Tensor) else 0
    return [{key: output[key][item] for key in ("image", "pred", "label") if key in output} for item in range(count)]


def _row(item: Mapping[str, Any]) -> tuple[NDArray[np.float32], ...] | None:
    """Return input, prediction, target and difference ``[X, Y]``; None where the method has no such pictures."""
    found = [item.get(key) for key in ("image", "pred", "label")]
    if any(not isinstance(tensor, torch.Tensor) or tensor.ndim != 3 for tensor in found):
        return None
    image, prediction, target = (tensor.detach().float().cpu().numpy() for tensor in found if tensor is not None)
    if prediction.shape[1:] != target.shape[1:]:
        return None
    return image[len(image) // 2], prediction[0], target[0], np.abs(prediction[0] - target[0])

# SPDX-License-Identifier: Apache-2.0
"""A small model folder to give away: the definition of a finished run and its weights in half precision.

Half precision keeps 11 bits of every weight; what that does to maps is measured where it matters: the packed model is
evaluated and its evaluation promoted like that of any model, so thresholds and card belong to the weights in the folder.
"""

from pathlib import Path

import torch

from ..core.errors import ConfigError
from ..models.weights import load_weights, metadata_of, save_weights
from ..runs.model_folder import WEIGHTS, ModelFolder


def pack(run_dir: str | Path, output: str | Path) -> ModelFolder:
    """Write the model of ``run_dir`` into the folder ``output`` with float16 weights and without calibration.

    Raises:
        ConfigError: no finished model, damaged weights, another model in ``output``, or a weight that float16 cannot hold.
    """
    model = ModelFolder.read(run_dir)
    state = load_weights(model.network(), model.weights, model.weights_sha256).state_dict()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    lost = [name for name, value in halves.items() if not bool(torch.isfinite(value).all())]
    if lost:
        raise ConfigError(f"{', '.join(lost[:3])}: numbers that float16 cannot hold; release the weights as they are.")
    packed = ModelFolder.define(
        output,
        **model.identity,
        parts={name: model.build(name) for name in model.content["parts"]},
        training=dict(model.content["training"]),
    )
    save_weights(halves, packed.folder / WEIGHTS, metadata_of(model.weights))
    return packed.seal()

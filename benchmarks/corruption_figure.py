# SPDX-License-Identifier: Apache-2.0
"""Picture of what a restoration network trains on: ``python benchmarks/corruption_figure.py DATA OUTPUT.png``.

DATA is a synthetic cohort (``uad cohort``). Rows: healthy slice as a scanner might show it, corrupted slice, mask of what
changed visibly; columns: scans. Seeded; nothing of any person is shown.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image

from custom.cohorts.mixture import mixed_datalist
from custom.cohorts.slabs import FixedSlabDataset
from custom.core.resources import resource
from custom.core.seeding import generator_for
from custom.corruption import changed
from custom.preparation.prepare import preparation

ENLARGED = 2


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("output")
    parser.add_argument("--contrast", default="t2")
    parser.add_argument("--scans", type=int, default=8)
    arguments = parser.parse_args()
    settings = ConfigParser()
    settings.read_config(str(resource("custom/configs/corruption.json")))
    corruption, variation = (settings.get_parsed_content(name) for name in ("local", "scanner"))
    sources = [{"data_root": arguments.data, "dataset": "demo"}]
    cases = mixed_datalist(sources, "val", arguments.contrast, 0, preparation("standard"))[: arguments.scans]
    dataset = FixedSlabDataset(cases, 1, seed=0, neighbours=1, foreign_slabs=corruption.layers)
    items = [dataset[index] for index in range(len(dataset))]
    slabs, brain, foreign, foreign_brain = (
        torch.stack([item[key] for item in items]) for key in ("image", "mask", "foreign", "foreign_mask")
    )
    generator = generator_for(0, "figure")
    slabs, brain = variation(slabs, brain > 0, generator)
    corrupted, _ = corruption(slabs, brain, foreign, foreign_brain > 0, generator)
    rows = [slabs[:, 1], corrupted[:, 1], changed(slabs, corrupted)[:, 1].float()]
    picture = np.vstack([np.hstack([slice_.numpy().T[::-1] for slice_ in row]) for row in rows])
    image = Image.fromarray((picture.clip(0, 1) * 255).astype(np.uint8))
    Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * ENLARGED, image.height * ENLARGED), Image.Resampling.BICUBIC).save(arguments.output)


if __name__ == "__main__":
    main()

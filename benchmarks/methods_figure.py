# SPDX-License-Identifier: Apache-2.0
"""Anomaly maps of several models beside each other, each at the slice of the largest lesion area.

``python -m benchmarks.methods_figure OUTPUT.png --data DATA --matrix FOLDER --shown NAME/SCORE ... --cases SET/CASE ...``

FOLDER is the output of ``uad matrix``, fold 0 is shown. Maps are post-processed as in the tables; a colour scale belongs to a
column, from 0 to what a thousandth of the shown brains exceeds. Below a map stands the average precision of its whole scan.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser

from custom.benchmark.results import read_result
from custom.cohorts.cases import datalist, load_case
from custom.evaluation.plan import source_of
from custom.report.figures import new_figure, save_figure, style
from custom.scoring import Reconstructions, bound

TRUTH, WIDTH_IN, HEIGHT_IN = "#00D5FF", 1.5, 1.85


def evaluation(folder: Path, data: str, contrast: str) -> ConfigParser:
    """Return the evaluation of a model in a matrix, parsed, with the reconstructions that it has kept."""
    bundle = ConfigParser.load_config_file(str(folder / "model.json"))["bundle"]
    parser = ConfigParser()
    parser.read_config(f"bundles/{bundle}/configs/evaluate.json")
    parser.update(
        {
            "dataset_dir": data,
            "model_dir": str(folder),
            "reconstruction_dir": str(folder / "reconstructions"),
            "precision": "auto",
            "contrast": contrast,
        }
    )
    return parser


def maps(parser: ConfigParser, score_name: str, case: dict[str, Any]) -> np.ndarray:
    """Return the post-processed map of a case."""
    network, inferer = (parser.get_parsed_content(name) for name in ("network", "inferer"))
    scores = parser.get_parsed_content("scores")
    score = scores[score_name] if score_name in scores else parser.get_parsed_content(score_name)
    image = torch.as_tensor(np.asarray(case["image"]), dtype=torch.float32)
    channels = inferer(image[None], network.eval(), [case["case_id"]])[0]
    raw = bound(score, network)(
        image[0], Reconstructions.from_channels(channels, bool(getattr(inferer, "has_mask_channel", False)))
    )
    (chain,) = parser.get_parsed_content("postprocessings").values()
    mask = torch.as_tensor(np.asarray(case["mask"]))[0] > 0
    prepared: np.ndarray = chain.prepare(
        raw, mask, [parser.get_parsed_content("model").build("preparation").spacing_mm] * 3
    ).numpy()
    return prepared


@style()
def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    parser.add_argument("--data", required=True)
    parser.add_argument("--matrix", required=True)
    parser.add_argument("--shown", nargs="+", required=True)
    parser.add_argument("--cases", nargs="+", required=True)
    parser.add_argument("--contrast", default="t1")
    given = parser.parse_args()
    torch.set_num_threads(1)
    shown = [name.split("/") for name in given.shown]
    folders = {name: Path(given.matrix) / "runs" / name / f"{given.contrast}_fold0" for name, _ in shown}
    parsers = {name: evaluation(folder, given.data, given.contrast) for name, folder in folders.items()}
    results = {name: read_result(folder / "evaluation") for name, folder in folders.items()}
    preparation = next(iter(parsers.values())).get_parsed_content("model").build("preparation")
    cases = []
    for text in given.cases:
        group, _, wanted = text.partition("/")
        name, split, _ = source_of(f"{group}/test")
        (entry,) = datalist(
            given.data,
            name,
            split,
            given.contrast,
            None,
            preparation,
            f"{given.data}/.prepared",
            only=lambda records, wanted=wanted: [r for r in records if r.case_id == wanted],
        )
        cases.append((group, load_case(entry)))
    drawn = [[maps(parsers[name], score, case) for name, score in shown] for _, case in cases]
    figure = new_figure((1 + len(shown)) * WIDTH_IN, len(cases) * HEIGHT_IN)
    axes = figure.subplots(len(cases), 1 + len(shown), squeeze=False)
    brains = [np.asarray(case["mask"])[0] > 0 for _, case in cases]
    tops = [
        np.quantile(np.concatenate([drawn[row][column][brain] for row, brain in enumerate(brains)]), 0.999)
        for column in range(len(shown))
    ]
    for row, (group, case) in enumerate(cases):
        image, seg = (np.asarray(case[key])[0] for key in ("image", "seg"))
        index = int(seg.sum(axis=(0, 1)).argmax())
        panels = [(image, "gray", 1.0, group.replace("_", " "))]
        for column, (name, score) in enumerate(shown):
            precision = (results[name].per_case(group, score, "oracle", "average_precision") or {})[case["case_id"]]
            panels.append((drawn[row][column], "inferno", tops[column], f"AP {100 * precision:.1f} %"))
        for column, (volume, colours, top, text) in enumerate(panels):
            place = axes[row, column]
            place.imshow(volume[:, :, index].T, cmap=colours, vmin=0, vmax=max(top, 1e-6), origin="lower")
            place.contour(seg[:, :, index].T, levels=[0.5], colors=TRUTH, linewidths=0.7)
            place.set_xticks([])
            place.set_yticks([])
            place.set_xlabel(text, fontsize=7)
            if row == 0:
                place.set_title("scan" if column == 0 else " ".join(shown[column - 1]).replace("_", " "), fontsize=7)
    save_figure(figure, given.output)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Look at every list and scan of a data folder and report all faults, with remedies.

Exit code 0: no errors (warnings do not count); 4: errors.
"""

import argparse
from pathlib import Path

from ...core.files import atomic_write_json, require_writable
from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data_root", metavar="DATA", help="folder with splits, Train and Test")
    parser.add_argument("--datasets", help="names, separated by commas (default: those that are there)")
    parser.add_argument("--contrast", help="t1, t2, flair, ... (default: those that are there)")
    parser.add_argument("--fold", type=int, help="only the lists of this fold and those without folds (default: all)")
    parser.add_argument("--allow", default="", help="codes, separated by commas, that count as warnings")
    parser.add_argument(
        "--repair",
        choices=("nan=0",),
        help="set NaN and infinite voxels outside the brain mask to 0; originals are kept",
    )
    parser.add_argument("--json", help="file for the faults as JSON")
    parser.add_argument("--workers", type=int, default=0, help="threads; 0: one per CPU core (default)")
    parser.add_argument("--no_cache", action="store_true", help="read all files again and remember nothing")


def run(arguments: argparse.Namespace) -> int:
    from ...cohorts.gate import Checked, check, repair, table

    if arguments.json:
        require_writable(Path(arguments.json).parent, "choose another file for --json.")

    def look() -> Checked:
        return check(
            arguments.data_root,
            [name for name in (arguments.datasets or "").split(",") if name] or None,
            arguments.contrast,
            arguments.fold,
            workers=arguments.workers,
            cache=not arguments.no_cache,
            allow=[code for code in arguments.allow.split(",") if code],
        )

    checked = look()
    if arguments.repair:
        for one in repair(arguments.data_root, checked.faults):
            done = f"not repaired, {one.refused}" if one.refused else f"{one.voxels} voxels set to 0"
            print(f"{one.file}: {done}")
        checked = look()
    if arguments.json:
        atomic_write_json(arguments.json, {**checked.as_json(), "data_root": arguments.data_root})
    print(table(checked))
    written = {"faults": arguments.json} if arguments.json else {}
    if checked.errors:
        closing(written)
        return 4
    training = ("uad", "train", "restoration", "--data", arguments.data_root)
    closing(written, {"train on it": command_line(*training, *_healthy_set(Path(arguments.data_root)))})
    return 0


def _healthy_set(root: Path) -> list[str]:
    """Return the settings that name the first healthy data set with a training list, and a contrast that it has there."""
    from ...cohorts.datasets import known_datasets

    for data in known_datasets(root).values():
        if data.healthy and (root / "splits" / data.split_file("train", 0)).is_file():
            contrasts = [contrast for contrast in data.contrasts if (root / data.folder / contrast).is_dir()]
            return ["--dataset_name", data.name, *(["--contrast", contrasts[0]] if contrasts else [])]
    return []

# SPDX-License-Identifier: Apache-2.0
"""List the trained models that come with the package, and the methods that can be trained."""

import argparse
import json

from ...core.resources import PREFERRED_BUNDLE, bundle_names, bundles_root, resource
from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(arguments: argparse.Namespace) -> int:
    taken: set[str] = set()
    found = [
        json.loads(path.read_text(encoding="utf-8")) | {"folder": path.parent}
        for path in resource("custom/released").glob("*/model.json")
    ]
    for model in sorted(found, key=lambda model: (model["bundle"] != PREFERRED_BUNDLE, model["folder"].name)):
        score = (model["calibration"] or {}).get("score", "none")
        use = "for reference, only by --model" if model["contrast"] in taken else "taken for this contrast"
        taken.add(model["contrast"])
        folder = model["folder"]
        print(
            f"{folder.name}  {model['contrast'].upper()}, {model['method']}, score {score}, {use}; {folder / 'card.md'}"
        )
    print()
    width = max(map(len, bundle_names()))
    for name in bundle_names():
        metadata = json.loads((bundles_root() / name / "configs" / "metadata.json").read_text(encoding="utf-8"))
        print(f"{name:<{width}}  {metadata['name']}")
    closing({}, {"the settings of one": command_line("uad", "train", bundle_names()[0], "--help")})
    return 0

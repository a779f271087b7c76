# SPDX-License-Identifier: Apache-2.0
"""List the trained models that come with the package, and the methods that can be trained."""

import argparse
import json

from ...core.resources import bundle_names, bundles_root, resource
from ..words import closing, command_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Print a line per model and per bundle."""
    for path in sorted(resource("custom/released").glob("*/model.json")):
        model = json.loads(path.read_text(encoding="utf-8"))
        score = (model["calibration"] or {}).get("score", "none")
        print(
            f"{path.parent.name}  {model['contrast'].upper()}, {model['method']}, score {score}; {path.parent / 'card.md'}"
        )
    print()
    width = max(map(len, bundle_names()))
    for name in bundle_names():
        metadata = json.loads((bundles_root() / name / "configs" / "metadata.json").read_text(encoding="utf-8"))
        print(f"{name:<{width}}  {metadata['name']}")
    closing({}, {"the settings of one": command_line("uad", "train", bundle_names()[0], "--help")})
    return 0

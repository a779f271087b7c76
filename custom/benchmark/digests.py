# SPDX-License-Identifier: Apache-2.0
"""What a result depends on, as hashes: configuration, split lists, and the code that the configuration names.

The code hash covers the modules of this package that the configuration's ``_target_`` entries import, directly or not,
without comments, docstrings and layout; a change elsewhere repeats nothing. Not covered: versions of other packages,
the machine, and the voxels behind unchanged lists (the protocol of a result holds digests of those).
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..core.imports import modules_of, syntax_tree

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# where things are and how fast they go: not part of a result
_PLACES = {
    *(
        "about",
        "bundle_root",
        "dataset_dir",
        "model_dir",
        "output_dir",
        "reconstruction_dir",
        "cache_dir",
        "tracking_uri",
    ),
    *("num_threads", "device", "experiment_name", "loss_interval", "resume"),
}


def json_digest(value: Any) -> str:
    """Return a short sha256 of JSON values; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def configuration_digest(config: Mapping[str, Any]) -> str:
    """Return the digest of a resolved configuration without its places (folders, tracking, device)."""
    return json_digest({key: value for key, value in config.items() if key not in _PLACES})


def file_digests(paths: Iterable[Path]) -> str:
    """Return one digest of the names and contents of files, in any order."""
    return json_digest({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths})


def code_digest(config: Any) -> str:
    """Return the digest of the code that a configuration uses."""
    return json_digest({module: _normalised(module) for module in sorted(modules_of(config))})


@cache
def _normalised(module: str) -> str:
    tree = ast.parse(ast.unparse(syntax_tree(module)))  # a copy: no comments, no layout
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()

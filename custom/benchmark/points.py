# SPDX-License-Identifier: Apache-2.0
"""Which threshold a comparison of finished evaluations is made at."""

from collections import Counter
from collections.abc import Sequence

from ..core.errors import ConfigError
from .results import Result


def operating_point(results: Sequence[Result], wanted: str | None = None) -> str:
    """Return the name of the threshold at which ``results`` are compared.

    Args:
        results: all evaluations.
        wanted: name that the user gave; None takes ``tuned`` where there is one, else the first that most rows have.

    Raises:
        ConfigError: no evaluation has ``wanted``, so that the table would be empty; the sentence names those there are.
    """
    rows = Counter(
        name
        for result in results
        for block in result.metrics["datasets"].values()
        for variant in block["variants"].values()
        for name in variant["operating_points"]
    )
    if wanted is None:
        return "tuned" if "tuned" in rows or not rows else max(rows, key=lambda name: rows[name])
    if rows and wanted not in rows:
        raise ConfigError(f"--point {wanted}: no evaluation has this threshold; there are {', '.join(sorted(rows))}.")
    return wanted

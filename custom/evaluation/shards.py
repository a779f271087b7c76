# SPDX-License-Identifier: Apache-2.0
"""An evaluation shared by processes or machines that need not know each other; the merged result is exactly the same.

Each shard reconstructs and scores its own scans and leaves their maps in the common spool and its histograms in
``shard_<k>_of_<n>.pt``. The merging run adds the histograms up (whole numbers, so the order does not matter), and
measures as if it had scored everything itself. A shard that was killed is started again; its reconstructions are cached.
Used by ``custom/configs/sharded_evaluate.json``.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..core.digests import read_sealed, write_sealed
from ..core.errors import ConfigError
from .collector import MapCollector
from .healthy_scores import finish_healthy_scores
from .plan import EvaluationPlan

Reporter = Callable[[MapCollector, EvaluationPlan], Mapping[str, float] | None]


def shard_path(folder: str | Path, shard: int, num_shards: int) -> Path:
    """Return the file of a shard."""
    return Path(folder) / f"shard_{shard:04d}_of_{num_shards:04d}.pt"


def save_shard(
    collector: MapCollector, folder: str | Path, shard: int, num_shards: int, key: Mapping[str, Any]
) -> Path:
    """Write the cases and histograms of a finished shard.

    Args:
        collector: that has scored the cases of the shard.
        folder: common to all shards.
        shard, num_shards: number of the shard, 0 ... num_shards - 1, and of all.
        key: everything that the maps depend on beside the scans; JSON values.
    """
    path = shard_path(folder, shard, num_shards)
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    torch.save({"key": _full_key(collector, key), "collection": collector.state_dict()}, stream)
    write_sealed(path, stream.getvalue(), path.name)
    return path


def merge_shards(
    collector: MapCollector,
    plan: EvaluationPlan,
    reporters: Sequence[Reporter],
    folder: str | Path,
    num_shards: int,
    key: Mapping[str, Any],
) -> dict[str, float]:
    """Fill ``collector`` from all shards, run the reporters, and return their numbers.

    Raises:
        ConfigError: a shard is missing or damaged, or was made by another model or with other settings.
    """
    paths = [shard_path(folder, shard, num_shards) for shard in range(num_shards)]
    missing = [shard for shard, path in enumerate(paths) if not path.is_file()]
    if missing:
        raise ConfigError(
            f"shard(s) {', '.join(map(str, missing))} of {num_shards} have not finished (nothing in {folder}); run "
            f"'evaluating' with --num_shards {num_shards} --shard {missing[0]}, then merge again."
        )
    expected = json.loads(_full_key(collector, key))
    collector.forget()
    for shard, path in enumerate(paths):
        data = read_sealed(path, path.name, f"run shard {shard} again.")
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        found = json.loads(content["key"])
        changed = sorted(name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name))
        if changed:
            raise ConfigError(
                f"{path} was made with another {', '.join(changed)} than this merging run has; run shard {shard} again, or "
                "merge with the options of the shards."
            )
        collector.merge(content["collection"])
    finish_healthy_scores(collector, plan)
    numbers: dict[str, float] = {}
    for reporter in reporters:
        numbers.update(reporter(collector, plan) or {})
    return numbers


def _full_key(collector: MapCollector, key: Mapping[str, Any]) -> str:
    chains = {name: chain.describe() for name, chain in collector.postprocessings.items()}
    own = {"scores": list(collector.scores), "postprocessing": chains, "spacing_mm": collector.spacing_mm}
    return json.dumps({**key, **own}, sort_keys=True, default=str)

# SPDX-License-Identifier: Apache-2.0
"""How much memory this process may still take."""

from pathlib import Path

import psutil

_CGROUPS = (  # of Linux containers: limit, use and its parts, version 2 and version 1
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def available_memory(cgroup: str | Path = "/sys/fs/cgroup") -> int:
    """Return the bytes that this process may still take, of the machine or of its container.

    What a container holds of files that nobody uses (``inactive_file``) is given back when memory is wanted, so it counts as free.

    Args:
        cgroup: where Linux shows the limits of the container.
    """
    free = int(psutil.virtual_memory().available)
    for limit, used, parts in _CGROUPS:
        try:
            most, now = (int((Path(cgroup) / name).read_text(encoding="ascii")) for name in (limit, used))
            stat = dict(line.split() for line in (Path(cgroup) / parts).read_text(encoding="ascii").splitlines())
        except (OSError, ValueError):  # no container, or no limit ("max")
            continue
        idle = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
        free = min(free, max(0, most - now + idle))
    return free

# SPDX-License-Identifier: Apache-2.0
"""Free memory is that of the container, where there is one, and caches of files count as free."""

import pytest

from custom.core.memory import available_memory

MIB = 2**20


@pytest.mark.parametrize(
    ("folder", "limit", "used", "cache"),
    [
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_container_leaves_its_limit_less_what_is_used_but_caches(folder, limit, used, cache, tmp_path):
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / limit).write_text(f"{100 * MIB}\n")
    (place / used).write_text(f"{95 * MIB}\n")
    (place / "memory.stat").write_text(f"anon {5 * MIB}\n{cache} {90 * MIB}\n")
    assert available_memory(tmp_path) == 95 * MIB
    (place / limit).write_text(f"{1 * MIB}\n")
    assert available_memory(tmp_path) == 0


def test_without_a_limit_the_machine_decides(tmp_path):
    machine = available_memory(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")
    (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    assert machine > 64 * MIB
    assert available_memory(tmp_path) > 64 * MIB

# SPDX-License-Identifier: Apache-2.0
"""A real MONAI Label server, where there is one: ``UAD_LABEL_PYTHON`` names the Python of its environment."""

import os

import pytest

from custom.errors import ConfigError
from custom.release.label_check import check_label_server, table
from custom.release.label_environment import ENV_PYTHON, install_app, server_command, server_environment


def test_real_server(tmp_path) -> None:
    python = os.environ.get(ENV_PYTHON)
    if not python:
        pytest.skip(f"{ENV_PYTHON} does not name the Python of a MONAI Label environment")
    checks = check_label_server(python, tmp_path)
    assert all(check.passed for check in checks), "\n" + table(checks)


def test_server_listens_on_this_machine_only() -> None:
    command = server_command("python", "app", "studies", ["a", "b"], 8123)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    options = {command[n + 1]: command[n + 2] for n, part in enumerate(command) if part == "--conf"}
    assert options == {"models": "a,b", "zoo_source": "local", "sam2": "false", "skip_trainers": "true"}


def test_faults(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot be run"):
        server_environment(tmp_path / "python", tmp_path)
    (tmp_path / "apps" / "monaibundle").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no frozen bundle"):
        install_app("python", tmp_path, [tmp_path], {})

# SPDX-License-Identifier: Apache-2.0
"""What can be said of the container recipes without an engine: they use this package's files, and run as nobody without a home."""

import json
import re
import tomllib

import pytest


@pytest.fixture
def dockerfile(repository) -> list[list[str]]:
    """Instructions and their arguments."""
    text = (repository / "containers" / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    return [line.split(maxsplit=1) for line in lines]


def test_instructions(dockerfile, repository) -> None:
    assert all(re.fullmatch("FROM|ARG|COPY|RUN|ENV|USER|WORKDIR|ENTRYPOINT|CMD", name) for name, _ in dockerfile)
    last = dict(dockerfile)
    assert not last["USER"].startswith(("0", "root"))
    assert ":" in last["FROM"]
    assert json.loads(last["ENTRYPOINT"]) == ["uad"]
    assert json.loads(last["CMD"]) == ["--help"]
    for source in last["COPY"].split()[:-1]:
        assert source == "dist/*.whl" or (repository / source).is_file()
    assert last["RUN"].count("pip install") == 1
    assert "curl" not in last["RUN"]
    assert "wget" not in last["RUN"]


@pytest.mark.parametrize("name", ["Dockerfile", "uad.def"])
def test_extras_environment_and_command(repository, name) -> None:
    text = (repository / "containers" / name).read_text(encoding="utf-8")
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.findall(r"\[([a-z,-]+)(?:\$\{EXTRA\})?\]\"", text) + re.findall(r'EXTRA=",([a-z-]+)"', text)
    assert extras
    assert {extra for group in extras for extra in group.split(",")} <= set(project["optional-dependencies"])
    assert "constraints.txt" in text
    for variable in ("HOME=/tmp", "MPLCONFIGDIR=/tmp/", "XDG_DATA_HOME=/tmp", "XDG_CACHE_HOME=/tmp"):
        assert variable in text  # nothing else can be written
    assert "uad" in project["scripts"]


def test_sections_of_the_definition(repository) -> None:
    text = (repository / "containers" / "uad.def").read_text(encoding="utf-8")
    assert re.findall(r"^%(\w+)", text, re.MULTILINE) == [
        "arguments",
        "files",
        "post",
        "environment",
        "runscript",
        "help",
    ]
    assert 'exec uad "$@"' in text

# SPDX-License-Identifier: Apache-2.0
"""The code hash follows imports and looks at statements only."""

import pytest

from custom.benchmark import digests
from custom.core import imports


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package ``custom``: a uses b, c stands alone."""
    monkeypatch.setattr(imports, "_ROOT", tmp_path)
    files = {"__init__": "", "a": "from .b import f\n", "b": "def f():\n    return 1\n", "c": "x = 1\n"}

    def write(**changes):
        (tmp_path / "custom").mkdir(exist_ok=True)
        for name, text in (files | changes).items():
            (tmp_path / "custom" / f"{name}.py").write_text(text)
        for cached in (imports.syntax_tree, imports._imported, digests._normalised):
            cached.cache_clear()
        return digests.code_digest({"part": {"_target_": "custom.a.f"}})

    yield write
    for cached in (imports.syntax_tree, imports._imported, digests._normalised):
        cached.cache_clear()


def test_what_is_imported_counts(package):
    assert package() != package(b="def f():\n    return 2\n")


def test_what_is_not_imported_does_not(package):
    assert package() == package(c="x = 2\n")


def test_comments_docstrings_and_layout_do_not_count(package):
    assert package() == package(b='"""New words."""\n\n\ndef f():  # why\n    """What."""\n    return (1)\n')


def test_expressions_name_code_too(package):
    with_c = digests.code_digest({"x": "$custom.c.x"})
    package(c="x = 2\n")
    assert digests.code_digest({"x": "$custom.c.x"}) != with_c


def test_the_real_package_is_followed():
    digest = digests.code_digest({"x": {"_target_": "custom.scoring.l1"}})
    assert digest != digests.code_digest({"x": {"_target_": "custom.noise.SimplexNoise"}})
    assert {"custom.scoring", "custom.core.errors"} <= imports.modules_of({"_target_": "custom.scoring.l1"})


def test_a_package_that_imports_what_lies_in_its_folder_takes_it_along():
    assert "custom.cohorts.datasets.public" in imports.modules_of("custom.cohorts.datasets")


def test_places_are_no_configuration():
    assert digests.configuration_digest({"lr": 1, "output_dir": "a"}) == digests.configuration_digest(
        {"lr": 1, "output_dir": "b"}
    )
    assert digests.configuration_digest({"lr": 1}) != digests.configuration_digest({"lr": 2})

# SPDX-License-Identifier: Apache-2.0
"""Every table of the documents is what its result file gives, and no measured table stands outside of one."""

import re

import pytest

from benchmarks.documents import BLOCK, ROOT, documents, filled
from benchmarks.publish import published
from custom.benchmark.cells import Cell, Table
from custom.benchmark.rendering import markdown, read_table, write_json
from custom.core.errors import ConfigError, DataError, UADError

TABLE = Table("t", ("row",), ("a", "b"), ((("x",), (Cell(0.5, 0.1, 0.4, 0.6, 2, 12), "text")),), ("a note",), 100.0)


@pytest.mark.parametrize("path", list(documents()), ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_of_the_documents_are_those_of_their_files(path):
    text = path.read_text(encoding="utf-8")
    assert filled(text) == text, "run: python -m benchmarks.documents"


@pytest.mark.parametrize(
    "path",
    [ROOT / "docs" / "results.md", *sorted(ROOT.glob("bundles/*/docs/README.md"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_measured_tables_stand_between_markers(path):
    outside = BLOCK.sub("", path.read_text(encoding="utf-8"))
    rows = [
        line
        for line in outside.splitlines()
        if line.startswith("|") and re.search(r"\|\s*\d+\.\d[\d\s.±()\[\],x%to]*\|", line)
    ]
    assert not rows, "a table of decimal numbers that no file gives"


@pytest.mark.parametrize(
    "path",
    [*documents(), *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [t for t in targets if "://" not in t and not (path.parent / t).exists()] == []


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("bundles/*/docs/README.md"), *ROOT.glob("custom/released/*/card.md")]
    linked = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index)}
    assert {page for page in pages if page != ROOT / "docs" / "README.md"} <= linked


def test_a_table_survives_its_file(tmp_path):
    assert read_table(write_json(TABLE, tmp_path / "t.json", "a command")) == TABLE


def test_a_document_is_filled(tmp_path):
    write_json(TABLE, tmp_path / "t.json")
    text = "before\n<!-- table: t -->\nold\n<!-- /table -->\nafter\n"
    new = filled(text, tmp_path)
    assert new == f"before\n<!-- table: t -->\n{markdown(TABLE)}<!-- /table -->\nafter\n"
    assert filled(new, tmp_path) == new
    assert "50.00 ± 10.00" in new


def test_a_document_may_take_some_rows(tmp_path):
    rows = tuple(((name, "score"), (str(n), "text")) for n, name in enumerate(("first", "second", "third")))
    write_json(Table("t", ("row", "kind"), ("a", "b"), rows, (), 1.0), tmp_path / "t.json")
    new = filled("<!-- table: t rows: third first -->\n<!-- /table -->", tmp_path)
    assert [line.split("|")[1].strip() for line in new.splitlines() if "| score |" in line] == ["first", "third"]
    assert filled(new, tmp_path) == new
    with pytest.raises(DataError, match="fourth"):
        filled("<!-- table: t rows: first fourth -->\n<!-- /table -->", tmp_path)
    pairs = (
        (("base l1", "other l1"), ("0.1",)),
        (("baseline l1", "base l1"), ("0.2",)),
        (("third l1", "base l1"), ("0.3",)),
    )
    write_json(Table("t", ("first", "second"), ("a",), pairs, (), 1.0), tmp_path / "p.json")
    assert "0.2" not in filled("<!-- table: p rows: other third -->\n<!-- /table -->", tmp_path)


@pytest.mark.parametrize("text", ["<!-- table: t -->\n", "<!-- /table -->", "<!-- table: u -->\n<!-- /table -->"])
def test_faulty_markers_are_named(tmp_path, text):
    with pytest.raises(UADError):
        filled(text, tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises((DataError, ConfigError), match=r"t\.json"):
        read_table(tmp_path / "t.json")


def test_a_published_table_leaves_out_what_was_not_run_and_says_so():
    rows = (
        (("ddpm", "l1"), (Cell(0.1), Cell())),
        (("vae", "l1"), (Cell(), Cell())),
        (("vae", "ssim"), (Cell(), Cell())),
    )
    table = published(Table("AP", ("method", "score"), ("stroke (T1)", "ms (T1)"), rows, ("Folds: 1.",)))
    assert [head for head, _ in table.rows] == [("ddpm", "l1")]
    assert table.notes == ("Folds: 1.", "Not run, and left out: vae.")
    chosen = published(Table("AP", ("method", "score"), ("stroke (T1)", "ms (T1)"), rows), ["stroke"], ["ddpm"])
    assert (chosen.columns, chosen.rows, chosen.notes) == (("stroke (T1)",), ((("ddpm", "l1"), (Cell(0.1),)),), ())

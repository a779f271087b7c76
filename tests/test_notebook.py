# SPDX-License-Identifier: Apache-2.0
"""The notebook's cells run from top to bottom as they stand, by Python alone; what its reader sees is there."""

import json

NAME = "docs/prediction.ipynb"


def _cells(repository):
    notebook = json.loads((repository / NAME).read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["language"]) == (4, "python")
    return notebook["cells"]


def test_it_is_stored_without_results(repository):
    for cell in _cells(repository):
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_its_cells_run(repository, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    variables: dict = {}
    for cell in _cells(repository):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), NAME, "exec"), variables)
    assert variables["dice"] > 0.5
    assert variables["result"].case_id == "patient"
    assert variables["result"].plot()._repr_png_().startswith(b"\x89PNG")
    written = {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {".gz", ".json", ".html", ".png"}
    written = capsys.readouterr().out
    assert "did you mean --sensitivity?" in written
    assert written.count("typical_fpr_") == 2

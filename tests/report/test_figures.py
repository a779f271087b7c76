# SPDX-License-Identifier: Apache-2.0
import matplotlib
import pytest

from custom.core.errors import ConfigError
from custom.report.figures import new_figure, save_figure, style


def _figure(text: str = "text"):
    with style():
        figure = new_figure(2, 1)
        figure.add_subplot().plot([0, 1], [1, 0], label=text)
        figure.legend()
    return figure


def test_equal_figures_are_equal_files(tmp_path):
    first = save_figure(_figure(), tmp_path / "a" / "one.png").read_bytes()
    second = save_figure(_figure(), tmp_path / "b" / "two.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert b"Software" not in first  # a version
    assert first == second != save_figure(_figure("other"), tmp_path / "three.png").read_bytes()


def test_saving_twice_changes_nothing(tmp_path):
    figure = _figure()
    assert save_figure(figure, tmp_path / "a.png").read_bytes() == save_figure(figure, tmp_path / "b.png").read_bytes()


def test_the_users_settings_are_neither_used_nor_changed(tmp_path):
    plain = save_figure(_figure(), tmp_path / "plain.png").read_bytes()
    with matplotlib.rc_context({"font.size": 30, "xtick.labelsize": 30, "axes.facecolor": "red", "savefig.dpi": 10}):
        assert save_figure(_figure(), tmp_path / "other.png").read_bytes() == plain
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("name", ["figure.jpg", "figure"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="rename"):
        save_figure(_figure(), tmp_path / name)


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_figure(_figure(), tmp_path / "a.png")
    before, figure = path.read_bytes(), _figure("other")

    def half(target, **kwargs):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]

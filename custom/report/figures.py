# SPDX-License-Identifier: Apache-2.0
"""Common ground of all figures: one style, one palette, and files that depend on nothing but the figure.

Figures are matplotlib objects without pyplot: no global state, no window, no figure left open. The palette is that of
Okabe & Ito (2008), distinct under the common colour-vision deficiencies; lines differ in their dashes too, so that a
grey print can be read. The colour map of anomaly maps is ``inferno``: even in lightness, black at zero.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..core.errors import ConfigError
from ..core.files import atomic_path

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))
NEUTRAL = "#555555"
SCORE_COLOURS = "inferno"
DPI = 150

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.dpi": DPI,
}


class NotebookFigure(Figure):
    """A figure that a notebook shows, although it is made without pyplot.

    >>> NotebookFigure(figsize=(1, 1))._repr_png_()[1:4]
    b'PNG'
    """

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """Use matplotlib's defaults and our style within, whatever the user's settings are; also a decorator."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width_in: float, height_in: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty white figure of the given size in inches."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


@style()
def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write ``figure`` to ``path``, a ``.png``, and return the path.

    The file is whole or absent, its folder is created, and equal figures give equal bytes.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ConfigError(f"figures are written as .png, not {path.suffix!r}: rename {path.name}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is solved anew, and a little differently, at every drawing
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary, format="png", metadata={"Software": None}
        )  # no version: equal figures are equal files
    return path

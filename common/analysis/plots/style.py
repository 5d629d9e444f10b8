"""One look for every plot: colours, fonts, and how a figure is saved or put into a page."""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.analysis.plots.letters import Canvas, families
from common.analysis.series import METHOD_LABELS
from common.system.files import replacing

Parameters = ParamSpec("Parameters")

# Told apart under all common kinds of colour blindness (a test measures it), on white and on dark.
METHOD_COLORS: Final = {
    "centralized": "#565c66",
    "local": "#d86fa6",
    "federated_iid": "#4aa8e8",
    "federated_category": "#ee5f14",
    "federated_dirichlet": "#2c8651",
    "federated": "#5b2bd6",
}
PALETTE: Final = (
    "#4aa8e8", "#ee5f14", "#2c8651", "#d86fa6", "#5b2bd6", "#ccb463", "#a02018", "#565c66",
)  # fmt: skip
HATCHES: Final = ("", "///", "...", "xxx", "---")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: Final = ("-", "--", "-.", ":")

# In a page these become CSS variables, so that a plot follows light and dark.
INK: Final = "#1c2430"
MUTED: Final = "#5c6673"
RULE: Final = "#d9dee5"
PAPER: Final = "#fefefe"
_LIGHT_AND_DARK: Final = {
    "--ink": (INK, "#e8ecf1"),
    "--muted": (MUTED, "#a3adb9"),
    "--rule": (RULE, "#333c47"),
    "--card": (PAPER, "#1a2027"),
    "--grey": ("#565c66", "#cdd3db"),
    "--violet": ("#5b2bd6", "#8a63f2"),
    "--brown": ("#a02018", "#c23a30"),
}

WIDTH: Final = 5.1  # inches: text stays readable at phone width and is not huge on a desktop
PNG_DPI: Final = 160
_LEGEND_LETTERS: Final = 62

STYLE: Final[dict[Any, Any]] = {
    "font.family": families(),
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "axes.linewidth": 0.8,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.color": INK,
    # Names come from stations: a dollar sign in one is no formula.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "fedpatchcore",
}


def styled(draw: Callable[Parameters, Figure]) -> Callable[Parameters, Figure]:
    """Draw a figure in the one style, whatever style the caller's process has set."""

    @functools.wraps(draw)
    def drawn(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Open a figure of so many inches, outside pyplot: no window, nothing to close."""
    figure = Figure(figsize=(width, height))
    Canvas(figure)
    return figure


def finish(figure: Figure, path: Path | None) -> Figure:
    """Save a figure if a path is given (png, svg or pdf by its ending), and hand it back."""
    if path is not None:
        path = Path(path)
        with mpl.rc_context(STYLE), replacing(path) as file:
            figure.savefig(file, format=path.suffix.lstrip("."), dpi=PNG_DPI)
    return figure


def series_colors(names: Sequence[str]) -> dict[str, str]:
    """Give every series a colour: methods always the same one, others what is left.

    Parameters
    ----------
    names : sequence of str
        Method names, labels of series, categories.

    Returns
    -------
    dict of str to str
        Colours differ for up to eight names; hatches and markers tell further ones apart.
    """
    methods = {METHOD_LABELS[method]: color for method, color in METHOD_COLORS.items()}
    methods.update(METHOD_COLORS)
    colors = {name: methods[name] for name in names if name in methods}
    free = [color for color in PALETTE if color not in colors.values()] or list(PALETTE)
    others = [name for name in names if name not in colors]
    colors.update({name: free[index % len(free)] for index, name in enumerate(others)})
    return colors


def value_axis(axes: Axes, label: str, *, axis: str = "x") -> None:
    """Label the axis of the numbers, with grid lines and its unit."""
    if axis == "x":
        axes.set_xlabel(label)
        axes.xaxis.grid(True)
    else:
        axes.set_ylabel(label)
        axes.yaxis.grid(True)


def legend_above(axes: Axes, names: Sequence[str]) -> None:
    """Put the legend over the axes, in as many columns as the names leave room for."""
    if names:
        # About 50 letters fit beside each other; a handle takes as much room as six.
        fitting = _LEGEND_LETTERS // (max(map(len, names)) + 6)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=max(1, min(fitting, len(names))),
            handlelength=1.4,
            columnspacing=1.2,
            borderaxespad=0.3,
        )


def to_png(figure: Figure, dpi: int = PNG_DPI) -> bytes:
    """Draw a figure as a PNG picture."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def page_colors(*, dark: bool) -> str:
    """CSS variables of the colours that differ between light and dark pages."""
    return " ".join(f"{name}: {pair[dark]};" for name, pair in _LIGHT_AND_DARK.items())


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Draw a figure as an SVG element for a page that defines the style's CSS variables.

    Parameters
    ----------
    figure : Figure
    name : str
        Letters and digits; prefixes the ids, which must be unique in a page.
    description : str
        What the picture shows, for those who cannot see it.

    Returns
    -------
    str
        One `<svg>` element without prolog, metadata or addresses. The text stays text.
    """
    buffer = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # The text stays text: whether a letter can be shown is up to the reader's fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", drawn).replace("xlink:href", "href")
    drawn = re.sub(r'\bid="', f'id="{name}-', drawn)
    drawn = drawn.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    drawn = re.sub(r"font:([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font:\1var(--font)", drawn)
    for variable, (color, _) in _LIGHT_AND_DARK.items():
        drawn = drawn.replace(color, f"var({variable})")
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return drawn.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)

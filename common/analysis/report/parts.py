"""Building blocks of the report: tables with sort keys, figures, cards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from common.analysis.plots.style import to_svg
from common.analysis.wording import MISSING, number

Format = Callable[[float | None], str]


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, and what it is sorted by.

    Attributes
    ----------
    text : str
    sort : float or None
        None: sorted by the text. Missing numbers have infinity and so come last.
    missing : bool
        Shown as an absent value.
    best : bool
        Shown in bold.
    """

    text: str
    sort: float | None = None
    missing: bool = False
    best: bool = False


@dataclass(frozen=True)
class HtmlTable:
    """A table whose columns sort.

    Attributes
    ----------
    caption : str
    columns : list of (str, bool)
        Heading, and whether the column holds numbers.
    rows, foot : list of list of Cell
        `foot` (means) stays at the bottom however the rows are sorted.
    notes : list of str
        Sentences below: what is missing and why.
    """

    caption: str
    columns: list[tuple[str, bool]]
    rows: list[list[Cell]]
    foot: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """A figure of the page: SVG that follows light and dark, with its caption."""

    svg: str
    caption: str
    wide: bool = False


def number_cell(value: float | None, shown: Format = number, *, best: bool = False) -> Cell:
    """Make a cell of a number; a missing one says so."""
    if value is None or math.isnan(value):
        return Cell(MISSING, math.inf, missing=True)
    return Cell(shown(value), float(value), best=best)


def text_cell(text: object) -> Cell:
    """Make a cell of text; empty text is a dash."""
    return Cell(str(text) if text not in (None, "") else "–")  # noqa: RUF001


def frame_table(
    frame: pd.DataFrame,
    caption: str,
    *,
    shown: Format = number,
    foot: Sequence[str] = (),
    mark_best: bool = False,
    notes: Sequence[str] = (),
) -> HtmlTable:
    """Show a table of numbers.

    Parameters
    ----------
    frame : DataFrame of float
        Rows by name (the index's name heads them), columns by name.
    caption : str
    shown : callable
        Writes a number.
    foot : sequence of str
        Rows that stay at the bottom.
    mark_best : bool
        Bold for the highest number of each row with at least two.
    notes : sequence of str

    Returns
    -------
    HtmlTable
    """

    def cells(name: object, row: pd.Series) -> list[Cell]:
        top = row.max() if mark_best and row.count() > 1 else math.nan
        return [text_cell(name), *(number_cell(v, shown, best=bool(v == top)) for v in row)]

    columns = [(str(frame.index.name or ""), False), *((str(name), True) for name in frame.columns)]
    body = [cells(name, row) for name, row in frame.iterrows() if str(name) not in foot]
    last = [cells(name, row) for name, row in frame.iterrows() if str(name) in foot]
    return HtmlTable(caption, columns, body, last, list(notes))


def picture(figure: Figure, name: str, caption: str, *, wide: bool = False) -> Picture:
    """Draw a figure into the page; `name` makes its ids unique, the caption describes it."""
    return Picture(to_svg(figure, name, caption), caption, wide)

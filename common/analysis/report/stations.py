"""What the report says about stations: who took part, who did not and why, who brought what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from common.analysis import plots, wording
from common.analysis.report.parts import (
    Cell,
    HtmlTable,
    Picture,
    number_cell,
    picture,
    text_cell,
)
from common.analysis.runs import Run

_INFLUENCE_NOTE: Final = (
    "Share: of the category's rows. Used: 1 is the use that rows of its share would have by the "
    "held-out good parts. Rise: of the others' held-out scores without its rows (median). Found "
    "and false alarms: the others' test images; without it, by the threshold without its word."
)


@dataclass(frozen=True)
class Contributions:
    """What the stations of one run brought."""

    name: str
    table: HtmlTable
    pictures: list[Picture]


def participation(runs: Sequence[Run]) -> str:
    """Say in one sentence how many of those asked took part."""
    asked = [station for run in runs for station in run.stations]
    if not asked:
        return "No stations: every run had its images in one place."
    used = sum(station.get("status") == "used" for station in asked)
    over = "" if len(runs) == 1 else ", over all runs"
    if used == len(asked):
        return f"All {used} stations that were asked took part{over}."
    return f"{used} of {len(asked)} stations that were asked took part{over}."


def station_table(runs: Sequence[Run], *, absent_only: bool = False) -> HtmlTable | None:
    """Who was asked and what became of it; None if there is nobody to name.

    Parameters
    ----------
    runs : sequence of Run
    absent_only : bool
        Only stations that have no part in the result.

    Returns
    -------
    HtmlTable or None
    """
    rows = [
        [
            text_cell(run.name),
            text_cell(wording.printable(station.get("name", "?"))),
            text_cell(wording.printable(station.get("status", "not recorded"))),
            text_cell(wording.printable(station.get("reason") or "")),
            text_cell(wording.printable(station.get("host") or "")),
            number_cell(station.get("bytes_up"), wording.size),
            number_cell(station.get("bytes_down"), wording.size),
            text_cell(wording.printable(_delivered(station.get("delivery")))),
        ]
        for run in runs
        for station in run.stations
        if not (absent_only and station.get("status") == "used")
    ]
    if not rows:
        return None
    columns = [("run", False), ("station", False), ("status", False), ("reason", False)]
    columns += [("host", False), ("sent", True), ("received", True)]
    columns += [("model there", False)]
    caption = "Stations without a part in a result" if absent_only else "All stations"
    return HtmlTable(caption, columns, rows)


def _delivered(found: Any) -> str:
    """What became of the model at a station: nothing where none is delivered."""
    if not isinstance(found, Mapping):
        return ""
    why = "" if found.get("state") == "active" else found.get("reason")
    return f"{found.get('state', '')}: {why}" if why else str(found.get("state", ""))


def contribution_table(run: Run) -> HtmlTable:
    """What every station of one run brought."""
    shown = (("images", wording.count), ("patches", wording.count), ("budget", wording.count),
             ("rows_sent", wording.count), ("rows_chosen", wording.count), ("bytes", wording.size),
             ("radius", wording.number), ("seconds", wording.duration))  # fmt: skip
    rows = [
        [
            text_cell(wording.printable(station.get("name", "?"))),
            *(number_cell(station.get(key), how) for key, how in shown),
            text_cell(wording.printable(", ".join(sorted(station.get("categories") or {})))),
        ]
        for station in run.contributions
    ]
    columns = [("station", False), *((key.replace("_", " "), True) for key, _ in shown)]
    return HtmlTable(f"{run.name}: what every station brought", [*columns, ("categories", False)],
                     rows)  # fmt: skip


def influence_table(runs: Sequence[Run]) -> HtmlTable | None:
    """What each station's rows do, and its verdict; None where no run tells.

    Parameters
    ----------
    runs : sequence of Run

    Returns
    -------
    HtmlTable or None
        A row a station and category that it has rows in; one a station that has none.
    """
    rows = []
    for run in runs:
        for name, own in sorted(run.influence.items()):
            start = [text_cell(run.name), text_cell(wording.printable(name))]
            start += [
                text_cell(own.get("verdict")),
                text_cell(wording.printable(own.get("sentence"))),
            ]
            categories = own.get("categories") or {}
            known = {c: told for c, told in sorted(categories.items()) if told.get("rows")}
            for category, told in (known or {"": {}}).items():
                rows.append([*start, text_cell(wording.printable(category)), *_influence_of(told)])
    if not rows:
        return None
    columns = [("run", False), ("station", False), ("verdict", False), ("why", False)]
    columns += [("category", False), ("rows", True), ("share", True), ("used by others", True)]
    columns += [("used by itself", True), ("others' rise without it", True)]
    columns += [("others found", True), ("without it", True)]
    columns += [("others' false alarms", True), ("without it", True)]
    return HtmlTable("What each station's rows do", columns, rows, notes=[_INFLUENCE_NOTE])


def _influence_of(told: Mapping[str, Any]) -> list[Cell]:
    rise, rates = told.get("rise_others") or {}, told.get("rates_others") or {}
    found = [rates.get(key) for key in ("found", "found_without")]
    alarms = [rates.get(key) for key in ("false_alarms", "false_alarms_without")]
    return [
        number_cell(told.get("rows"), wording.count),
        *(number_cell(told.get(key)) for key in ("share", "used", "used_by_itself")),
        number_cell(rise.get("median")),
        *(number_cell(value, wording.count) for value in [*found, *alarms]),
    ]


def contributions(runs: Sequence[Run], drawn: Set[Path]) -> list[Contributions]:
    """Table of every run whose stations contributed, and plots of the runs in `drawn`."""
    found = []
    for index, run in enumerate(run for run in runs if run.contributions):
        if run.folder not in drawn:
            found.append(Contributions(run.name, contribution_table(run), []))
            continue
        figure = plots.plot_client_contributions(run.contributions)
        caption = f"{run.name}: images, bank rows and bytes of every station."
        pictures = [picture(figure, f"contributions{index}", caption)]
        partition = partition_frame(run)
        if not partition.empty:
            figure = plots.plot_partition_distribution(partition)
            caption = f"{run.name}: training images of every station by category."
            pictures.append(picture(figure, f"partition{index}", caption))
        found.append(Contributions(run.name, contribution_table(run), pictures))
    return found


def partition_frame(run: Run) -> pd.DataFrame:
    """Images by station and category, from the contributions; empty if not reported."""
    counts = {
        str(station.get("name", "?")): {
            str(category): int(found.get("images", 0))
            for category, found in (station.get("categories") or {}).items()
        }
        for station in run.contributions
    }
    frame = pd.DataFrame.from_dict(counts, orient="index").fillna(0)
    return frame[sorted(frame.columns)]

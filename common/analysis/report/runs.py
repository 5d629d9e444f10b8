"""What the report says about runs: banners, settings, time, versions, how to repeat them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import tomli_w

from common.analysis import wording
from common.analysis.report.parts import HtmlTable, number_cell, text_cell
from common.analysis.runs import Run
from common.config import NAMED_WEIGHTS, PATH_KEYS, Settings

STEPS: Final = ("survey", "build_bank", "aggregate", "score", "write", "total")


@dataclass(frozen=True)
class Banner:
    """What must be seen before any number; `severe` where something went wrong."""

    heading: str
    sentence: str
    severe: bool = False


def banners(runs: Sequence[Run]) -> list[Banner]:
    """Synthetic data, random weights, failed runs, absent stations: as far as they occur."""
    found = []
    synthetic = [run for run in runs if run.synthetic]
    if synthetic:
        text = f"The images{_where(synthetic, runs)} were made by a program. "
        text += "Nothing here says how well real parts would be inspected."
        found.append(Banner("Synthetic data", text))
    random = [run for run in runs if run.random_weights]
    if random:
        text = f"The backbone{_where(random, runs)} was not trained on any image. "
        found.append(
            Banner(
                "Random weights", text + "Results show that the system runs, not what it can do."
            )
        )
    for run in runs:
        if run.failed:
            found.append(Banner(f"Run {run.name} {run.ending}", wording.printable(run.error), True))
    absent = dict.fromkeys(
        f"{station.get('name', '?')} ({station.get('status', '?')})"
        for run in runs
        for station in run.stations
        if station.get("status") != "used"
    )
    if absent:
        told = runs[0].info.get("summary") if len(runs) == 1 else None
        # A run that tells in one line who is missing and why is quoted.
        text = f"{wording.printable(str(told or wording.listed(list(absent))))}. "
        text += "The reasons stand under “Who took part”."
        found.append(Banner("Stations without a part in a result", text, True))
    for run in runs:
        for name, own in sorted(run.influence.items()):
            if own.get("verdict") == "quarantine":
                heading = f"{wording.printable(name)} of run {run.name} is under quarantine"
                found.append(Banner(heading, wording.printable(own.get("sentence")), True))
    return found


def run_table(runs: Sequence[Run]) -> HtmlTable:
    """One row a run: what ran, on what, with which outcome."""
    rows = []
    for run in runs:
        data = run.info.get("data") or {}
        categories = data.get("categories") or sorted(
            {c for by in run.metrics.values() for c in by}
        )
        space = run.feature_space
        layers = space.get("layers") or ""
        layers = layers if isinstance(layers, str) else ",".join(map(str, layers))
        backbone = f"{space.get('backbone') or ''} {layers}".strip()
        rows.append([
            text_cell(run.name), text_cell(run.method),
            text_cell(run.info.get("status", "not recorded")),
            text_cell(run.images),
            number_cell(len(categories) or None, wording.count),
            text_cell(backbone), text_cell(wording.printable(run.weights)),
            text_cell("–" if run.seed is None else run.seed),  # noqa: RUF001
            text_cell(str(run.info.get("started") or "")[:16].replace("T", " ")),
        ])  # fmt: skip
    columns = [("run", False), ("method", False), ("status", False), ("images", False)]
    columns += [("categories", True), ("backbone", False), ("weights", False), ("seed", True)]
    columns += [("started", False)]
    return HtmlTable("The runs of this report", columns, rows)


def time_table(runs: Sequence[Run]) -> HtmlTable | None:
    """Seconds of every step and bytes of every run; None where nothing was recorded."""
    if not any(run.seconds or run.sent_bytes for run in runs):
        return None
    steps = [step for step in STEPS if any(step in run.seconds for run in runs)]
    rows = [
        [
            text_cell(run.name),
            *(number_cell(run.seconds.get(step), wording.duration) for step in steps),
            number_cell(run.sent_bytes.get("up"), wording.size),
            number_cell(run.sent_bytes.get("down"), wording.size),
            text_cell(run.info.get("flower_run_id")),
        ]
        for run in runs
    ]
    columns = [("run", False), *((step.replace("_", " "), True) for step in steps)]
    columns += [("bytes to the server", True), ("bytes to the stations", True)]
    columns += [("Flower run", False)]
    return HtmlTable("Time of every step, and bytes sent", columns, rows)


def settings_table(runs: Sequence[Run]) -> HtmlTable | None:
    """Settings of every run, those that differ first; None where none were recorded."""
    recorded = [run for run in runs if run.settings]
    if not recorded:
        return None
    keys = list(dict.fromkeys(key for run in recorded for key in run.settings))
    differing = [k for k in keys if len({repr(run.settings.get(k)) for run in recorded}) > 1]
    ordered = [*differing, *(key for key in keys if key not in differing)]
    rows = [
        [text_cell(key), *(text_cell(shown_setting(run, key)) for run in recorded)]
        for key in ordered
    ]
    columns = [("setting", False), *((run.name, False) for run in recorded)]
    caption = "Settings" + (" (those that differ first)" if len(recorded) > 1 else "")
    return HtmlTable(caption, columns, rows)


def shown_setting(run: Run, key: str) -> str:
    """A setting as the page may show it: of a path only its last part, of real stations none."""
    value = run.settings.get(key, "")
    if key not in PATH_KEYS and not (key == "weights" and value not in NAMED_WEIGHTS):
        return wording.printable(value)
    if run.real_stations:
        return "not shown (real stations)"
    if value == "":
        return "the synthetic data set" if key == "data-root" else ""
    return wording.printable(re.split(r"[\\/]", str(value).rstrip("/\\"))[-1])


def versions_table(runs: Sequence[Run]) -> HtmlTable | None:
    """Versions of every run; None where none were recorded."""
    recorded: dict[str, dict[str, Any]] = {
        run.name: run.info["versions"] for run in runs if run.info.get("versions")
    }
    if not recorded:
        return None
    keys = list(dict.fromkeys(key for versions in recorded.values() for key in versions))
    rows = [[text_cell(key), *(text_cell(v.get(key)) for v in recorded.values())] for key in keys]
    columns = [("program", False), *((name, False) for name in recorded)]
    return HtmlTable("Versions", columns, rows)


def repeat_commands(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """How to run it again: (what, command) for every run, then the report."""
    commands = [(run.name, _command(run)) for run in runs if run.settings]
    folders = " ".join(shlex.quote(run.name) for run in runs)
    commands.append(("this report", f"fedpatchcore report {folders} --out OUT"))
    return commands


def _command(run: Run) -> str:
    """One command with every setting that is not the default."""
    defaults = Settings().to_run_config()
    left_out = {*PATH_KEYS, "partition"}
    if run.method == "centralized":
        # Its command makes a bank for each category; its hold-out is that of the partition.
        defaults["bank-scope"] = "category"
        left_out.discard("partition")
    changed = {
        key: value
        for key, value in run.settings.items()
        if key not in left_out and value != defaults.get(key)
    }
    if "weights" in changed and changed["weights"] not in NAMED_WEIGHTS:
        changed["weights"] = "WEIGHTS_FILE"
    if run.method == "federated":
        lines = tomli_w.dumps(changed).splitlines()
        pairs = " ".join(line.replace(" = ", "=", 1) for line in lines)
        config = f" --run-config {shlex.quote(pairs)}" if pairs else ""
        return f"flwr run . SUPERLINK --stream{config}"
    words = ["fedpatchcore", "baseline" if run.method == "centralized" else "federate", "DATA"]
    words += ["--out", run.name]
    if run.method == "local":
        return "fedpatchcore experiment FILE.yaml   # with the method local"
    if run.method.startswith("federated_"):
        words += ["--partition", run.method.removeprefix("federated_")]
    for key, value in changed.items():
        words += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    return shlex.join(words)


def _where(some: Sequence[Run], runs: Sequence[Run]) -> str:
    """Name the runs that are meant, if not all."""
    if len(some) == len(runs):
        return ""
    return f" in {wording.listed([run.name for run in some])}"

"""The page about detection: figures of `quality.py` in, Markdown out."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from benchmarks._markdown import Json, about, table

MEASURES = {"image_auroc": "image AUROC", "auc_spro": "AUC-sPRO @0.05"}
GOAL = -0.01  # federated minus centralized, mean of the seeds, on every part
Key = tuple[str, str, str]  # scope, method, varied setting


def quality(result: Json) -> str:
    """One data set: what was judged, how well, at what cost, and the goal."""
    groups: dict[Key, list[Json]] = {}
    for run in result["runs"]:
        groups.setdefault((run["scope"], run["method"], run["variant"]), []).append(run)
    network = result["network"]
    size = f"{network['image_size']} px" if network["image_size"] else "images of their own size"
    seeds = ", ".join(map(str, result["seeds"]))
    parts = "; ".join(
        f"{name} {own['train']} training, {own['good']} good and {own['defective']} defective test "
        "images"
        for name, own in result["parts"].items()
    )
    kind = "Drawings. " if result["drawn"] else ""
    kind += {
        "": "",
        "turned": "Every second test image is turned by 90 degrees. ",
        "lit": "Every second test image has its brightness multiplied by 0.85. ",
    }[result["disturbed"]]
    how = "in one process, as `--in-process` says" if result["in_process"] else "by the commands"
    peer = result["peer"]
    theirs = ", ".join(str(run["seed"]) for run in result["runs"] if run["method"] == "anomalib")
    compared = (
        f"Peer: {peer['name']} (seeds {theirs}), one bank for each part, image scores reweighted "
        "as it does; its seconds hold its features, its MB are the larger part's process."
        if peer["name"]
        else f"anomalib is missing: {peer['missing']}."
    )
    return "\n\n".join(
        [
            f"{kind}{parts}. {network['backbone']} {'+'.join(network['layers'])}, {size}; settings "
            f"{', '.join(result['settings'])}; seeds {seeds}; {how}. {compared} Mean of the seeds, "
            "in brackets the lowest and the highest.",
            *(
                f"{name}:\n\n{_figures(groups, measure, list(result['parts']))}"
                for measure, name in MEASURES.items()
            ),
            table(
                ["bank", "method", "rows", "s, processors", "s, wall", "MB, at most"],
                [(*_words(key), *_cost(runs)) for key, runs in groups.items()],
            ),
            "Seconds are medians over the seeds; the features of all images come from a cache that "
            f"the first runs filled. {_memory(result['in_process'])}",
            # Of disturbed parts the goal says nothing: what is wrong there is what augment is for.
            *([] if result["disturbed"] else [_goal(groups, list(result["parts"]))]),
            about(result),
        ]
    )


def _memory(in_process: bool) -> str:
    if in_process:
        return "Memory is the process's, with its libraries and what earlier runs left in it."
    return "Memory is that of all processes of a run together, with their libraries."


def _figures(groups: dict[Key, list[Json]], measure: str, parts: list[str]) -> str:
    rows = []
    for key, runs in groups.items():
        cells = [_spread([run["parts"][part][measure] for run in runs]) for part in parts]
        rows.append((*_words(key), *cells))
    return table(["bank", "method", *parts], rows)


def _words(key: Key) -> tuple[str, str]:
    scope, method, variant = key
    scope = {"shared": "shared", "category": "one each"}[scope]
    return scope, f"{method.replace('_', ' ')}{f', {variant}' if variant else ''}"


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.3f}"
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return mean if low == high else f"{mean} ({low} to {high})"


def _cost(runs: list[Json]) -> tuple[str, ...]:
    peaks = [run["peak_together_mb"] for run in runs if run["peak_together_mb"] is not None]
    return (
        _rows(run["bank_rows"] for run in runs),
        f"{statistics.median(run['cpu_seconds'] for run in runs):.0f}",
        f"{statistics.median(run['wall_seconds'] for run in runs):.0f}",
        f"{max(peaks):.0f}" if peaks else "not known",
    )


def _rows(counts: Iterable[int]) -> str:
    found = sorted(counts)
    low, high = found[0], found[-1]
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _goal(groups: dict[Key, list[Json]], parts: list[str]) -> str:
    """The part on which federation costs most, and whether that is within the goal."""
    told = []
    for measure, name in MEASURES.items():
        found: list[tuple[float, str]] = []
        for (scope, method, variant), runs in groups.items():
            pooled: list[dict[str, Any]] = groups.get((scope, "centralized", variant), [])
            if not method.startswith("federated") or not pooled:
                continue
            for part in parts:
                means = [
                    statistics.mean(run["parts"][part][measure] for run in side)
                    for side in (runs, pooled)
                ]
                bank, words = _words((scope, method, variant))
                found.append((means[0] - means[1], f"{part}, {words}, bank {bank}"))
        if found:
            worst, where = min(found)
            met = "met" if round(worst, 3) >= GOAL else "MISSED"
            told.append(f"{name} {worst:+.3f} at worst ({where}): goal {GOAL:+.2f}, {met}")
    return f"Federated minus centralized: {'; '.join(told)}." if told else ""

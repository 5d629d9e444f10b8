"""RESULTS.md from the figures that the benchmarks wrote: `python benchmarks/render.py`.

Nothing in it is typed by hand. A subject without a JSON file is named as not run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
RESULTS, PAGE = FOLDER / "results", FOLDER / "RESULTS.md"
Json = dict[str, Any]


def table(heads: list[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def about(facts: Json) -> str:
    """Where and with what it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    kernels = sorted(
        {
            f"{b['prefix']} {b['version']} ({b['architecture']})"
            for b in facts["blas"]
            if b["version"]
        }
    )
    load = facts["load"][0]
    return (
        f"{facts.get('date', '')}: {facts['processor']}, {facts['cpus']} CPUs, load {load:.1f} at "
        f"the start; Python {facts['python']}, {versions}; BLAS {', '.join(kernels)}, torch with "
        f"{', '.join(facts['torch_blas'])}."
    )


def coreset(result: Json) -> str:
    rows = [
        (
            f"{case['rows']:,}",
            f"{case['size']:,}",
            f"{case['cpu_seconds']:.2f}",
            f"{case['peer_cpu_seconds']:.0f}",
            f"**{case['ratio']:.0f}x**",
            case["same_picks"],
        )
        for case in result["cases"]
    ]
    heads = ["rows", "chosen", "s", "peer, s", "ratio", "same picks"]
    lines = [
        f"{result['data']}, projected to 128 numbers. Peer: {result['peer']['name']}, the "
        "median of its picks times their number. Identical to a float64 loop: "
        f"{result['identical_to_float64_loop']}.",
        table(heads, rows),
    ]
    if "growth" in result:
        power = result["growth"]
        lines.append(
            f"Processor time grows as rows^{power['rows']:.2f} x chosen^{power['size']:.2f} "
            f"(fitted to {power['points']} runs)."
        )
    if "two_threads" in result:
        two = result["two_threads"]
        lines.append(
            f"Two threads: {two['ratio']:.2f}x as fast as one at {two['rows']:,} / "
            f"{two['size']:,} (wall; load {two['load'][0]:.1f}), same indices: {two['same']}."
        )
    if "million" in result:
        lines.append(
            f"1,000,000 rows, {result['million']['size']:,} chosen: "
            f"{result['million']['cpu_seconds']:.1f} s of processor time."
        )
    return "\n\n".join(lines)


def search(result: Json) -> str:
    rows = []
    for case in result["cases"]:
        seconds, ratios = case["cpu_seconds"], case["ratios"]
        others = ", ".join(
            f"{name} {value:.1f}x" for name, value in ratios.items() if name not in ("ours", "peer")
        )
        rows.append(
            (
                case["features"],
                case["way"],
                f"{seconds['ours'] * 1e3:.0f}",
                f"{seconds['peer'] * 1e3:.0f}",
                f"**{ratios['peer']:.1f}x**",
                others,
                f"{case['same_rows']['peer']:.2%}",
            )
        )
    bank = result["cases"][0]["bank"]
    return (
        f"{result['cases'][0]['queries']:,} queries, {bank[0]:,} rows of {bank[1]} numbers, exact. "
        f"Peer: {result['peer']['name']}.\n\n"
        + table(["features", "way", "ms", "peer, ms", "ratio", "others", "same rows"], rows)
    )


def features(result: Json) -> str:
    told, image = result["features"], result["image"]
    rows = [
        (
            name,
            f"{told['cpu_seconds'][name] * 1e3:.0f}",
            f"**{told['ratios'][name]:.2f}x**",
            f"{told['errors'][name]['median']:.1e}",
            f"{told['errors'][name]['most']:.1e}",
        )
        for name in told["cpu_seconds"]
    ]
    ours, peer = image["ours"], image["peer"]
    return (
        f"WideResNet-50-2, random weights, one image of {told['image'][0]}x{told['image'][1]}, one "
        "thread; errors relative to the whole network's features.\n\n"
        + table(["way", "ms", "whole network / this", "median error", "largest error"], rows)
        + f"\n\nOne image end to end, float32, bank of {image['bank']:,}: features "
        f"{ours['features'] * 1e3:.0f} + search {ours['search'] * 1e3:.0f} ms, against the cut "
        f"network {peer['features'] * 1e3:.0f} + {result['peer']['name']} "
        f"{peer['search'] * 1e3:.0f} ms: **{image['ratio']:.1f}x**."
    )


def memory(result: Json) -> str:
    rows = []
    for name, case in result["cases"].items():
        beside = case["peak_gb"] - result["imports_gb"]
        disk = f"{case['disk_bytes'] / 1e9:.2f}" if "disk_bytes" in case else "-"
        left = {None: "-", False: "nothing", True: "LEFT"}[case.get("disk_left")]
        rows.append(
            (
                name,
                f"{case['patches']:,}",
                f"{case['kept']:,}" if "kept" in case else "-",
                f"{case['peak_gb']:.2f}",
                f"{beside:.2f}",
                disk,
                left,
            )
        )
    heads = ["case", "patches", "kept", "peak, GB", "without imports, GB", "disk, GB", "disk after"]
    return (
        f"By `/usr/bin/time -v`. Importing the program and torch alone takes "
        f"{result['imports_gb']:.2f} GB.\n\n" + table(heads, rows)
    )


def wire(result: Json) -> str:
    rows = [
        (
            name,
            f"{facts['bytes'] / 1e6:.1f}",
            f"{facts['deflated_bytes'] / 1e6:.1f}",
            f"{facts['score_error_median']:.1e}",
            f"{facts['score_error_most']:.1e}",
            f"{facts['map_correlation']:.6f}",
            f"{facts['image_score_error']:.1e}",
        )
        for name, facts in result["formats"].items()
    ]
    heads = [
        "format",
        "MB",
        "deflated, MB",
        "median score error",
        "largest",
        "correlation",
        "image",
    ]
    pooled = result["all_features_of_300_images_bytes"] / 1e9
    return (
        f"{result['features']}; a bank of {result['bank'][0]:,} x {result['bank'][1]}. All "
        f"features of 300 images of 400x400 in float32 would be {pooled:.1f} GB.\n\n"
        + table(heads, rows)
    )


def end_to_end(result: Json) -> str:
    rows = []
    for name in ("federate", "baseline"):
        side = result[name]
        largest = max(side["peak_mb"].values())
        rows.append((name, f"{side['wall_seconds']:.0f}", f"{largest:.0f}", len(side["peak_mb"])))
    peaks = ", ".join(
        f"{name.partition(': ')[2]} {value:.0f} MB"
        for name, value in result["federate"]["peak_mb"].items()
    )
    stations = [
        (name, f"{facts['bytes_up'] / 1e6:.2f}", f"{facts['bytes_down'] / 1e6:.2f}")
        for name, facts in result["stations"].items()
    ]
    return (
        f"Data: {result['data']} ({result['training_images_bytes'] / 1e6:.1f} MB of training "
        f"images); settings {', '.join(result['settings'])}.\n\n"
        + table(["command", "s", "largest process, MB", "kinds of process"], rows)
        + f"\n\nPeak memory of the federated run's processes: {peaks}.\n\n"
        + table(["station", "MB up", "MB down"], stations)
    )


SUBJECTS: dict[str, tuple[str, Callable[[Json], str]]] = {
    "coreset": ("Coreset", coreset),
    "search": ("Search", search),
    "features": ("Features", features),
    "memory": ("Memory", memory),
    "wire": ("Wire", wire),
    "end_to_end": ("A federated run", end_to_end),
}


def render(folder: Path) -> str:
    """Return the page for the figures in `folder`."""
    parts = [
        "# Results\n\nMade by `benchmarks/render.py` from `benchmarks/results/`. Each figure is a "
        "median of runs in turns with its peer, on one thread unless said; the seconds belong to "
        "the machine and its load, the ratios travel further."
    ]
    for name, (title, make) in SUBJECTS.items():
        path = folder / f"{name}.json"
        if path.is_file():
            result = json.loads(path.read_text(encoding="utf-8"))
            parts.append(f"## {title}\n\n{make(result)}\n\n{about(result['machine'])}")
        else:
            parts.append(f"## {title}\n\nNot run: `python benchmarks/{name}.py`.")
    return "\n\n".join(parts) + "\n"


def main() -> int:
    PAGE.write_text(render(RESULTS), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

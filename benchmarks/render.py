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
SMALL_MB = 100  # processes that never had as much are not listed
SEARCH_TARGET = 1.3  # times as fast as the peer, on any features and BLAS kernels


def table(heads: list[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def kernels(blas: Iterable[Json]) -> str:
    """BLAS libraries with the kernels they chose."""
    told = set()
    for pool in blas:
        if pool["version"]:
            package = f", of {pool['package']}" if pool.get("package") else ""
            told.add(f"{pool['prefix']} {pool['version']} ({pool['architecture']}{package})")
    return ", ".join(sorted(told))


def about(result: Json) -> str:
    """Where and with what it was measured."""
    facts = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    load = facts["load"][0]
    text = (
        f"{facts.get('date', '')}: {facts['processor']}, {facts['cpus']} CPUs, load {load:.1f} at "
        f"the start; Python {facts['python']}, {versions}; BLAS {kernels(facts['blas'])}, torch "
        f"with {', '.join(facts['torch_blas'])}."
    )
    if facts.get("environment"):
        text += " Set: " + ", ".join(f"{k}={v}" for k, v in facts["environment"].items()) + "."
    peer = result.get("peer", {})
    if peer.get("blas"):
        text += (
            f" The peer's process: Python {peer['python']}, torch {peer['torch']} with "
            f"{', '.join(peer['torch_blas'])}, BLAS {kernels(peer['blas'])}."
        )
    return text


def least(ratios: Iterable[float], target: float | None = None) -> str:
    """The worst case in a sentence, against its target where there is one."""
    worst = min(ratios)
    if target is None:
        return f"Least ratio: {worst:.1f}x."
    return f"Least ratio: {worst:.2f}x; target {target}x: {'met' if worst >= target else 'MISSED'}."


def coreset(result: Json) -> str:
    rows = [
        (
            case.get("features", result["data"]),
            f"{case['rows']:,}",
            f"{case['size']:,}",
            f"{case['cpu_seconds']:.2f}",
            f"{case['peer_cpu_seconds']:.0f}",
            f"**{case['ratio']:.0f}x**",
            case["same_picks"],
        )
        for case in result["cases"]
    ]
    heads = ["data", "rows", "chosen", "s", "peer, s", "ratio", "same picks"]
    lines = [
        f"Rows of 128 numbers: features, projected. Peer: {result['peer']['name']}, the "
        "median of its picks times their number. One thread. Identical to a float64 loop: "
        f"{result['identical_to_float64_loop']}.",
        table(heads, rows),
        least(case["ratio"] for case in result["cases"]),
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


def search_table(cases: list[Json]) -> str:
    rows = []
    for case in cases:
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
    return table(["data", "way", "ms", "peer, ms", "ratio", "others", "same rows"], rows)


def search(result: Json) -> str:
    bank = result["cases"][0]["bank"]
    ratios = [case["ratios"]["peer"] for case in result["cases"]]
    lines = [
        f"{result['cases'][0]['queries']:,} queries, {bank[0]:,} rows of {bank[1]} numbers, exact. "
        f"Peer: {result['peer']['name']}. One thread.",
        search_table(result["cases"]),
    ]
    if "other_kernels" in result:
        other = result["other_kernels"]
        ratios += [case["ratios"]["peer"] for case in other["cases"]]
        lines += [
            "The case without structure once more, with other BLAS kernels:",
            search_table(other["cases"]),
            about(other),
        ]
    lines.append("Over all features and kernels measured: " + least(ratios, SEARCH_TARGET).lower())
    return "\n\n".join(lines)


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
        f"WideResNet-50-2, random weights, one image of {told['image'][0]}x{told['image'][1]}. "
        "Peers: torchvision's whole network with hooks, and its modules cut after the last layer "
        "used. One thread; errors relative to the whole network's features.\n\n"
        + table(["way", "ms", "whole network / this", "median error", "largest error"], rows)
        + f"\n\nOne image end to end, float32, bank of {image['bank']:,}: features "
        f"{ours['features'] * 1e3:.0f} + search {ours['search'] * 1e3:.0f} ms, against the cut "
        f"network {peer['features'] * 1e3:.0f} + {result['peer']['name']} "
        f"{peer['search'] * 1e3:.0f} ms: **{image['ratio']:.1f}x**."
    )


def memory(result: Json) -> str:
    rows, limits = [], []
    for name, case in result["cases"].items():
        peaks = {
            "in_all": case["peak_gb"],
            "beside_imports": case["peak_gb"] - result["imports_gb"],
        }
        disk = f"{case['disk_bytes'] / 1e9:.2f}" if "disk_bytes" in case else "-"
        left = {None: "-", False: "nothing", True: "LEFT"}[case.get("disk_left")]
        rows.append(
            (
                name,
                f"{case['patches']:,}",
                f"{case['kept']:,}" if "kept" in case else "-",
                f"{peaks['in_all']:.2f}",
                f"{peaks['beside_imports']:.2f}",
                disk,
                left,
                f"{case['wall_seconds']:.0f}" if "wall_seconds" in case else "-",
            )
        )
        limits += [
            f"{name}, {place.replace('_', ' ')}: target {limit} GB: "
            f"{'met' if peaks[place] <= limit else 'MISSED'}."
            for place, limit in (case["limit_gb"] or {}).items()
        ]
    compared = [
        f"{name}: {kept['peak_gb'] / case['peak_gb']:.1f}x less than with everything kept."
        for name, case in result["cases"].items()
        if (kept := result["cases"].get(f"{name}, everything kept"))
    ]
    heads = ["case", "patches", "kept", "peak, GB", "without imports, GB", "disk, GB", "disk after"]
    features = "Made-up features of 1536 numbers"
    if "large" in result["cases"]:
        features = "300 image files of 1000x750 through WideResNet-50-2 (random weights)"
    return "\n\n".join(
        [
            f"{features}. By `/usr/bin/time -v`; importing the program and torch alone takes "
            f"{result['imports_gb']:.2f} GB.",
            table([*heads, "s"], rows),
            " ".join([*compared, *limits]),
        ]
    )


def wire(result: Json) -> str:
    rows = [
        (
            name,
            f"{facts['bytes'] / 1e6:.1f}",
            f"{facts['deflated_bytes'] / 1e6:.1f}",
            f"**{result['all_features_of_300_images_bytes'] / facts['bytes']:.0f}x**",
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
        "pooled / this",
        "median score error",
        "largest",
        "correlation",
        "image",
    ]
    pooled = result["all_features_of_300_images_bytes"] / 1e9
    return (
        f"{result['features']}; a bank of {result['bank'][0]:,} x {result['bank'][1]}. Peer: "
        f"pooling all features of 300 images of 400x400 in float32, {pooled:.1f} GB.\n\n"
        + table(heads, rows)
    )


def spro(result: Json) -> str:
    evaluator = result.get("evaluator")
    heads = ["category", "maps", "regions", "AUC-sPRO @0.05", "ms", "plain sweep, ms", "ratio"]
    heads += ["pixel AUROC by scikit-learn, ms", "ratio", "merged counts, ms", "off by", "bytes"]
    rows, theirs = [], []
    for name, facts in result["categories"].items():
        seconds, ratios, apart = facts["cpu_seconds"], facts["ratios"], facts["difference"]
        rows.append(
            (
                f"{name}, {facts['size'][1]}x{facts['size'][0]}",
                facts["images"],
                facts["regions"],
                f"{facts['auc_spro']['0.05']:.4f}",
                f"{seconds['same work'] * 1e3:.1f}",
                f"{seconds['plain sweep'] * 1e3:.0f}",
                f"**{ratios['plain sweep']:.1f}x**",
                f"{seconds['scikit-learn'] * 1e3:.0f}",
                f"**{ratios['scikit-learn']:.1f}x**",
                f"{seconds['counts'] * 1e3:.1f}",
                f"{apart['counts']:.1e}",
                f"{facts['counts_bytes']:,}",
            )
        )
        if evaluator:
            other = facts["evaluator"]
            total = other["seconds"] + (other["read"] or 0)
            ours = seconds["same work"] + facts["read"]
            theirs.append(
                (
                    name,
                    f"{other['seconds']:.2f}",
                    f"**{other['ratio']:.0f}x**",
                    f"{total / ours:.0f}x",
                    f"{other['difference']:.1e}",
                )
            )
    categories = result["categories"].values()
    worst = max(
        facts["difference"][name]
        for facts in categories
        for name in ("plain sweep", "scikit-learn")
    )
    lines = [
        f"Data: {result['data']}, {result['maps']} maps. Peers: {result['peer']['name']}. One "
        "thread, arrays to numbers, the exact evaluation without defect types unless said; merged "
        "counts, which stations send, with them. Largest difference between ours and the plain "
        f"peers: {worst:.0e}.",
        table(heads, rows),
        least(
            facts["ratios"][name]
            for facts in categories
            for name in ("plain sweep", "scikit-learn")
        ),
    ]
    if evaluator:
        lines += [
            f"The same maps in `{evaluator['script']}`"
            + (f", version {evaluator['version']}" if evaluator["version"] else "")
            + ", run once; its thresholds are about a thousand, hence the differences:",
            table(
                ["category", "s", "ratio", "ratio with reading", "largest difference"],
                theirs,
            ),
            least(facts["evaluator"]["ratio"] for facts in categories),
        ]
    return "\n\n".join(lines)


def end_to_end(result: Json) -> str:
    commands, programs = [], []
    for name in ("federate", "baseline"):
        side = result[name]
        metrics = side["metrics"]
        commands.append(
            (
                name,
                f"{side['wall_seconds']:.0f}",
                f"{side['cpu_seconds']:.0f}",
                f"{side['peak_together_mb']:.0f}",
                f"{metrics['bank_rows']:,}",
                f"{metrics['auc_spro']:.4f}",
                f"{metrics['image_auroc']:.4f}",
            )
        )
        programs += [
            (
                name,
                f"{facts['count']} x {program}",
                f"{facts['peak_mb']:.0f}",
                f"{facts['cpu_seconds']:.1f}",
            )
            for program, facts in side["programs"].items()
            if facts["peak_mb"] >= SMALL_MB
        ]
    largest = [
        facts["peak_mb"]
        for program, facts in result["federate"]["programs"].items()
        if program.startswith("station")
    ]
    stations = [
        (
            name,
            facts["images"],
            f"{facts['patches']:,}",
            f"{facts['rows_sent']:,}",
            f"{facts['work_seconds']:.1f}",
            f"{facts['bytes_up'] / 1e6:.2f}",
            f"{facts['bytes_down'] / 1e6:.2f}",
        )
        for name, facts in result["stations"].items()
    ]
    steps = ", ".join(f"{name} {value:.0f}" for name, value in result["steps_seconds"].items())
    heads = ["command", "s, wall", "s, processors", "MB together, at most", "bank rows"]
    heads += ["AUC-sPRO @0.05", "image AUROC"]
    at_most = f" Any station's peak memory: at most {max(largest):.0f} MB." if largest else ""
    return "\n\n".join(
        [
            f"Data: {result['data']} ({result['training_images_bytes'] / 1e6:.1f} MB of training "
            f"images); settings {', '.join(result['settings'])}. Peer: {result['peer']['name']}. "
            "All processors, wall seconds with the start of Flower and Ray. Same images, pixels "
            f"and bank size on both sides: {result['same_work']}. Metrics are means over the "
            "categories, of a random network on drawings where so said.",
            table(heads, commands),
            f"Federated / pooled: **{result['cpu_ratio']:.2f}x** the processor seconds, "
            f"**{result['wall_ratio']:.2f}x** the wall seconds (which other work on the machine "
            "stretches). Steps of the federated run, s: "
            f"{steps}.",
            table(
                ["station", "images", "patches", "rows sent", "own work, s", "MB up", "MB down"],
                stations,
            ),
            "In a simulation stations take turns in the station processes, so that the largest of "
            f"these bounds every station.{at_most} Pages that processes share are counted in each.",
            table(["command", "processes", "largest, MB", "s, processors"], programs),
        ]
    )


def autovi(result: Json) -> str:
    rows = []
    for station in result["stations"]:
        told = station["contribution"] or {}
        peaks = station["peak_megabytes"]
        rows.append(
            (
                station["name"],
                station["status"],
                station["training_images"],
                station["test_images"],
                f"{station['image_bytes'] / 1e6:.0f}",
                f"{told.get('patches', 0):,}",
                f"{told.get('rows_sent', 0):,}",
                f"{told.get('seconds', 0):.0f}",
                f"{station['megabytes_up']:.1f}",
                f"{station['megabytes_down']:.1f}",
                f"{peaks.get('flwr-clientapp', 0) / 1e3:.2f}",
            )
        )
    heads = ["station", "", "training images", "test images", "MB of images", "patches"]
    heads += ["rows sent", "its build, s", "MB up", "MB down", "peak, GB"]
    steps = ", ".join(f"{name} {value:.0f}" for name, value in result["seconds"].items())
    others = ", ".join(
        f"{name.partition(': ')[0]} {value / 1e3:.2f}"
        for name, value in result["peak_megabytes"].items()
        if name.startswith(("executor: flwr-serverapp", "superlink: flower", "gateway: "))
    )
    settings = ", ".join(f"{key}={value}" for key, value in result["settings"].items())
    scores = [
        (
            name,
            facts["counts"]["images"],
            f"{facts['localization']['auc_spro']['0.05']:.4f}",
            f"{facts['classification']['auc_roc']:.4f}",
        )
        for name, facts in result["metrics"].items()
        if "auc_spro" in facts.get("localization", {}) and "classification" in facts
    ]
    thinned = ""
    if result["test_every"] > 1:
        thinned = f" Only 1 in {result['test_every']} test images of each kind was scored."
    resumed = (
        " It went on from features of an earlier start."
        if result["features_of_an_earlier_start"]
        else ""
    )
    return "\n\n".join(
        [
            f"{result['data']}, by category, through a real plant on one machine: five stations "
            f"that share its cores. {result['summary']}. Settings {settings}; a features cache of "
            f"{result['cache_gb']:g} GB a station.{thinned}{resumed}",
            f"**{result['wall_seconds'] / 60:.0f} minutes** in all; steps, s: {steps}. Global "
            f"bank: {result['global_rows']:,} rows.",
            table(heads, rows),
            f"Peaks are the largest process's of a station (VmHWM); of the server's, GB: {others}.",
            table(["category", "test images", "AUC-sPRO @0.05", "image AUROC"], scores),
            "With random weights and drawings these metrics are no yardstick of anything.",
        ]
    )


SUBJECTS: dict[str, tuple[str, Callable[[Json], str]]] = {
    "coreset": ("Coreset", coreset),
    "search": ("Search", search),
    "features": ("Features", features),
    "spro": ("AUC-sPRO", spro),
    "memory": ("Memory", memory),
    "wire": ("Wire", wire),
    "end_to_end": ("A federated run", end_to_end),
}

#: Hours or many gigabytes: run by hand, each by its own command.
LONG: dict[str, tuple[str, Callable[[Json], str], str]] = {
    "memory_large": ("Memory at full scale", memory, "memory.py --large"),
    "autovi": ("AutoVI at full scale", autovi, "autovi.py DATA --work FOLDER"),
}
SECTIONS = {name: (*known, f"{name}.py") for name, known in SUBJECTS.items()} | LONG


def render(folder: Path) -> str:
    """Return the page for the figures in `folder`."""
    parts = [
        "# Results\n\nMade by `benchmarks/render.py` from `benchmarks/results/`. Each figure is a "
        "median of runs in turns with its peer, on one thread unless said; the seconds belong to "
        "the machine and its load, the ratios travel further."
    ]
    for name, (title, make, command) in SECTIONS.items():
        path = folder / f"{name}.json"
        if path.is_file():
            result = json.loads(path.read_text(encoding="utf-8"))
            try:
                section = f"{make(result)}\n\n{about(result)}"
            except KeyError as error:
                raise SystemExit(f"{path} lacks {error}; run `benchmarks/{command}`") from error
            parts.append(f"## {title}\n\n{section}")
        else:
            parts.append(f"## {title}\n\nNot run: `python benchmarks/{command}`.")
    return "\n\n".join(parts) + "\n"


def main() -> int:
    PAGE.write_text(render(RESULTS), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Sections of the page about one piece of the program each: figures in, Markdown out."""

from __future__ import annotations

from benchmarks._markdown import Json, about, least, table

SEARCH_TARGET = 1.3  # times as fast as the peer, on any features and BLAS kernels


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


def device(result: Json) -> str:
    def milliseconds(value: float | None) -> str:
        return "-" if value is None else f"{value * 1e3:,.1f}"

    rows = [
        (
            case["what"],
            *(milliseconds(case.get(name)) for name in ("device", "processor", "peer")),
            f"{case['ratio']:.1f}x",
            f"{case['peer_ratio']:.1f}x" if "peer_ratio" in case else "-",
            f"{case['error']:.0e}" if "error" in case else "0",
        )
        for case in result["cases"]
    ]
    heads = ["step", "GPU, ms", "processor, ms", "peer on the GPU, ms"]
    heads += ["faster than processor", "faster than peer", "difference"]
    return "\n\n".join(
        (
            f"{result['device']} against the {result['machine']['cpus']} cores beside it, wall "
            "time. Selection and search give the processor's rows and distances to the bit; the "
            "peer's `cdist` does not. Features: the largest difference of a patch, by the median "
            "norm. Made-up data and random weights.",
            table(heads, rows),
        )
    )

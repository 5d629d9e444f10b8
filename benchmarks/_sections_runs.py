"""Sections of the page about whole runs: figures in, Markdown out."""

from __future__ import annotations

from benchmarks._markdown import Json, table

SMALL_MB = 100  # processes that never had as much are not listed


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


def line(result: Json) -> str:
    one, many = result["one_client_seconds"], result["pictures_a_second"]
    ratios = ", ".join(f"{ratio:.2f}" for ratio in many["ratios"])
    return "\n\n".join(
        [
            f"{result['count']} pictures ({result['pictures']}), {result['image_size']} pixels, "
            f"ResNet-18, {result['bank']:,} rows; `fedpatchcore serve` with its journal on the "
            "disk, every verdict durable before it is answered. Scores equal `predict`'s.",
            table(
                ["", "in a program", "served"],
                [
                    (
                        "one picture, median, ms (`predict_single`, one client)",
                        f"{1000 * one['predict_single']:.0f}",
                        f"{1000 * one['served']:.0f}",
                    ),
                    (
                        f"pictures a second (`predict`, {result['clients']} clients)",
                        f"{many['predict']:.2f}",
                        f"{many['served']:.2f}",
                    ),
                ],
            ),
            f"A served picture takes {1000 * one['more']:.0f} ms more than the same one in a "
            f"program just before (median). Served / `predict`, by rounds: {ratios}.",
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
    heads += ["rows sent", "own work, s", "MB up", "MB down", "peak, GB"]
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
    remark = f" {result['remark']}" if result.get("remark") else ""
    resumed = (
        " It went on from features of an earlier start."
        if result["features_of_an_earlier_start"]
        else ""
    )
    return "\n\n".join(
        [
            f"{result['data']}, by category, through a real plant on one machine: five stations "
            f"that share its cores. {result['summary']}. Settings {settings}; a features cache of "
            f"{result['cache_gb']:g} GB a station.{thinned}{resumed}{remark}",
            f"**{result['wall_seconds'] / 60:.0f} minutes** in all; steps, s: {steps}. Global "
            f"bank: {sum(result['global_rows'].values()):,} rows.",
            table(heads, rows),
            f"Peaks are the largest process's of a station (VmHWM); of the server's, GB: {others}.",
            table(["category", "test images", "AUC-sPRO @0.05", "image AUROC"], scores),
            "With random weights and drawings these metrics are no yardstick of anything.",
        ]
    )

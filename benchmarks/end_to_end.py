"""A federated run side by side with the same data pooled in one place: seconds, bytes, memory.

    python benchmarks/end_to_end.py [--quick] [--data FOLDER] [--set KEY=VALUE] [--out FILE.json]

Both are the commands that people run, on the same drawn data set: `fedpatchcore federate`
(Flower's own processes, one station a category list) and `fedpatchcore baseline`, which pools all
images; both with one shared bank, so that both search as much. They take turns. Checked is that
both judged the same images, regions and pixels with banks of one scope, whose rows differ in number
by a hundredth at most; their metrics stand beside the times.

Told are wall and processor seconds with all processes of the run, the bytes that each station sent
and received, the seconds it worked (its bank and its scores), and the peak memory of every process
as the kernel recorded it (VmHWM). In a simulation stations take turns in Flower's station
processes, so that the largest of these is the bound on any station's memory. The wall seconds of a
federated run hold the start of Flower and Ray.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks._bench import finish, machine
from benchmarks._plant import MARK, ROLE, TOOL, Memory

LIMIT = "0.05"  # the FPR limit whose AUC-sPRO is told
STATION = "station (ray::ClientAppActor)"
TICK = os.sysconf("SC_CLK_TCK")


class Watch(Memory):
    """Peak memory and processor seconds of each marked process, as last seen before it ended."""

    def __init__(self, mark: str) -> None:
        self.processes: dict[tuple[str, str], dict[str, Any]] = {}
        super().__init__(mark)

    def _look(self, folder: Path) -> float:
        now = super()._look(folder)
        if not now:
            return now
        stat = (folder / "stat").read_text()
        fields = stat.rpartition(")")[2].split()
        status = (folder / "status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        names = [Path(word).name for word in words if word]
        known = [n for n in names if n.startswith(("flower-", "flwr-", "fedpatchcore", "ray::"))]
        name = (known or names or [stat.partition("(")[2].partition(")")[0]])[0]
        seen = self.processes.setdefault((folder.name, fields[19]), {"name": name})
        # Ray's processes rename themselves: one that was a station's once stays one.
        if seen["name"] != STATION:
            seen["name"] = STATION if name.startswith("ray::ClientAppActor") else name
        seen["peak_mb"] = max(seen.get("peak_mb", 0.0), peak)
        seen["cpu"] = (int(fields[11]) + int(fields[12])) / TICK
        return now

    def by_program(self) -> dict[str, dict[str, Any]]:
        """How many processes of each program there were, the largest, and their seconds."""
        told: dict[str, dict[str, Any]] = {}
        for seen in self.processes.values():
            facts = told.setdefault(seen["name"], {"count": 0, "peak_mb": 0.0, "cpu_seconds": 0.0})
            facts["count"] += 1
            facts["peak_mb"] = max(facts["peak_mb"], seen["peak_mb"])
            facts["cpu_seconds"] += seen["cpu"]
        return dict(sorted(told.items()))


def run_command(role: str, words: list[str], home: Path, minutes: float) -> dict[str, Any]:
    """Run a command and record what it took, with all processes below it."""
    mark = str(uuid.uuid4())
    watch = Watch(mark)
    environment = {**os.environ, MARK: mark, ROLE: role, "XDG_CACHE_HOME": str(home)}
    start = time.perf_counter()
    process = subprocess.Popen(
        [TOOL, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=60 * minutes)
    except subprocess.TimeoutExpired:
        sys.exit(f"{role}: not done within {minutes:g} minutes")
    finally:
        # The command ends what it started when it is told to end.
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
        watch.stop()
    wall = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{said[-4000:]}")
    programs = watch.by_program()
    return {
        "wall_seconds": wall,
        "cpu_seconds": sum(facts["cpu_seconds"] for facts in programs.values()),
        "programs": programs,
        "peak_together_mb": watch.together,
    }


def traffic(run: Path, data: Path) -> dict[str, Any]:
    """What every station sent and received, and the bytes of all images, which stay."""
    facts = json.loads((run / "run.json").read_text())
    told = json.loads((run / "contributions.json").read_text())["stations"]
    shares = {station["name"]: station for station in told}
    stations = {}
    for station in facts["stations"]:
        share = shares[station["name"]]
        stations[station["name"]] = {
            "bytes_up": station["bytes_up"],
            "bytes_down": station["bytes_down"],
            "images": share["images"],
            "patches": share["patches"],
            "rows_sent": share["rows_sent"],
            "work_seconds": share["seconds"],
        }
    images = sum(path.stat().st_size for path in data.glob("*/train/**/*.png"))
    return {
        "stations": stations,
        "steps_seconds": facts["seconds"],
        "training_images_bytes": images,
    }


def judged(run: Path) -> dict[str, Any]:
    """Metrics of a run, means over the categories, and what was judged."""
    facts = json.loads((run / "run.json").read_text())
    found = {
        path.parent.name: json.loads(path.read_text())
        for path in sorted((run / "evaluation" / "metrics").glob("*/*/metrics.json"))
    }
    categories = {
        name: {
            "auc_spro": metrics["localization"]["auc_spro"][LIMIT],
            "image_auroc": metrics["classification"]["auc_roc"],
            "counts": metrics["counts"],
        }
        for name, metrics in found.items()
    }
    return {
        "categories": categories,
        "auc_spro": statistics.mean(facts["auc_spro"] for facts in categories.values()),
        "image_auroc": statistics.mean(facts["image_auroc"] for facts in categories.values()),
        "bank_rows": sum(facts["bank"]["rows"].values()),
        "scope": facts["bank"]["scope"],
    }


def check(federated: dict[str, Any], pooled: dict[str, Any]) -> bool:
    """Whether both did the same work; says what differs."""
    counts = [
        {name: facts["counts"] for name, facts in side["categories"].items()}
        for side in (federated, pooled)
    ]
    rows, wanted = federated["bank_rows"], pooled["bank_rows"]
    same = {
        "images, regions and pixels judged": counts[0] == counts[1],
        "scope of the bank": federated["scope"] == pooled["scope"],
        "rows of the bank, within 1 %": abs(rows - wanted) <= 0.01 * wanted,
    }
    for what, holds in same.items():
        if not holds:
            print(f"not the same on both sides: {what}", flush=True)
    return all(same.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, two stations, under a minute"
    )
    parser.add_argument("--data", type=Path, help="a data folder (default: a drawn one)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10, help="of each command at most")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    # What was started is ended even if this program is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    result: dict[str, Any] = {"machine": machine()}
    print(result["machine"], flush=True)
    settings = ["weights=random", "bank-scope=shared", *options.set]
    if options.quick:
        settings += ["backbone=resnet18", "num-stations=2"]
    words = [word for setting in settings for word in ("--set", setting)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        home, data = Path(folder) / "cache", options.data
        if data is None:
            data = Path(folder) / "data"
            size, images = ("64", "3") if options.quick else ("128", "12")
            subprocess.run(
                [TOOL, "synth", str(data), "--images", images, "--size", size],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        sides: dict[str, list[dict[str, Any]]] = {"federate": [], "baseline": []}
        for repeat in range(options.repeats):
            for name, done in sides.items():
                out = Path(folder) / f"{name}-{repeat}"
                own = home / f"{name}-{repeat}"  # nobody finds the other's features
                command = [name, str(data), "--out", str(out), *words]
                done.append(run_command(name, command, own, options.minutes))
                last = done[-1]
                print(
                    f"{name}: {last['wall_seconds']:.1f} s, {last['cpu_seconds']:.1f} s of "
                    f"processors, at most {last['peak_together_mb']:.0f} MB together",
                    flush=True,
                )
        result["settings"] = settings
        result["data"] = (
            str(options.data) if options.data else f"drawn, {images} training images of {size} each"
        )
        result |= traffic(Path(folder) / "federate-0", data)
        for name, done in sides.items():
            middle = sorted(done, key=lambda facts: facts["wall_seconds"])[len(done) // 2]
            result[name] = middle | {"metrics": judged(Path(folder) / f"{name}-0")}
        for kind in ("wall", "cpu"):
            result[f"{kind}_ratio"] = statistics.median(
                a[f"{kind}_seconds"] / b[f"{kind}_seconds"]
                for a, b in zip(sides["federate"], sides["baseline"], strict=True)
            )
    result["peer"] = {"name": "fedpatchcore baseline, all images in one place"}
    result["repeats"] = options.repeats
    pooled, federated = result["baseline"]["metrics"], result["federate"]["metrics"]
    result["same_work"] = check(federated, pooled)
    for name, side in (("federate", federated), ("baseline", pooled)):
        print(
            f"{name}: AUC-sPRO@{LIMIT} {side['auc_spro']:.4f}, "
            f"image AUROC {side['image_auroc']:.4f}, {side['bank_rows']} rows"
        )
    for name, station in result["stations"].items():
        print(
            f"{name}: {station['images']} images, {station['work_seconds']:.1f} s of work, "
            f"{station['bytes_up']:,} bytes up, {station['bytes_down']:,} down"
        )
    for name in sides:
        for program, facts in result[name]["programs"].items():
            print(
                f"{name}: {facts['count']} x {program}, at most {facts['peak_mb']:.0f} MB, "
                f"{facts['cpu_seconds']:.1f} s"
            )
    print(f"ratio, wall {result['wall_ratio']:.2f}, processors {result['cpu_ratio']:.2f}")
    finish(result, options.out)


if __name__ == "__main__":
    main()

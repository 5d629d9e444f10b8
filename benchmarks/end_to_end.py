"""A federated run side by side with the same data pooled in one place: seconds, bytes, memory.

    python benchmarks/end_to_end.py [--quick] [--data FOLDER] [--set KEY=VALUE] [--out FILE.json]

Both are the commands that people run, on the same drawn data set: `fedpatchcore federate`
(Flower's own processes, one station a category list) and `fedpatchcore baseline`, which pools all
images. They take turns. Told are wall and processor seconds, the bytes that each station sent and
received beside the bytes of its images, and the peak memory of every kind of process as the kernel
recorded it (VmHWM). The wall seconds of a federated run hold the start of Flower and Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks._bench import finish, machine
from benchmarks.large_bank import MARK, ROLE, TOOL, Memory


def run_command(role: str, words: list[str], home: Path) -> dict[str, Any]:
    """Run a command and record what it took, with all processes below it."""
    mark = str(uuid.uuid4())
    memory = Memory(mark)
    environment = {**os.environ, MARK: mark, ROLE: role, "XDG_CACHE_HOME": str(home)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [TOOL, *words], env=environment, capture_output=True, text=True, check=False, timeout=3600
    )
    wall = time.perf_counter() - start
    memory.stop()
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall_seconds": wall,
        "cpu_seconds_of_waited_processes": cpu,
        "peak_mb": dict(sorted(memory.peaks.items())),
        "peak_together_mb": memory.together,
    }


def traffic(run: Path, data: Path) -> dict[str, Any]:
    """What every station sent and received, and the bytes of all images, which stay."""
    facts = json.loads((run / "run.json").read_text())
    kept = ("bytes_up", "bytes_down", "images", "status")
    images = sum(path.stat().st_size for path in data.glob("*/train/**/*.png"))
    return {
        "stations": {
            station["name"]: {key: station[key] for key in kept if key in station}
            for station in facts["stations"]
        },
        "steps_seconds": facts["seconds"],
        "bank_rows": facts["bank"]["rows"],
        "training_images_bytes": images,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute")
    parser.add_argument("--data", type=Path, help="a data folder (default: a drawn one)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    settings = ["weights=random", *options.set]
    if options.quick:
        settings.append("backbone=resnet18")
    words = [word for setting in settings for word in ("--set", setting)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        home, data = Path(folder) / "cache", options.data
        if data is None:
            data = Path(folder) / "data"
            size, images = ("64", "6") if options.quick else ("128", "20")
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
                done.append(run_command(name, [name, str(data), "--out", str(out), *words], own))
        result["settings"] = settings
        result["data"] = str(options.data) if options.data else f"drawn, {images} images of {size}"
        result |= traffic(Path(folder) / "federate-0", data)
        result["federate"], result["baseline"] = sides["federate"][0], sides["baseline"][0]
        result["wall_ratio"] = statistics.median(
            a["wall_seconds"] / b["wall_seconds"]
            for a, b in zip(sides["federate"], sides["baseline"], strict=True)
        )
    print(json.dumps(result, indent=1))
    finish(result, options.out)


if __name__ == "__main__":
    main()

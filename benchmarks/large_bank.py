"""A bank of 600 MB from each of two stations, through a real plant: peak memory and time.

    python benchmarks/large_bank.py [--megabytes 614] [--out FILE.json]

Everything is real and on this machine: keys, TLS, a SuperLink with its database, an executor, the
gateway, two stations with SuperNodes behind their relays, the program's own ServerApp and
ClientApp. The images are noise of 1000 x 750 pixels; features of ResNet-18's four layers (960
numbers, a patch every four pixels) make many rows of few images, and `local-coreset-ratio` 1 lets a
station send nearly all of them. So each station sends a bank of so many megabytes in parts, and the
global bank, as large as that of one station, goes down to both in parts again.

The peak memory of a process is the kernel's own record (VmHWM), read until the process ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks._bench import finish, machine
from common.processes import free_ports

TOOL = str(Path(sys.executable).parent / "fedpatchcore")
STATIONS = ("north", "south")
MARK, ROLE = "FEDPATCHCORE_BENCH_MARK", "FEDPATCHCORE_BENCH_ROLE"
HEIGHT, WIDTH = 750, 1000
SMALL = (60, 80)
PATCHES = -(-HEIGHT // 4) * -(-WIDTH // 4)
ROW_BYTES = 960 * 4  # float32


def make_images(root: Path, bank_images: int, seed: int) -> None:
    """Noise that is smooth enough to look like something.

    What is judged is small, because it is the bank's way that is measured: the last training
    image, which is held out, and the test images.
    """
    rng = np.random.default_rng(seed)
    sizes = [("train/good", (HEIGHT, WIDTH))] * bank_images
    sizes += [("train/good", SMALL), ("test/good", SMALL), ("test/good", SMALL)]
    for number, (folder, (height, width)) in enumerate(sizes):
        coarse = rng.integers(0, 255, (height // 10, width // 10, 3), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((width, height)), np.int16)
        noise = rng.integers(-20, 20, picture.shape, dtype=np.int16)
        pixels = np.clip(picture + noise, 0, 255).astype(np.uint8)
        path = root / "plate" / folder / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


class Memory:
    """Watches the peak resident memory of all marked processes."""

    def __init__(self, mark: str) -> None:
        self.peaks: dict[str, float] = {}
        self.together = 0.0
        self._mark = f"{MARK}={mark}".encode()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            now = 0.0
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit():
                    with contextlib.suppress(OSError, StopIteration):
                        now += self._look(folder)
            self.together = max(self.together, now)

    def _look(self, folder: Path) -> float:
        words = (folder / "environ").read_bytes().split(b"\0")
        if self._mark not in words:
            return 0.0
        role = next(w for w in words if w.startswith(ROLE.encode())).decode().partition("=")[2]
        status = dict(
            line.split(":", 1)
            for line in (folder / "status").read_text().splitlines()
            if ":" in line
        )
        if "VmHWM" not in status:
            return 0.0  # it is ending
        name = f"{role}: {_program((folder / 'cmdline').read_bytes())}"
        peak, now = (int(status[key].split()[0]) * 1024 / 1e6 for key in ("VmHWM", "VmRSS"))
        self.peaks[name] = max(self.peaks.get(name, 0.0), peak)
        return now


def _program(cmdline: bytes) -> str:
    """Name a process by its program rather than by the interpreter."""
    words = [Path(word).name for word in cmdline.decode(errors="replace").split("\0") if word]
    for word in words:
        if word.startswith(("flower-", "flwr-", "fedpatchcore")):
            return word
    return words[0] if words else "?"


@contextlib.contextmanager
def running(role: str, environment: dict[str, str], folder: Path, *words: str) -> Iterator[None]:
    """Run a command of ours in a session of its own, and end all of it."""
    with (folder / f"{role}.log").open("wb") as log:
        process = subprocess.Popen(
            [TOOL, *words],
            env={**environment, ROLE: role},
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        for way in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, way)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
                break


def command(environment: dict[str, str], folder: Path, *words: str, seconds: float = 120) -> str:
    done = subprocess.run(
        [TOOL, *words],
        env={**environment, ROLE: "administration"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def measure(megabytes: float, aggregation: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Run the plant once."""
    rows = round(megabytes * 1e6 / ROW_BYTES)
    bank_images = -(-rows // PATCHES)
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark, "FEDPATCHCORE_CACHE": str(folder / "cache")}
    superlink, gateway = free_ports(2)
    names = [word for station in STATIONS for word in ("--station", station)]
    command(environment, folder, "keys", "keys", *names)
    for seed, station in enumerate(STATIONS):
        make_images(folder / "images" / station, bank_images, seed)
        keys = folder / "keys" / "stations" / station
        (folder / f"{station}.toml").write_text(
            f'station = "{station}"\ndata-root = "{folder / "images" / station}"\n'
            f'cache-dir = "{folder / "caches" / station}"\n\n[server]\n'
            f'address = "127.0.0.1:{gateway}"\nca = "{keys / "ca.crt"}"\n'
            f'key = "{keys / "station.key"}"\n'
        )
    server, link = str(folder / "keys" / "server"), f"127.0.0.1:{superlink}"
    access = ("--keys", server, "--superlink", link)
    runs = ("--runs", str(folder / "runs"))
    memory = Memory(mark)
    with contextlib.ExitStack() as stack:

        def start(role: str, *words: str) -> None:
            stack.enter_context(running(role, environment, folder, "plant", *words))

        state = ("--state", str(folder / "state"), "--port", str(superlink))
        start("superlink", "superlink", "--keys", server, *state)
        start("executor", "executor", *access, *runs)
        here = ("--host", "127.0.0.1", "--port", str(gateway))
        gateway_keys = ("--keys", str(folder / "keys" / "gateway"), "--superlink", link)
        start("gateway", "gateway", *gateway_keys, *here)
        _wait(lambda: b"startup complete" in (folder / "superlink.log").read_bytes(), "SuperLink")
        command(environment, folder, "plant", "register", *access)
        for station in STATIONS:
            start(station, "station", str(folder / f"{station}.toml"))
        settings = {
            "backbone": "resnet18",
            "layers": "layer1,layer2,layer3,layer4",
            "weights": "random",
            "wire-dtype": "float32",
            "coreset-projection": 16,
            "local-coreset-ratio": 1.0,
            "global-bank-size": rows,
            "oversample-factor": 2.0,
            "aggregation": aggregation,
            "device": "cpu",
            "num-workers": 1,
            "round-timeout": int(seconds),
        }
        pairs = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        command(environment, folder, "plant", "run", *access, *runs, *pairs, seconds=5 * seconds)
    memory.stop()
    (done,) = (folder / "runs").glob("*/run.json")
    run = json.loads(done.read_text())
    told = json.loads((done.parent / "contributions.json").read_text())["stations"]
    return {
        "settings": settings,
        "bank_megabytes": rows * ROW_BYTES / 1e6,
        "summary": run["summary"],
        "seconds": run["seconds"],
        "stations": [
            {
                "name": station["name"],
                "megabytes_up": station["bytes_up"] / 1e6,
                "megabytes_down": station["bytes_down"] / 1e6,
                "rows_sent": next(t["rows_sent"] for t in told if t["name"] == station["name"]),
            }
            for station in run["stations"]
        ],
        "global_rows": run["bank"]["rows"],
        "peak_megabytes": dict(sorted(memory.peaks.items())),
        "peak_megabytes_together": memory.together,
        "database_megabytes": sum(
            f.stat().st_size for f in (folder / "state").rglob("*") if f.is_file()
        )
        / 1e6,
    }


def _wait(done: Any, what: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise SystemExit(f"{what} did not start within {seconds:.0f} s")
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=614.4, help="of each station's bank")
    parser.add_argument("--quick", action="store_true", help="60 megabytes")
    parser.add_argument("--aggregation", default="federated_coreset")
    parser.add_argument("--seconds", type=float, default=1800, help="round-timeout")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    # What was started is ended even if this program is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    megabytes = 60.0 if options.quick else options.megabytes
    about = machine()
    with tempfile.TemporaryDirectory(prefix="large-bank-") as folder:
        try:
            found = measure(megabytes, options.aggregation, Path(folder), options.seconds)
        except BaseException:
            for log in sorted(Path(folder).glob("*.log")):
                print(f"== {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
            raise
    print(f"\n{found['summary']}; seconds: {found['seconds']}")
    for station in found["stations"]:
        print(
            f"{station['name']}: {station['rows_sent']} rows, {station['megabytes_up']:.0f} MB up, "
            f"{station['megabytes_down']:.0f} MB down"
        )
    print(f"\n{'process':40} {'peak MB':>8}")
    for name, peak in found["peak_megabytes"].items():
        print(f"{name:40} {peak:8.0f}")
    print(f"{'all at one moment (shared pages twice)':40} {found['peak_megabytes_together']:8.0f}")
    finish({"machine": about, **found}, options.out)


if __name__ == "__main__":
    main()

"""A GPU beside the processor: `python benchmarks/device.py [--blocks] [--out FILE.json]`.

Selection, search and features on the first CUDA device and on all of the machine's cores, in
turns; seconds are wall time, the device's with the copies to it and from it. Chosen and found rows
must be the same to the bit, or there are no figures. The peer on the device is what most programs
do there: a greedy loop of whole distance passes for the selection (the median of some picks, times
their number), `torch.cdist` and its smallest, which is not exact, for the search. `--blocks` tries
sizes of the working blocks. The data are made up (rows like a pretrained network's, random
weights): times depend on their shapes, not on what they show.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._bench import finish, machine, stand_in_features
from common.config import Settings
from common.patchcore.coreset import select_coreset
from common.patchcore.exact.device_search import DeviceSearch
from common.patchcore.exact.kcenter import Selection
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.network.backbone import FeatureExtractor

DEVICE = torch.device("cuda", 0)
PICKS = 200  # of the peer that are timed

Work = Callable[[], Any]


def seconds(work: Work) -> tuple[float, Any]:
    """Run and time, the device's queue included."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    value = work()
    torch.cuda.synchronize()
    return time.perf_counter() - start, value


def in_turns(ways: dict[str, Work], repeats: int) -> dict[str, float]:
    """Medians, after a first call of each that is not counted."""
    for work in ways.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            times[name].append(seconds(work)[0])
    return {name: statistics.median(values) for name, values in times.items()}


def greedy_seconds(rows: np.ndarray, size: int) -> float:
    """A plain greedy loop on the device: one pass over all rows for each pick."""
    table = torch.from_numpy(rows).to(DEVICE)
    nearest = torch.full((len(table),), torch.inf, device=DEVICE)

    def pick() -> None:
        row = int(nearest.argmax())
        torch.minimum(nearest, torch.cdist(table, table[row : row + 1]).ravel(), out=nearest)

    times = [seconds(pick)[0] for _ in range(PICKS)]
    return statistics.median(times) * size


def selection(count: int, size: int, repeats: int) -> dict[str, Any]:
    rows = stand_in_features(count, 128, 1)
    ways = {
        "device": lambda: select_coreset(rows, size, device=DEVICE),
        "processor": lambda: select_coreset(rows, size),
    }
    one, other = (way() for way in ways.values())
    assert (one.indices == other.indices).all()
    assert (one.radii == other.radii).all()
    found = in_turns(ways, repeats)
    return told(f"select {size:,} of {count:,}", found, greedy_seconds(rows, size))


def search(bank: int, queries: int, repeats: int) -> dict[str, Any]:
    rows, asked = stand_in_features(bank, 1536, 1), stand_in_features(queries, 1536, 2)
    ways: dict[str, Work] = {}
    for name, device in (("device", DEVICE), ("processor", None)):
        ways[name] = lambda bank=MemoryBank(rows, device=device): bank.nearest(asked)
    one, other = (way() for way in ways.values())
    assert all((a == b).all() for a, b in zip(one, other, strict=True))

    def plain() -> Any:
        table, wanted = (torch.from_numpy(part).to(DEVICE) for part in (rows, asked))
        return [part.cpu() for part in torch.cdist(wanted, table).min(dim=1)]

    found = in_turns({**ways, "peer": plain}, repeats)
    return told(f"search {queries:,} in {bank:,} of 1536", found, found.pop("peer"))


def features(images: int, height: int, width: int, precision: str, repeats: int) -> dict[str, Any]:
    batch = torch.randn(images, 3, height, width, generator=torch.Generator().manual_seed(1))
    ways: dict[str, Work] = {}
    for name, device in (("device", "cuda"), ("processor", "cpu")):
        settings = Settings(weights="random", device=device, precision=precision)
        extractor = FeatureExtractor.from_settings(settings)
        part = batch if device == "cuda" else batch[:1]
        ways[name] = lambda extractor=extractor, part=part: extractor(part)
    one, other = ways["device"]()[0], ways["processor"]()[0]
    error = np.linalg.norm(one - other, axis=-1).max() / np.median(np.linalg.norm(other, axis=-1))
    found = in_turns(ways, repeats)
    found["device"] /= images
    result = told(f"one image of {width}x{height}, {precision}, batch {images}", found)
    return {**result, "error": float(error)}


def told(what: str, found: dict[str, float], peer: float | None = None) -> dict[str, Any]:
    result = {"what": what, **found, "ratio": found["processor"] / found["device"]}
    if peer is not None:
        result |= {"peer": peer, "peer_ratio": peer / found["device"]}
    print({key: round(v, 4) if isinstance(v, float) else v for key, v in result.items()})
    return result


def blocks() -> list[dict[str, Any]]:
    """Seconds of one selection and one search by the sizes of their working blocks."""
    rows, found = stand_in_features(200_000, 128, 1), []
    known = np.empty((0, 128), dtype=np.float32)
    for pair in itertools.product((4096, 16384, 65536), (2048, 4096, 8192)):

        def select(pair: tuple[int, int] = pair) -> Any:
            chosen = Selection(rows, 20_000, known, -1.0, device=DEVICE, device_blocks=pair)
            return chosen.run(0, None)

        found.append({"select": pair, "seconds": in_turns({"one": select}, 3)["one"]})
        print(found[-1], flush=True)
    bank, asked = stand_in_features(10_000, 1536, 1), stand_in_features(25_000, 1536, 2)
    for pair in itertools.product((512, 2048, 8192), (4096, 16384, 65536)):
        engine = DeviceSearch(bank, DEVICE, None, *pair)
        took = in_turns({"one": lambda engine=engine: engine.nearest(asked, 1)}, 3)["one"]
        found.append({"search": pair, "seconds": took})
        print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", action="store_true", help="try sizes of the working blocks")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device on this machine; nothing to measure")
    many = options.repeats
    result: dict[str, Any] = {
        "machine": machine(),
        "device": torch.cuda.get_device_name(DEVICE),
        "cases": [
            selection(200_000, 20_000, many),
            selection(1_000_000, 10_000, many),
            search(10_000, 2_500, many),
            search(10_000, 25_000, many),
            search(100_000, 25_000, many),
            features(32, 400, 400, "float32", many),
            features(32, 400, 400, "bfloat16", many),
            features(8, 750, 1000, "float32", many),
            features(8, 750, 1000, "bfloat16", many),
        ],
    }
    if options.blocks:
        result["blocks"] = blocks()
    finish(result, options.out)


if __name__ == "__main__":
    main()

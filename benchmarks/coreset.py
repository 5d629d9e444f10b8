"""Coreset selection side by side with a peer's loop: same rows, same start, one paired run.

    python benchmarks/coreset.py [--quick | --threads-only] [--anomalib-python PATH] [--out FILE]

The peer is anomalib's KCenterGreedy in the same projected space, run by `--anomalib-python` (an
interpreter of an environment with anomalib); without it the same algorithm written plainly in
torch. Its cost of one pick does not change over a run, so some picks are timed and their median
multiplied. Both sides use one thread and take turns; seconds are processor time. The picks that the
peer made are compared with ours, and the whole selection of the smallest case with a float64 loop.

Rows are real patch features (FEDPATCHCORE_TEST_DATA) projected to 128 numbers, or stand-ins. One
size is repeated with stand-ins and with pure noise, where no row is near another. 1,000,000 rows
(the same ones, jittered) with 10,000 choices are ours alone; `--quick` leaves them out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._bench import Peer, finish, machine, real_features, stand_in_features
from common.patchcore import coreset
from common.patchcore.coreset import Coreset, select_coreset
from common.patchcore.exact.projection import project, random_projection

WIDTH = 128


def timed(rows: NDArray[np.float32], size: int, threads: int) -> tuple[float, float, Coreset]:
    """Processor seconds, wall seconds and the selection."""
    start = time.process_time(), time.perf_counter()
    selection = select_coreset(rows, size, threads=threads)
    return time.process_time() - start[0], time.perf_counter() - start[1], selection


def compare(
    peer: Peer, kind: str, rows: NDArray[np.float32], size: int, picks: int, repeats: int
) -> dict[str, Any]:
    """Time both sides in turn."""
    peer.load("rows", rows)
    ours, theirs, selection = [], [], None
    answer: dict[str, Any] = {}
    for _ in range(repeats):
        seconds, _, selection = timed(rows, size, threads=1)
        ours.append(seconds)
        answer = peer.ask(do="select", name="rows", first=0, picks=picks)
        theirs.append(statistics.median(answer["seconds"]) * (size - 1))
    assert selection is not None
    same = np.array(answer["rows"][:size]) == selection.indices[: picks + 1]
    result = {
        "features": kind,
        "rows": len(rows),
        "size": size,
        "cpu_seconds": statistics.median(ours),
        "peer_cpu_seconds": statistics.median(theirs),
        "peer_picks_timed": picks,
        "ratio": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
        "same_picks": f"{int(same.sum())} of {len(same)}",
    }
    print(
        f"{kind}: {len(rows):>9,} rows, {size:>6,} chosen: {result['cpu_seconds']:8.2f} s, "
        f"peer {result['peer_cpu_seconds']:9.1f} s, ratio {result['ratio']:6.1f}, "
        f"same picks {result['same_picks']}",
        flush=True,
    )
    return result


def other_rows(kind: str, n: int) -> NDArray[np.float32]:
    """Rows that are not the main ones: made-up features, projected, or noise without structure."""
    if kind == "pure noise":
        return np.random.default_rng(4).standard_normal((n, WIDTH), dtype=np.float32)
    return project(stand_in_features(n, 384, seed=1), random_projection(384, WIDTH, seed=0))


def two_threads(rows: NDArray[np.float32], size: int, repeats: int) -> dict[str, Any]:
    """Wall and processor seconds of one and two threads in turn.

    On a machine with other work the processor seconds tell whether threads cost anything, and the
    wall seconds mostly what the others were doing: see the load.
    """
    walls: dict[int, list[float]] = {1: [], 2: []}
    cpus: dict[int, list[float]] = {1: [], 2: []}
    chosen = {}
    for _ in range(repeats):
        for threads in walls:
            seconds, wall, selection = timed(rows, size, threads)
            walls[threads].append(wall)
            cpus[threads].append(seconds)
            chosen[threads] = selection.indices
    ratio = statistics.median(a / b for a, b in zip(walls[1], walls[2], strict=True))
    same = bool((chosen[1] == chosen[2]).all())
    cost = statistics.median(a / b for a, b in zip(cpus[2], cpus[1], strict=True))
    print(
        f"two threads: {ratio:.2f} times as fast as one (wall, load {os.getloadavg()[0]:.1f}), "
        f"{cost:.2f} times the processor time, same indices: {same}",
        flush=True,
    )
    return {
        "rows": len(rows),
        "size": size,
        "wall_seconds": walls,
        "cpu_seconds": cpus,
        "load": os.getloadavg(),
        "ratio": ratio,
        "same": same,
    }


def growth(rows: NDArray[np.float32]) -> dict[str, Any]:
    """Exponents of rows and choices in the processor time, fitted to its logarithm."""
    points = [
        (n, size, timed(rows[:n], size, 1)[0])
        for n in (len(rows) // 4, len(rows) // 2, len(rows))
        for size in (len(rows) // 100, len(rows) // 40, len(rows) // 20)
    ]
    logs = np.log(np.array(points))
    ones = np.ones(len(points))
    (by_rows, by_size, _), *_ = np.linalg.lstsq(
        np.column_stack([logs[:, :2], ones]), logs[:, 2], rcond=None
    )
    print(f"processor time grows as rows^{by_rows:.2f} x chosen^{by_size:.2f}", flush=True)
    return {"rows": float(by_rows), "size": float(by_size), "points": len(points)}


def check_identity(rows: NDArray[np.float32], size: int) -> bool:
    """Compare with the plain float64 loop, index for index."""
    fast = select_coreset(rows, size)
    plain = coreset._plain_loop(rows, size, 0, rows[:0], -1.0, None)
    same = bool((fast.indices == plain.indices).all() and (fast.radii == plain.radii).all())
    print(f"float64 loop, {len(rows):,} rows, {size:,} chosen: identical {same}", flush=True)
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anomalib-python", help="interpreter of an environment with anomalib")
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    parser.add_argument("--threads-only", action="store_true", help="two threads against one alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--picks", type=int, default=30, help="picks of the peer that are timed")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    images = 10 if options.quick else 80
    features = real_features(rotations=1, images=images, split="train")
    kind = "ResNet-18 features of real images"
    if features is None:
        features, kind = stand_in_features(2500 * images, 384, seed=1), "stand-in features"
    rows = project(features, random_projection(features.shape[1], WIDTH, seed=0))
    if options.threads_only:
        timed(rows[:20_000], 2000, 2)
        finish(two_threads(rows, len(rows) // 10, options.repeats), options.out)
        return
    peer = Peer(options.anomalib_python, threads=1)
    result: dict[str, Any] = {"machine": machine(), "peer": peer.about, "data": kind}
    print(f"{result['machine']}\npeer: {peer.about}\n{kind}, projected to {WIDTH}", flush=True)
    start = time.perf_counter()
    timed(rows[:20_000], 2000, 1)
    result["first_call_wall_seconds"] = time.perf_counter() - start
    result["identical_to_float64_loop"] = check_identity(rows[:20_000], 1000)
    cases = (
        [(20_000, 2000)] if options.quick else [(50_000, 5000), (200_000, 2000), (200_000, 20_000)]
    )
    result["cases"] = [
        compare(peer, kind, rows[:n], size, options.picks, options.repeats)
        for n, size in cases
        if n <= len(rows)
    ]
    n, size = (20_000, 2000) if options.quick else (200_000, 2000)
    for other in ("stand-in features", "pure noise"):
        if other != kind:
            less_friendly = other_rows(other, n)
            result["cases"].append(
                compare(peer, other, less_friendly, size, options.picks, options.repeats)
            )
            del less_friendly
    peer.close()
    if not options.quick:  # milliseconds would tell nothing
        result["growth"] = growth(rows)
    n, size = cases[-1]
    result["two_threads"] = two_threads(rows[:n], size, options.repeats)
    if not options.quick:
        rng = np.random.default_rng(0)
        many = np.concatenate([rows] * -(-1_000_000 // len(rows)))[:1_000_000]
        for begin in range(0, len(many), 100_000):
            part = many[begin : begin + 100_000]
            part += 0.05 * rng.standard_normal(part.shape, dtype=np.float32)
        seconds, wall, _ = timed(many, 10_000, 1)
        result["million"] = {"size": 10_000, "cpu_seconds": seconds, "wall_seconds": wall}
        print(f"1,000,000 rows, 10,000 chosen: {seconds:.1f} s of processor time", flush=True)
    finish(result, options.out)


if __name__ == "__main__":
    main()

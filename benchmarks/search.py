"""Exact nearest neighbours side by side with peers: same bank, same queries, one paired run.

    python benchmarks/search.py [--quick] [--anomalib-python PATH] [--out FILE.json]

2,500 queries (one image of 400x400) against a bank of 10,000 rows of 1536 numbers. Peers:
anomalib's `nearest_neighbors` and faiss's `IndexFlatL2` run by `--anomalib-python` (without it the
same formula as anomalib's written plainly in torch) and scikit-learn's brute force. All on one
thread, in turns; seconds are processor time. Our own first call, which includes the trial, is
given apart. Found rows are compared. Where the processor is fast at bfloat16, we are timed with
and without it.

Three kinds of features: pretrained (real images, FEDPATCHCORE_TEST_DATA, or stand-ins), the same
with noise of half their spread, and pure noise, where no bound can help. All under the environment
as it is; then pure noise, the least ratio, once more in a process of its own with other BLAS
kernels: without OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE where the first is set, else (x86) with
Haswell's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from benchmarks._bench import Pair, Peer, finish, machine, pretrained
from common.patchcore.exact.bound_search import BoundSearch
from common.patchcore.exact.products import fast_bfloat16
from common.patchcore.memory_bank import MemoryBank


def processor_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Run and time."""
    start = time.process_time()
    value = work()
    return time.process_time() - start, value


def noisy(pair: Pair) -> Pair:
    """Add noise of half the features' own spread: far harder to bound."""
    rng = np.random.default_rng(3)
    spread = np.float32(pair[0].std(axis=0).mean() / 2)
    rows, queries = (
        part + spread * rng.standard_normal(part.shape, dtype=np.float32) for part in pair
    )
    return rows, queries


def compare(kind: str, pair: Pair, peer: Peer, repeats: int, short: bool) -> dict[str, Any]:
    """Time everybody in turn; `short`: bfloat16 products, as the processor at hand prefers."""
    rows, queries = (np.ascontiguousarray(part) for part in pair)
    peer.load("bank", rows)
    peer.load("queries", queries)
    out = Path(peer.folder.name) / "found.npz"
    bank = MemoryBank(rows, threads=1)
    bank._search = BoundSearch(rows, 1, short)
    sklearn = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(rows)
    first, (distances, indices) = processor_seconds(lambda: bank.nearest(queries))
    times: dict[str, list[float]] = {"ours": [], "peer": [], "scikit-learn": []}
    agree: dict[str, float] = {}
    with threadpool_limits(1):
        for _ in range(repeats):
            seconds, again = processor_seconds(lambda: bank.nearest(queries))
            assert (again[0] == distances).all()
            assert (again[1] == indices).all()
            times["ours"].append(seconds)
            answer = peer.ask(do="search", bank="bank", queries="queries", k=1, out=str(out))
            times["peer"].append(answer["cpu"])
            if peer.about["faiss"]:
                times.setdefault("faiss", []).append(
                    peer.ask(do="faiss", bank="bank", queries="queries", k=1)["cpu"]
                )
            seconds, found = processor_seconds(lambda: sklearn.kneighbors(queries))
            times["scikit-learn"].append(seconds)
    with np.load(out) as theirs:
        agree["peer"] = float((theirs["rows"].ravel() == indices).mean())
        error = float(np.abs(theirs["distances"].ravel() - distances).max())
    agree["scikit-learn"] = float((found[1].ravel() == indices).mean())
    search = bank._search
    assert search is not None
    width = search.bound and search.bound.filter.width
    number = "bfloat16" if search.bfloat16 else "float32"
    result: dict[str, Any] = {
        "features": kind,
        "bank": rows.shape,
        "queries": len(queries),
        "way": f"{number}, " + (f"bound of {width} numbers" if width else "plain products"),
        "first_call_cpu_seconds": first,
        "cpu_seconds": {name: statistics.median(values) for name, values in times.items()},
        "ratios": {
            name: statistics.median(b / a for a, b in zip(times["ours"], values, strict=True))
            for name, values in times.items()
        },
        "same_rows": agree,
        "largest_difference_of_the_peers_distances": error,
    }
    ratios = {name: round(value, 2) for name, value in result["ratios"].items()}
    print(
        f"{kind}: {result['way']}, {result['cpu_seconds']['ours']:.3f} s (first call {first:.2f}), "
        f"peer {result['cpu_seconds']['peer']:.3f} s, ratios {ratios}, same rows {agree}",
        flush=True,
    )
    return result


def pure_noise(size: int, queries: int) -> Pair:
    """Rows and queries without any structure."""
    rows, asked = (
        np.random.default_rng(seed).standard_normal((n, 1536), dtype=np.float32)
        for seed, n in enumerate((size, queries))
    )
    return rows, asked


def with_other_kernels(options: argparse.Namespace) -> dict[str, Any] | None:
    """The pure-noise case in a process of its own whose BLAS takes other kernels, or None."""
    environment = dict(os.environ)
    if "OPENBLAS_CORETYPE" in environment:
        del environment["OPENBLAS_CORETYPE"]
        environment.pop("OPENBLAS_L2_SIZE", None)
    elif platform.machine() == "x86_64":
        environment["OPENBLAS_CORETYPE"] = "Haswell"
    else:
        return None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "noise.json"
        command = [sys.executable, __file__, "--noise-only", "--out", str(out)]
        command += ["--repeats", str(options.repeats)]
        command += ["--quick"] if options.quick else []
        if options.anomalib_python:
            command += ["--anomalib-python", options.anomalib_python]
        print("\nthe same with other BLAS kernels:", flush=True)
        subprocess.run(command, env=environment, check=True)
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anomalib-python", help="interpreter of an environment with anomalib")
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    parser.add_argument("--noise-only", action="store_true", help="the pure-noise case alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    size, images = (2000, 4) if options.quick else (10_000, 20)
    peer = Peer(options.anomalib_python, threads=1)
    result: dict[str, Any] = {"machine": machine(), "peer": peer.about}
    print(f"{result['machine']}\npeer: {peer.about}", flush=True)
    cases = {"pure noise": pure_noise(size, 2500)}
    if not options.noise_only:
        kind, pair = pretrained(size, images)
        cases = {kind: pair, f"{kind}, with noise": noisy(pair), **cases}
    result["cases"] = [
        compare(name, data, peer, options.repeats, short)
        for name, data in cases.items()
        for short in ([True, False] if fast_bfloat16() else [False])
    ]
    peer.close()
    if not options.noise_only:
        cases.clear()
        other = with_other_kernels(options)
        if other is not None:
            result["other_kernels"] = other
    finish(result, options.out)


if __name__ == "__main__":
    main()

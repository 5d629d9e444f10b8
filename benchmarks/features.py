"""Patch features side by side with the whole torchvision network with hooks: same image, one run.

    python benchmarks/features.py [--quick] [--anomalib-python PATH] [--out FILE.json]

WideResNet-50-2 with random weights, one image of 400x400, one thread, in turns; seconds are
processor time. The peers: the whole network with hooks (as PatchCore implementations run it), and
torch's modules cut after the last layer used. Features are compared with the peer's.

Then one image end to end, float32: our features and our search of a bank of 10,000 rows against the
cut network and anomalib's search (`--anomalib-python`; without it the same formula in torch). The
rows searched are real features of 1536 numbers (FEDPATCHCORE_TEST_DATA) or stand-ins, since random
weights give features that no search finds typical.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch.nn import functional as F

from benchmarks._bench import Peer, finish, machine, pretrained
from common.config import Settings
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.network.architectures import DEFAULT as BACKBONE
from common.patchcore.network.architectures import find_backbone
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.weights import load_weights

Features = Callable[[torch.Tensor], NDArray[np.float32]]

LAYERS = find_backbone(BACKBONE).default_layers


def join(shallow: torch.Tensor, deep: torch.Tensor) -> NDArray[np.float32]:
    """Average, bring to one grid and concatenate, as the reference implementations do."""
    shallow, deep = F.avg_pool2d(shallow, 3, 1, 1), F.avg_pool2d(deep, 3, 1, 1)
    deep = F.interpolate(deep, size=shallow.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat([shallow, deep], 1).permute(0, 2, 3, 1).contiguous().numpy()


def peers(settings: Settings) -> dict[str, Features]:
    """Return the whole network with hooks, and torch's modules cut after layer3."""
    weights = load_weights(settings.backbone, LAYERS, "random", settings.seed)
    network = torchvision.models.wide_resnet50_2(weights=None).eval()
    network.load_state_dict(weights.state, strict=False)
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: found.update({name: output})

    for name in LAYERS:
        getattr(network, name).register_forward_hook(keep(name))

    def whole(x: torch.Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            network(x)
            return join(found["layer2"], found["layer3"])

    cut = torch.nn.Sequential(
        network.conv1, network.bn1, network.relu, network.maxpool, network.layer1, network.layer2
    )

    def truncated(x: torch.Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            shallow = cut(x)
            return join(shallow, network.layer3(shallow))

    return {"whole network, hooks": whole, "cut network": truncated}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    value = work()
    return time.process_time() - start, value


def in_turns(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Processor seconds of every way, one after another, again and again; the first time is not."""
    for work in ways.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, work in ways.items():
            seconds[name].append(timed(work)[0])
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def compare_features(size: int, repeats: int) -> dict[str, Any]:
    """Time the networks and compare what they give."""
    settings = Settings(backbone=BACKBONE, weights="random", device="cpu")
    ways = peers(settings)
    for precision in ("float32", "bfloat16"):
        chosen = settings.with_(precision=precision)
        ways[f"ours, {precision}"] = FeatureExtractor.from_settings(chosen)
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    wanted = ways["whole network, hooks"](image)
    errors = {}
    for name, way in ways.items():
        distances = np.linalg.norm(way(image) - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)
        errors[name] = {"median": float(np.median(distances)), "most": float(distances.max())}
    assert errors["ours, float32"]["most"] < 1e-4
    seconds = in_turns({name: lambda way=way: way(image) for name, way in ways.items()}, repeats)
    result: dict[str, Any] = {"image": [size, size], "errors": errors, "ratios": {}}
    result["cpu_seconds"] = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        result["ratios"][name] = ratio(seconds["whole network, hooks"], values)
        print(
            f"{name:22s} {statistics.median(values) * 1e3:7.0f} ms, "
            f"{result['ratios'][name]:.2f} times as fast as the whole network, "
            f"relative error {errors[name]['median']:.1e}, at most {errors[name]['most']:.1e}",
            flush=True,
        )
    return result


def compare_images(size: int, bank_size: int, peer: Peer, repeats: int) -> dict[str, Any]:
    """One image end to end on both sides."""
    settings = Settings(backbone=BACKBONE, weights="random", device="cpu")
    network, extractor = peers(settings)["cut network"], FeatureExtractor.from_settings(settings)
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    kind, (rows, queries) = pretrained(bank_size, 20 if bank_size > 5000 else 4)
    bank = MemoryBank(rows, threads=1)
    peer.load("bank", rows)
    peer.load("queries", queries)
    out = str(Path(peer.folder.name) / "found.npz")
    for _ in range(2):
        bank.nearest(queries)
    ours: dict[str, list[float]] = {"features": [], "search": []}
    theirs: dict[str, list[float]] = {"features": [], "search": []}
    for _ in range(repeats + 1):
        ours["features"].append(timed(lambda: extractor(image))[0])
        theirs["features"].append(timed(lambda: network(image))[0])
        ours["search"].append(timed(lambda: bank.nearest(queries))[0])
        answer = peer.ask(do="search", bank="bank", queries="queries", k=1, out=out)
        theirs["search"].append(answer["cpu"])
    sums = [
        [a + b for a, b in zip(side["features"][1:], side["search"][1:], strict=True)]
        for side in (ours, theirs)
    ]
    result = {
        "features": kind,
        "bank": rows.shape[0],
        "ours": {name: statistics.median(values[1:]) for name, values in ours.items()},
        "peer": {name: statistics.median(values[1:]) for name, values in theirs.items()},
        "ratio": ratio(sums[1], sums[0]),
    }
    print(f"one image: {result}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anomalib-python", help="interpreter of an environment with anomalib")
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    size, bank_size = (192, 2000) if options.quick else (400, 10_000)
    peer = Peer(options.anomalib_python, threads=1)
    result: dict[str, Any] = {"machine": machine(), "peer": peer.about}
    print(f"{result['machine']}\npeer: {peer.about}", flush=True)
    result["features"] = compare_features(size, options.repeats)
    with threadpool_limits(1, user_api="blas"):
        result["image"] = compare_images(size, bank_size, peer, options.repeats)
    peer.close()
    finish(result, options.out)


if __name__ == "__main__":
    main()

"""The line's service beside `predict`: what a verdict over HTTP costs more than one in a program.

    python benchmarks/line.py [--quick] [--out FILE.json]

One process serves a model (`fedpatchcore serve`: decoding, journal on the disk, kept pictures), and
this one has the same model; both on the machine as it is. In turns: a picture by `predict_single`
and by one client; then all pictures by `predict` and by four clients at once, in rounds. Pictures:
the test pictures of the first part of FEDPATCHCORE_TEST_DATA with its ResNet-18, else drawn ones
with random weights, whose times are the same and whose scores say nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks._bench import finish, machine
from benchmarks._served import post, serving
from common.data.synthetic import write_synthetic
from common.line.journal import Journal
from common.patchcore import PatchCore

BANK, SIDE, CLIENTS = 2000, 256, 4


def pictures(folder: Path) -> tuple[str, str, list[Path], list[Path]]:
    """What the pictures are, the weights, and pictures to learn from and to judge."""
    data = os.environ.get("FEDPATCHCORE_TEST_DATA", "")
    weights = sorted((Path(data) / "weights").glob("resnet18*.pth")) if data else []
    if weights:
        part = sorted((Path(data) / "parts").iterdir())[0]
        kind, trunk = part.name, str(weights[0])
    else:
        write_synthetic(folder, images=40, size=400)
        part = sorted(path for path in folder.iterdir() if path.is_dir())[0]
        kind, trunk = "drawn parts, random weights", "random"
    training = sorted((part / "train/good").glob("*.png"))[:40]
    return kind, trunk, training, sorted((part / "test").rglob("*.png"))


def one_client(model: PatchCore, url: str, images: list[Path]) -> tuple[list[float], list[float]]:
    """Seconds for each picture, by `predict_single` and by a client, in turns."""
    singles, served = [], []
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        for image in images:
            began = time.perf_counter()
            score = model.predict_single(image, "part").score
            singles.append(time.perf_counter() - began)
            began = time.perf_counter()
            answer = post(client, image)
            served.append(time.perf_counter() - began)
            assert answer["score"] == score
    return singles, served


def four_clients(url: str, images: list[Path]) -> tuple[float, dict[Path, float]]:
    """Pictures a second by clients that each wait for their answers, and the scores."""
    found: dict[Path, float] = {}

    def some(mine: list[Path]) -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            for image in mine:
                found[image] = post(client, image)["score"]

    threads = [threading.Thread(target=some, args=(images[n::CLIENTS],)) for n in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(images) / (time.perf_counter() - began), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="twelve pictures, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "bank": BANK, "clients": CLIENTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kind, weights, training, images = pictures(folder / "drawn")
        images = images[:12] if options.quick else images
        result |= {"pictures": kind, "count": len(images), "image_size": SIDE}
        model = PatchCore(
            backbone="resnet18",
            weights=weights,
            image_size=SIDE,
            global_bank_size=BANK,
            device="cpu",
        )
        model.fit(training, "part").save(folder / "model")
        model = PatchCore.load(folder / "model", device="cpu")
        model.predict(images[:4], "part")
        with serving(folder) as url:
            singles, served = one_client(model, url, images)
            rates = []
            for _ in range(1 if options.quick else options.rounds):
                began = time.perf_counter()
                scores = [one.score for one in model.predict(images, "part")]
                alone = len(images) / (time.perf_counter() - began)
                together, found = four_clients(url, images)
                assert [found[image] for image in images] == scores
                rates.append((alone, together))
        with Journal.reading(folder / "journal") as journal:
            result["journal_rows"] = len(list(journal.entries()))
        assert result["journal_rows"] == (1 + len(rates)) * len(images)
    result["one_client_seconds"] = {
        "predict_single": statistics.median(singles),
        "served": statistics.median(served),
        "more": statistics.median(b - a for a, b in zip(singles, served, strict=True)),
    }
    result["pictures_a_second"] = {
        "predict": statistics.median(alone for alone, _ in rates),
        "served": statistics.median(together for _, together in rates),
        "ratios": [together / alone for alone, together in rates],
    }
    print(result["one_client_seconds"], result["pictures_a_second"], flush=True)
    finish(result, options.out)


if __name__ == "__main__":
    main()

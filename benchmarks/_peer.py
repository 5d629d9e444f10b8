"""The other side of a comparison, in its own interpreter: answers one JSON line for each line.

Runs under the Python of an environment that has anomalib, and then times anomalib's own code. In
any other it times the same algorithms written plainly in torch, and says so.
"""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any

import numpy as np
import torch

try:
    from threadpoolctl import threadpool_info
except ImportError:

    def threadpool_info() -> list[dict[str, Any]]:
        """Nothing is known of the kernels."""
        return []


try:
    from importlib.metadata import version

    from anomalib.models.components.sampling import KCenterGreedy
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    NAME = f"anomalib {version('anomalib')}"
except ImportError:
    KCenterGreedy = PatchcoreModel = None
    NAME = "plain float32 torch"
try:
    import faiss
except ImportError:
    faiss = None


def select(rows: torch.Tensor, first: int, picks: int) -> tuple[list[int], list[float]]:
    """Farthest first in the given space from the given row; seconds of each pick."""
    greedy = None
    if KCenterGreedy is not None:
        greedy = KCenterGreedy(embedding=rows, sampling_ratio=1.0)
        greedy.features = rows
        greedy.reset_distances()
    nearest = torch.full((len(rows), 1), torch.inf)
    chosen, seconds = [torch.tensor(first)], []
    for _ in range(picks):
        start = time.process_time()
        if greedy is not None:
            greedy.update_distances(cluster_center=chosen[-1])
            row = greedy.get_new_idx()
            greedy.min_distances.scatter_(0, row.unsqueeze(0).unsqueeze(1), 0.0)
        else:
            distances = torch.linalg.norm(rows - rows[chosen[-1]], dim=1, keepdim=True)
            nearest = torch.minimum(nearest, distances)
            row = nearest.argmax()
        seconds.append(time.process_time() - start)
        chosen.append(row)
    return [int(row) for row in chosen], seconds


class PlainSearch:
    """Nearest rows by one product and the norms, blocks of 1024 queries."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.memory_bank = rows

    def nearest_neighbors(
        self, queries: torch.Tensor, n_neighbors: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return distances and rows."""
        norms = self.memory_bank.pow(2).sum(1)
        found = []
        for block in queries.split(1024):
            squared = block.pow(2).sum(1, keepdim=True) + norms - 2 * block @ self.memory_bank.T
            found.append(squared.clamp_min(0).sqrt().topk(n_neighbors, largest=False))
        values, rows = zip(*found, strict=True)
        return torch.cat(values), torch.cat(rows)


def make_search(rows: torch.Tensor) -> PlainSearch:
    """Return an object with `nearest_neighbors`."""
    if PatchcoreModel is None:
        return PlainSearch(rows)
    model = PatchcoreModel.__new__(PatchcoreModel)  # the search alone: no backbone is built
    torch.nn.Module.__init__(model)
    model.memory_bank = rows
    return model


def main() -> None:
    """Serve until standard input ends."""
    arrays: dict[str, torch.Tensor] = {}
    for line in sys.stdin:
        ask = json.loads(line)
        answer: dict[str, Any]
        if ask["do"] == "hello":
            torch.set_num_threads(ask["threads"])
            answer = {"name": NAME, "torch": torch.__version__, "python": sys.version.split()[0]}
            answer["faiss"] = faiss and faiss.__version__
            if faiss is not None:
                faiss.omp_set_num_threads(ask["threads"])
            keys = ("prefix", "version", "architecture", "num_threads", "filepath")
            answer["blas"] = [{key: pool.get(key) for key in keys} for pool in threadpool_info()]
            for pool in answer["blas"]:  # the package that brought the library, as faiss its own
                file = str(pool.pop("filepath"))
                package = re.search(r"/site-packages/([^/]+?)(?:\.libs)?/", file)
                pool["package"] = package and package[1]
            answer["torch_blas"] = re.findall(r"BLAS_INFO=(\w+)", torch.__config__.show())
        elif ask["do"] == "load":
            arrays[ask["name"]] = torch.from_numpy(np.load(ask["path"]))
            answer = {}
        elif ask["do"] == "select":
            rows, seconds = select(arrays[ask["name"]], ask["first"], ask["picks"])
            answer = {"rows": rows, "seconds": seconds}
        elif ask["do"] == "faiss":
            bank, queries = arrays[ask["bank"]].numpy(), arrays[ask["queries"]].numpy()
            index = faiss.IndexFlatL2(bank.shape[1])
            index.add(bank)
            begin = time.process_time()
            index.search(queries, ask["k"])
            answer = {"cpu": time.process_time() - begin}
        else:
            model = make_search(arrays[ask["bank"]])
            start = time.process_time(), time.perf_counter()
            distances, found = model.nearest_neighbors(arrays[ask["queries"]], ask["k"])
            answer = {"cpu": time.process_time() - start[0], "wall": time.perf_counter() - start[1]}
            with open(ask["out"], "wb") as out:
                np.savez(out, distances=distances.numpy(), rows=found.numpy())
        print(json.dumps(answer), file=REPLIES, flush=True)


if __name__ == "__main__":
    # Libraries may write to standard output; the answers have it for themselves.
    REPLIES, sys.stdout = sys.stdout, sys.stderr
    main()

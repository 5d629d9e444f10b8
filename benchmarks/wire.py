"""Number formats of bank rows on the wire: bytes, and what they do to the scores of an image.

    python benchmarks/wire.py [--quick] [--out FILE.json]

A bank of real features (FEDPATCHCORE_TEST_DATA; else stand-ins) as it is, and as each format
brings it; one image's patches are scored with all of them. The peer is sending every feature in
float32, as pooling the data in one place would need. Deflate stands for what a compressing link
would save on top; we do not compress.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._bench import finish, machine, pretrained
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.row_format import settle
from common.protocol.wire_rows import from_wire, to_wire


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    size, images = (2000, 4) if options.quick else (10_000, 20)
    kind, (rows, queries) = pretrained(size, images)
    result: dict[str, Any] = {"machine": machine(), "features": kind, "bank": list(rows.shape)}
    result["all_features_of_300_images_bytes"] = 300 * 2500 * rows.shape[1] * 4
    wanted = MemoryBank(rows).nearest(queries)[0]
    result["formats"] = {}
    for name in ("float32", "float16", "int8"):
        settled = settle(rows, name)
        sent = to_wire({"bank": settled}, name)["bank"]
        received = from_wire({"bank": sent}, name)["bank"]
        assert (received == settled).all()  # nothing is lost on the way
        scores = MemoryBank(received.astype(np.float32)).nearest(queries)[0]
        # Relative to the usual distance: patches that are in the bank have none of their own.
        errors = np.abs(scores - wanted) / wanted.mean()
        facts = {
            "bytes": sent.nbytes,
            "deflated_bytes": len(zlib.compress(sent.tobytes(), 1)),
            "score_error_median": float(np.median(errors)),
            "score_error_most": float(errors.max()),
            "map_correlation": float(np.corrcoef(scores, wanted)[0, 1]),
            "image_score_error": float(abs(scores.max() - wanted.max()) / wanted.max()),
        }
        result["formats"][name] = facts
        print(f"{name:8s} {facts}", flush=True)
    finish(result, options.out)


if __name__ == "__main__":
    main()

"""How far above the median an image is called suspicious: several limits on the same audits.

    python benchmarks/audit_reach.py NAME=FOLDER[:CATEGORY] ... [--set KEY=VALUE] [--seeds N]

Training sets as in `contaminated.py`; prints a table for each part.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks._markdown import table
from benchmarks.contaminated import KINDS, dealt
from common.config import Settings
from common.data.layout import index_data
from common.patchcore import FeatureExtractor
from common.patchcore.audit.image_audit import audit_images
from common.patchcore.distances import Distances
from common.patchcore.network.choice import settle_network
from common.patchcore.network.feature_cache import UNLIMITED_BYTES, FeatureCache
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput

REACHES = (1.5, 2.5, 3.5, 5.0)


def main() -> int:
    """Print how many bad and good images each limit flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", metavar="NAME=FOLDER[:CATEGORY]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    settings, _ = settle_network(Settings(num_workers=1).override(options.set), may_fall_back=True)
    distances = Distances(settings.coreset_projection, settings.seed)
    extractor = FeatureExtractor.from_settings(settings)
    for text in options.parts:
        name, _, where = text.partition("=")
        folder, _, category = where.partition(":")
        index = index_data(Path(folder), [category] if category else None)
        category = category or next(iter(index.categories))
        rows = []
        with tempfile.TemporaryDirectory() as work:
            source = FeatureSource(extractor, FeatureCache(Path(work), UNLIMITED_BYTES), 32, 1)
            for kind in ("clean", "5 %", "10 %"):
                assert kind in KINDS
                flagged = {reach: [0, 0] for reach in REACHES}
                bad = good = 0
                for seed in range(options.seeds):
                    bank, kept, _ = dealt(index, category, kind, seed)
                    samples = [*bank, *kept]
                    images = [ImageInput(one.path) for one in samples]
                    far = audit_images(source, images, distances).distances
                    labels = np.array([one.label for one in samples])
                    middle = np.median(far)
                    spread = 1.4826 * np.median(np.abs(far - middle))
                    bad, good = bad + int(labels.sum()), good + int((labels == 0).sum())
                    for reach, counts in flagged.items():
                        above = far > middle + reach * spread
                        counts[0] += int((above & (labels == 1)).sum())
                        counts[1] += int((above & (labels == 0)).sum())
                rows += [
                    (kind, reach, f"{counts[0]} of {bad}", f"{counts[1]} of {good}")
                    for reach, counts in flagged.items()
                ]
        heads = ["defective", "limit", "bad images flagged", "good images flagged"]
        print(f"{name}\n\n{table(heads, rows)}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

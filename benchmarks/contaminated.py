"""Training sets with defective images among the good ones: what each `audit-good` makes of them.

    python benchmarks/contaminated.py NAME=FOLDER[:CATEGORY] ... [--set KEY=VALUE] [--seeds N]
        [--out benchmarks/results/contaminated.json]

`NAME=drawn:CATEGORY` draws the part. 5 and 10 % of the training images are replaced by defective
ones of the test set, drawn by the seed, which are then tested no more; a quarter of the training
images are held out, drawn by the seed as well. `off` and `report` have one bank, which is built
once. Features come from one cache. Each part is written when it is done; `--render` alone makes
the page CONTAMINATED.md of what is there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks._bench import machine
from benchmarks._sections_contaminated import PAGE, write_page
from common.config import Settings
from common.data.layout import DataIndex, Sample, index_data
from common.data.synthetic import write_synthetic
from common.evaluation import EvaluationCounts
from common.evaluation.judge import conclude, judge
from common.patchcore import FeatureExtractor, PatchCore
from common.patchcore.audit.good_images import audit_samples, without_suspicious
from common.patchcore.network.choice import settle_network
from common.patchcore.network.feature_cache import UNLIMITED_BYTES, FeatureCache

FOLDER: Final = Path(__file__).resolve().parent
KINDS: Final = {"clean": 0.0, "5 %": 0.05, "10 %": 0.1, "one held out": 0.0}
HELD_OUT: Final = 0.25
RATE: Final = 0.05


def dealt(index: DataIndex, category: str, kind: str, seed: int) -> tuple[list[Sample], ...]:
    """Training images for the bank, held-out ones, test images; defective ones among them."""
    rng = np.random.default_rng(seed)
    good = index.select("train", category)
    test = index.select("test", category)
    bad = [sample for sample in test if sample.label]
    moved = [bad[i] for i in rng.permutation(len(bad))]
    order = [good[i] for i in rng.permutation(len(good))]
    count = round(KINDS[kind] * len(good))
    train = [*moved[:count], *order[count:]]
    train = [train[i] for i in rng.permutation(len(train))]
    held = round(HELD_OUT * len(train))
    bank, kept, out = train[held:], train[:held], moved[:count]
    if kind == "one held out":
        kept, out = [moved[0], *kept[1:]], [moved[0]]
    gone = {one.path for one in out}
    return bank, kept, [one for one in test if one.path not in gone]


def measure(
    index: DataIndex,
    category: str,
    settings: Settings,
    shared: tuple[Any, Any],
    kind: str,
    seed: int,
) -> list[dict[str, Any]]:
    """All three settings on one training set."""
    extractor, cache = shared
    bank, kept, test = dealt(index, category, kind, seed)
    runs: list[dict[str, Any]] = []
    judged = None
    for how in ("off", "report", "exclude"):
        own = settings.with_(audit_good=how)
        model = PatchCore(own, extractor=extractor, cache=cache)
        if how == "report":
            # Features and projections are in the cache: what is timed is the audit alone.
            began = time.process_time()
            audits = audit_samples(model.source, bank, kept, own)
            audit_seconds = time.process_time() - began
        elif how == "off":
            audits, audit_seconds = {}, 0.0
        used = without_suspicious(bank, audits, own)
        if judged is None or len(used) < len(bank):
            model.fit([one.path for one in used], category)
            judged = judge(model, index, category, test, kept, EvaluationCounts)
        found = conclude(category, judged.evaluation, judged.held_out, RATE, fenced=how != "off")
        value = found.threshold.value if found.threshold else float("inf")
        scores, labels = found.result.image_scores, found.result.image_labels
        audit = audits.get(category)
        suspects = [*audit.suspicious, *audit.suspicious_held_out] if audit else []
        fence = found.threshold.fence if found.threshold else None
        beyond = [
            one
            for one, score in zip(judged.held_out_samples, judged.held_out, strict=True)
            if fence is not None and score > fence
        ]
        runs.append(
            {
                "kind": kind,
                "seed": seed,
                "audit_good": how,
                "found": int(((scores > value) & (labels == 1)).sum()),
                "defects": int((labels == 1).sum()),
                "false_alarms": int(((scores > value) & (labels == 0)).sum()),
                "good": int((labels == 0).sum()),
                "image_auroc": found.result.overall.auc_roc,
                "auc_spro": found.result.overall.auc_spro.get(0.05),
                "bad": sum(one.label for one in (*bank, *kept)),
                "images": len(bank) + len(kept),
                "suspects": len(suspects),
                "suspects_bad": sum(one.label for one in suspects),
                "beyond": len(beyond),
                "beyond_bad": sum(one.label for one in beyond),
                "held_out_bad": sum(one.label for one in kept),
                "audit_seconds": audit_seconds,
            }
        )
    return runs


def part(name: str, where: str, settings: Settings, seeds: int, work: Path) -> dict[str, Any]:
    """Every kind and seed of one part."""
    folder, _, category = where.partition(":")
    if folder == "drawn":
        root = work / "drawn"
        if not root.is_dir():
            write_synthetic(root, images=80, size=128, seed=7)
    else:
        root = Path(folder)
    index = index_data(root, [category] if category else None)
    category = category or next(iter(index.categories))
    settings, _ = settle_network(settings, may_fall_back=True)
    extractor = FeatureExtractor.from_settings(settings)
    cache = FeatureCache(work / "features", UNLIMITED_BYTES)
    train = index.select("train", category)
    model = PatchCore(settings, extractor=extractor, cache=cache)
    began = time.process_time()
    for _ in model.source.stream([*_inputs(train)], model.storage_dtype):
        pass
    features = time.process_time() - began
    runs = []
    for kind in KINDS:
        for seed in range(seeds):
            runs += measure(index, category, settings, (extractor, cache), kind, seed)
            print(
                name,
                kind,
                seed,
                [(one["found"], one["false_alarms"]) for one in runs[-3:]],
                flush=True,
            )
    return {
        "category": category,
        "train": len(train),
        "drawn": index.synthetic,
        "feature_seconds": features,
        "settings": {k: v for k, v in settings.to_run_config().items() if k not in ("weights",)},
        "seeds": seeds,
        "runs": runs,
    }


def _inputs(samples: list[Sample]) -> list[Any]:
    from common.patchcore.network.inputs import ImageInput

    return [ImageInput(one.path) for one in samples]


def main() -> int:
    """Measure the parts named, and make the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="NAME=FOLDER[:CATEGORY]")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=FOLDER / "results" / "contaminated.json")
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out.is_file() else {"parts": {}}
    settings = Settings(num_workers=1).override(options.set)
    with tempfile.TemporaryDirectory() as work:
        for text in options.parts:
            name, _, where = text.partition("=")
            known["machine"] = machine()
            known["parts"][name] = part(name, where, settings, options.seeds, Path(work))
            options.out.write_text(json.dumps(known, indent=1) + "\n")
    if options.out.parent == FOLDER / "results":
        write_page(known)
        print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The steps that every run in this process takes: fit and judge, timed and told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from common.data.layout import DataIndex, Sample
from common.errors import InputError
from common.evaluation.judge import CategoryResult, Watcher
from common.patchcore import PatchCore, Prediction
from common.patchcore.audit.good_images import (
    CategoryAudit,
    audit_samples,
    audit_sentences,
    names_below,
    without_suspicious,
)
from common.patchcore.model_store import SHARED, bank_of, category_of
from common.patchcore.network.feature_cache import FeatureCache
from common.paths import cache_folder
from common.runs.record import RunRecord

CACHE_BYTES: Final = 20 * 2**30

Listener = Callable[[str, str, int, int], None]
"""Called with (category or station, step, images done, images)."""


def simulation_cache() -> FeatureCache:
    """The features that all runs on this machine share, those of simulated stations included."""
    return FeatureCache(cache_folder("simulation", "features"), CACHE_BYTES)


@dataclass(frozen=True)
class Steps:
    """What a run's steps share: where their time is booked, and who hears of their progress."""

    record: RunRecord
    index: DataIndex
    on_progress: Listener | None = None

    def audit(
        self,
        model: PatchCore,
        bank: Sequence[Sample],
        held_out: Sequence[Sample],
        place: str = "",
    ) -> tuple[dict[str, CategoryAudit], list[Sample]]:
        """Look the good images of one place over; return what was found, and the bank's images.

        A run in this process tells the names, too: its reader has the files.
        """
        with self.record.timed("audit"):
            audits = audit_samples(model.source, bank, held_out, self.record.settings)
        counts = {category: audit.counts() for category, audit in audits.items()}
        self.record.audits[place] = counts
        where = f"{place}, " if place else ""
        for sentence, audit in zip(
            audit_sentences(counts, self.record.settings.audit_good),
            [one for _, one in sorted(audits.items()) if one.suspicious or one.suspicious_held_out],
            strict=True,
        ):
            names = names_below(self.index.root, [*audit.suspicious, *audit.suspicious_held_out])
            self.record.notices.append(f"{where}{sentence}: {', '.join(names)}")
        return audits, without_suspicious(bank, audits, self.record.settings)

    def tell_farthest(
        self, found: CategoryResult, farthest: Sequence[tuple[Sample, float, bool]]
    ) -> None:
        """Name the held-out images beyond the fence of their category."""
        fence = None if found.threshold is None else found.threshold.fence
        beyond = [one for one, score, _ in farthest if fence is not None and score > fence]
        if beyond:
            names = ", ".join(names_below(self.index.root, beyond))
            self.record.notices.append(f"{found.category}: beyond the fence lie {names}")

    def fit(self, model: PatchCore, bank: str, samples: Sequence[Sample], place: str) -> None:
        """Build one bank, named after its category or `shared`, of its own among the samples."""
        own = [
            {"image": sample.path, "category": sample.category}
            for sample in samples
            if bank in (SHARED, bank_of(sample.category))
        ]
        if not own:
            folder = category_of(bank) or "<category>"
            raise InputError(f"{place}: no training image; expected {folder}/train/good/...")
        with self.record.timed("build_bank"):
            model.fit(
                own,
                category_of(bank),
                progress=lambda done, total: self.tell(place, "features", done, total),
            )

    def watcher(self, place: str, total: int, also: Watcher | None = None) -> Watcher:
        """Make what tells of every test image that was judged."""
        numbers = itertools.count(1)

        def watch(sample: Sample, prediction: Prediction) -> None:
            if also is not None:
                also(sample, prediction)
            self.tell(place, "scoring", next(numbers), total)

        return watch

    def tell(self, place: str, step: str, done: int, total: int) -> None:
        """Let the listener know how far a step is."""
        if self.on_progress is not None:
            self.on_progress(place, step, done, total)

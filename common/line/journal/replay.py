"""Kept images judged again by the model that judged them: the scores are the same, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from common.line.journal.reader import JournalReader
from common.line.journal.rows import Entry
from common.patchcore import PatchCore

_MOST_NAMED: Final = 20


@dataclass
class Replay:
    """What judging again gave.

    Attributes
    ----------
    equal : int
        Parts whose score is exactly that of the journal.
    different : int
    first_different : list of (id, score of the journal, score now or None)
        None: the image cannot be judged now. The first 20.
    without_image, without_score : int
        Parts whose image is not kept, or that were not judged then.
    without_model : dict of sha256 to int
        Parts whose model is not among those given.
    """

    equal: int = 0
    different: int = 0
    first_different: list[tuple[int, float, float | None]] = field(default_factory=list)
    without_image: int = 0
    without_score: int = 0
    without_model: dict[str, int] = field(default_factory=dict)

    @property
    def judged(self) -> int:
        """How many were judged again."""
        return self.equal + self.different


def replay(
    journal: JournalReader,
    entries: Iterable[Entry],
    models: Mapping[str, Path],
    changes: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Replay:
    """Judge kept images again.

    Parameters
    ----------
    journal : JournalReader
    entries : iterable of Entry
        One model is held at a time: best in the order in which they were judged.
    models : mapping of sha256 to model folder
        See `models_in`.
    changes : mapping, optional
        Where and how to compute, such as `device` or `weights`; see `PatchCore.load`. On another
        device than then the scores may differ in the last bits.
    progress : callable of int, optional
        Parts looked at.
    """
    done = Replay()
    name, model = "", None
    for number, entry in enumerate(entries, 1):
        if progress is not None:
            progress(number)
        verdict = entry.verdict
        if verdict.score is None:
            done.without_score += 1
            continue
        image = journal.store.path(verdict.image_sha256)
        if not entry.image_kept or not image.is_file():
            done.without_image += 1
            continue
        if verdict.model_sha256 not in models:
            own = done.without_model
            own[verdict.model_sha256] = own.get(verdict.model_sha256, 0) + 1
            continue
        if model is None or name != verdict.model_sha256:
            name = verdict.model_sha256
            model = PatchCore.load(models[name], **(changes or {}))
        score = _score(model, image, verdict.category)
        if score == verdict.score:
            done.equal += 1
            continue
        done.different += 1
        if len(done.first_different) < _MOST_NAMED:
            done.first_different.append((entry.id, verdict.score, score))
    return done


def _score(model: PatchCore, image: Path, category: str) -> float | None:
    known = not model.categories or category in model.categories
    try:
        return float(model.predict_single(image, category if known else None).score)
    except InputError:
        return None

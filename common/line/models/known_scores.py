"""Scores that banks have given to a station's images: a bank judges no image twice.

What a run's `score` step finds out is what the acceptance test of the delivered model asks for: the
same images, judged by the same rows. And the model that is active then was judged so before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import common
from common.errors import InputError
from common.line.models.delivered import rows_digest
from common.system.files import write_whole

if TYPE_CHECKING:  # brings torch along, and a list of versions needs none
    from common.patchcore.model import PatchCore

BANKS_KEPT: Final = 64
"""Those used last: a few runs of a station with a bank for each of many parts. A score takes about
90 bytes, so 3,000 images judged by 64 banks take 17 MB."""


class KnownScores:
    """Image scores of one station on its disk, by bank and by the content of the image.

    Parameters
    ----------
    cache : Path
        The station's private cache.

    Notes
    -----
    A file for each bank, written whole, with a checksum. One that is damaged counts as missing, and
    on a full disk nothing is kept: what judges never depends on it.
    """

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "scores"

    def get(self, key: str) -> dict[str, float]:
        """Scores that a bank has given, by the sha256 of the images; none if they are not there.

        Parameters
        ----------
        key : str
            From `scores_key`.
        """
        path = self._path(key)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            scores = {str(image): float(score) for image, score in kept["scores"].items()}
            whole = kept["sha256"] == _digest(scores) and all(map(math.isfinite, scores.values()))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}
        if not whole:
            return {}
        with contextlib.suppress(OSError):
            os.utime(path)
        return scores

    def add(self, key: str, scores: Mapping[str, float]) -> None:
        """Keep scores beside those that a bank has given before; forget banks long unused."""
        if not scores:
            return
        merged = {**self.get(key), **{image: float(score) for image, score in scores.items()}}
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_whole(self._path(key), json.dumps({"sha256": _digest(merged), "scores": merged}))
            used = sorted((path.stat().st_mtime, path) for path in self._folder.glob("*.json"))
            for _, path in used[:-BANKS_KEPT]:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def scores_key(model: PatchCore, category: str) -> str:
    """Name of the scores of whatever bank judges a category: all that they depend on is in it.

    Parameters
    ----------
    model : PatchCore
        With a bank for the category.
    category : str

    Returns
    -------
    str
        Of the bank's rows, the feature space and what computes in it, the kind of image score and
        the version of this package.
    """
    facts = [
        rows_digest(model.banks[model.bank_name(category)]),
        model.space.fingerprint,
        model.extractor.producer,
        model.settings.image_score,
        str(common.__version__),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def contents_of(images: Iterable[Path]) -> dict[Path, str]:
    """Sha256 (hex) of each image's bytes, but of those that cannot be read.

    To be looked at before the image is judged: of one that changes meanwhile the score is then
    kept under what it was, and never found.
    """
    from common.patchcore.network.inputs import ImageInput

    found = {}
    for path in images:
        with contextlib.suppress(InputError):
            found[path] = ImageInput(path).content_key()
    return found


def _digest(scores: Mapping[str, float]) -> str:
    return hashlib.sha256(json.dumps(scores, sort_keys=True).encode()).hexdigest()

"""What the server asks for, and keeps, to say what each station's rows do."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.evaluation import EvaluationCounts
from common.evaluation.mergeable.owner_scores import ARRAY_NAMES, KINDS, OwnerScores
from common.patchcore.model_store import SHARED, bank_of
from common.patchcore.shares import pooled_owners
from common.protocol.messages import ScoreReply, SurveyReply
from common.protocol.records import HEADER_BYTES, MalformedReplyError
from server_app.influence.copies import Copies

MOST_BYTES: Final = 50_000_000
"""Most bytes of one station's scores without each owner: a message has room for as much more."""
_NUMBER_BYTES: Final = 8
SERVER: Final = "the server"
"""Stands for the server among the places that judged images; no station's name has a blank."""

Owners = Mapping[str, NDArray[np.str_]]


@dataclass(frozen=True)
class Place:
    """What one station, or the server, answered of one category.

    Attributes
    ----------
    scores : dict of kind to array of shape (images,), float64
        With all rows, ascending; the kinds are `KINDS`.
    without : OwnerScores or None
        None where nobody asked.
    """

    scores: dict[str, NDArray[np.float64]]
    without: OwnerScores | None = None

    def without_owner(self, kind: str, column: int | None) -> NDArray[np.float64] | None:
        """Scores without one owner's rows; those with all rows of who brought none."""
        if column is None or not self.scores[kind].size:
            return self.scores[kind]
        return None if self.without is None else self.without.scores[kind][:, column]


@dataclass
class Gathered:
    """Filled as a run goes on.

    Attributes
    ----------
    numbers : dict of station to int
        By which the stations know each other's rows: drawn anew for each run, and told nowhere.
    columns : dict of bank to tuple of str
        Whose rows each bank that judges holds, in the order in which stations tell of them.
    places : dict of category to dict of station to Place
        Of test images that the server judged itself, under the name `SERVER`.
    images : dict of category to dict of station to EvaluationCounts
        The stations' test images and their scores, without pixels.
    copies : Copies
    unasked : str or None
        Why no station was asked, if so.
    too_large : dict of station to int
        Who was not asked for so many bytes.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    places: dict[str, dict[str, Place]] = field(default_factory=dict)
    images: dict[str, dict[str, EvaluationCounts]] = field(default_factory=dict)
    copies: Copies = field(default_factory=Copies)
    unasked: str | None = None
    too_large: dict[str, int] = field(default_factory=dict)

    def draw(
        self, owners: Owners, shared: bool, surveys: Iterable[SurveyReply]
    ) -> dict[str, NDArray[np.uint16]]:
        """Draw the stations' numbers; return whose each row is, by bank, for a message.

        Nothing is asked where all rows are one station's. Who would answer too much is not asked:
        what it claims to have must not keep the others from being looked at.
        """
        names = sorted({str(name) for own in owners.values() for name in np.unique(own)})
        if len(names) < 2 or len(names) > np.iinfo(np.uint16).max:
            self.unasked = f"{len(names)} station(s) brought rows"
            return {}
        drawn = random.SystemRandom().sample(range(len(names)), len(names))
        self.numbers = dict(zip(names, drawn, strict=True))
        numbered = self.numbered(owners)
        judging = {SHARED: pooled_owners(numbered)} if shared else numbered
        by_number = {number: name for name, number in self.numbers.items()}
        self.columns = {
            bank: tuple(by_number[int(number)] for number in np.unique(own))
            for bank, own in judging.items()
        }
        for survey in surveys:
            if (most := self.most_bytes(survey)) > MOST_BYTES:
                self.too_large[survey.station] = most
        return numbered

    def numbered(self, owners: Owners) -> dict[str, NDArray[np.uint16]]:
        """Whose each row is, by the numbers of this run; nothing where nobody is asked."""
        names = sorted(self.numbers)
        table = np.array([self.numbers[name] for name in names], dtype=np.uint16)
        if not names:
            return {}
        return {bank: table[np.searchsorted(names, own)] for bank, own in owners.items()}

    def columns_of(self, category: str) -> tuple[str, ...]:
        """Whose rows judge a category; none where that was not asked."""
        return self.columns.get(SHARED) or self.columns.get(bank_of(category), ())

    def most_bytes(self, survey: SurveyReply) -> int:
        """Most bytes that a station's scores without each owner take, headers included."""
        return sum(
            (told.test + told.held_out + 1) * _NUMBER_BYTES * len(self.columns_of(category))
            + len(ARRAY_NAMES) * HEADER_BYTES
            for category, told in survey.categories.items()
        )

    def read(
        self,
        reply: ScoreReply,
        arrays: Mapping[str, NDArray[Any]],
        counts: Mapping[str, EvaluationCounts],
    ) -> dict[str, OwnerScores]:
        """Read what a station would score without each owner's rows, by category.

        Raises
        ------
        MalformedReplyError
            If something is missing, was not asked for or cannot be.
        """
        sent: dict[str, dict[str, NDArray[Any]]] = {}
        for name, array in arrays.items():
            category, _, key = name.rpartition("/")
            sent.setdefault(category, {})[key] = array
        known = {
            category: _known(scores.held_out_scores, counts.get(category))
            for category, scores in reply.categories.items()
            if len(self.columns_of(category)) > 1 and reply.station not in self.too_large
        }
        expected = {category for category, own in known.items() if any(own.values())}
        if set(sent) != expected:
            raise MalformedReplyError(
                f"scores without owners of {_shown(sent)}; expected of {_shown(expected)}"
            )
        try:
            return {
                category: OwnerScores.from_arrays(
                    own, known[category], len(self.columns_of(category))
                )
                for category, own in sent.items()
            }
        except ValueError as error:
            raise MalformedReplyError(f"scores without owners: {error}") from error

    def keep(
        self,
        station: str,
        held_out: Mapping[str, Iterable[float]],
        counts: Mapping[str, EvaluationCounts],
        without: Mapping[str, OwnerScores],
    ) -> None:
        """Keep what a station answered: its held-out scores and the rest, by category."""
        for category in {*held_out, *counts}:
            own = counts.get(category)
            known = _known(held_out.get(category, ()), own)
            scores = {kind: np.array(values, dtype=np.float64) for kind, values in known.items()}
            place = Place(scores, without.get(category))
            self.places.setdefault(category, {})[station] = place
            if own is not None:
                self.images.setdefault(category, {})[station] = own.images_alone()


def _known(held_out: Iterable[float], counts: EvaluationCounts | None) -> dict[str, list[float]]:
    tested = counts or EvaluationCounts()
    return dict(
        zip(KINDS, (sorted(held_out), tested.image_scores(0), tested.image_scores(1)), strict=True)
    )


def _shown(names: Collection[str]) -> list[str]:
    return [name[:120] for name in sorted(names)[:9]]

"""What the server and a station say to each other, as validated plain data.

Each reply is checked when it is read: names that could be paths, counts that cannot be and fields
that are not known are refused before anything is done with them. Arrays travel beside these
facts, see `records`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeVar

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

STATION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
CATEGORY_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_ +.-]{0,99}$"

StationName = Annotated[str, StringConstraints(pattern=STATION_PATTERN)]
CategoryName = Annotated[str, StringConstraints(pattern=CATEGORY_PATTERN)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Sentence = Annotated[str, StringConstraints(max_length=2000)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Distance = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Facts(BaseModel):
    """Base of all messages: exact types, no unknown fields, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class CategoryCounts(Facts):
    """What a station holds of one category.

    `images` go into the bank and give `patches`; `held_out` calibrate; `test` are scored.
    """

    images: Count
    held_out: Count
    test: Count
    patches: Count


class SpaceFacts(Facts):
    """A feature space as `FeatureSpace.to_json` describes it."""

    backbone: Sentence
    layers: list[Sentence]
    neighborhood_size: Count
    image_size: Count
    precision: Sentence
    weights: Sentence
    weights_sha256: Sentence
    fingerprint: Sentence


class SurveyRequest(Facts):
    """Asks who a station is; both sides must speak the same version of this protocol."""

    protocol: Annotated[int, Field(ge=1, le=1)] = 1


class SurveyReply(Facts):
    """Who a station is and what it could contribute; no pixels, no features."""

    station: StationName
    real: bool
    synthetic: bool
    host: Sentence
    categories: dict[CategoryName, CategoryCounts]
    feature_space: SpaceFacts
    feature_dim: Annotated[int, Field(ge=1, le=100_000)]
    notices: list[Sentence]


class BankPart(Facts):
    """Brings one part of the global bank after `round`, to be stored; nothing else is asked."""

    round: Annotated[int, Field(ge=1)]
    part: Count
    parts: Annotated[int, Field(ge=1)]


class BuildRequest(Facts):
    """Asks for a local bank of at most `budgets[bank]` rows, or one part of it.

    From the second round on, the global bank of the round before has come in `bank_parts` parts.
    """

    round: Annotated[int, Field(ge=1)]
    budgets: dict[str, Count]
    part: Count
    parts: Annotated[int, Field(ge=1)]
    bank_parts: Count


class BankFacts(Facts):
    """One local bank: `rows` of `patches`; `radius` after the last row."""

    patches: Count
    rows: Count
    radius: Distance


class BuildReply(Facts):
    """Accompanies the rows of a part; `banks` describes the whole."""

    station: StationName
    banks: dict[str, BankFacts]
    seconds: Distance
    extracted: Count


class ScoreRequest(Facts):
    """Asks for the scores by the global bank after `round`.

    The bank comes along, or has come before in `bank_parts` parts.
    """

    round: Annotated[int, Field(ge=1)]
    bank_parts: Count
    score_images: bool


class CategoryScores(Facts):
    """What came of one category: images scored and the held-out good parts' scores."""

    test: Count
    held_out_scores: list[Finite]


class ScoreReply(Facts):
    """Accompanies the counts; `radius` is the distance of the worst-covered training patch."""

    station: StationName
    categories: dict[CategoryName, CategoryScores]
    without_bank: list[CategoryName]
    radius: dict[str, Distance]
    seconds: Distance
    extracted: Count


class Received(Facts):
    """A part of the global bank was stored."""

    station: StationName
    part: Count


class Failure(Facts):
    """A station could not do what was asked; `reason` is made for the server's eyes."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,60}$")]
    reason: Sentence


Rows = TypeVar("Rows", range, NDArray[Any])


def part_of_rows(rows: Rows, part: int, parts: int) -> Rows:
    """Return the rows of one of several nearly equal consecutive parts of a bank."""
    return rows[len(rows) * part // parts : len(rows) * (part + 1) // parts]


_PATH: Final = re.compile(r"(?<![\w./])~?(?:/[^\s/'\"<>:;,()|]+)+/?")


def without_paths(text: str) -> str:
    """Replace every absolute path: what leaves a station names none."""
    return _PATH.sub("<path>", text)


def explain(error: ValidationError) -> str:
    """The first thing that is wrong with a message, in one line."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "message"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {first['msg']}{more}"

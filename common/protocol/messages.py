"""What the server and a station say to each other, as validated plain data.

Each reply is checked when it is read: names that could be paths, counts that cannot be and fields
that are not known are refused before anything is done with them. Every text and every list has a
largest length. Arrays travel beside these facts, see `records`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeVar

from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from common.data.names import refusal
from common.paths import path_text
from common.protocol.station_names import STATION_PATTERN as STATION_PATTERN

PROTOCOL: Final = 6
"""Version of what is said here; both sides must speak the same.

1 was the first version's, in which one image that could not be judged ended a score; since 3 rows
are those of a category, in a shared bank as well; since 4 letters are signed; since 6 a real
station is sent the finished model, and of banks by category those that it has a use for.
"""


def bank_refusal(name: str) -> str | None:
    """Why a name cannot be that of a bank, made from a category's; None if it can."""
    return refusal(name.removesuffix("/"))


def _named(why_not: Callable[[str], str | None]) -> AfterValidator:
    def checked(name: str) -> str:
        if reason := why_not(name):
            raise ValueError(f"no usable name: {reason}")
        return name

    return AfterValidator(checked)


APP_REFUSED: Final = 7
"""Flower's error with which a station refuses a run's app: the one that it gives on purpose."""
MAX_IMAGES: Final = 10**7
"""Images of one category at one station; also bounds the held-out scores that it may send."""
MAX_SIDE: Final = 10**5
"""Pixels along a side of an image: far above any camera, so that no product overflows."""
MAX_CATEGORIES: Final = 1000
MAX_SIZES: Final = 10_000
MAX_NOTICES: Final = 100
MAX_MODEL_TEXT: Final = 24 * 2**20
"""Characters of a model's facts as they are sent to one station; with what JSON adds to quote them
they are still fewer than a message's facts may have."""
SENTENCE_LENGTH: Final = 2000

StationName = Annotated[str, StringConstraints(pattern=STATION_PATTERN)]
CategoryName = Annotated[str, _named(refusal)]
BankName = Annotated[str, _named(bank_refusal)]
# No control characters: what a station says is shown in terminals and logs of other people.
Sentence = Annotated[
    str, StringConstraints(max_length=SENTENCE_LENGTH, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")
]
DeviceName = Annotated[str, StringConstraints(max_length=400, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
HostName = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
ImageKind = Annotated[str, StringConstraints(pattern="^(test|held-out)$")]
Count = Annotated[int, Field(ge=0, le=10**12)]
Images = Annotated[int, Field(ge=0, le=MAX_IMAGES)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
LARGEST_DISTANCE: Final = 1e30
"""Features are float32; sums of so many such distances, and of their squares, stay finite."""
Distance = Annotated[float, Field(ge=0, le=LARGEST_DISTANCE, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e8, allow_inf_nan=False)]
Round = Annotated[int, Field(ge=1, le=1000)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
RunId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]
Part = Annotated[int, Field(ge=0, le=10**6)]
Parts = Annotated[int, Field(ge=1, le=10**6)]


class Facts(BaseModel):
    """Base of all messages: exact types, no unknown fields, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class SizeCount(Facts):
    """So many image files of one size in pixels."""

    height: Side
    width: Side
    images: Annotated[int, Field(ge=1, le=MAX_IMAGES)]


class CategoryCounts(Facts):
    """What a station holds of one category.

    `images` go into the bank and give `patches`; `held_out` calibrate; `test` are scored. `sizes`
    and `test_sizes` tell the sizes of the first and of the last: from them the server works out by
    itself how many patches there must be and how many pixels will be counted.
    """

    images: Images
    held_out: Images
    test: Images
    patches: Count
    sizes: Annotated[list[SizeCount], Field(max_length=MAX_SIZES)]
    test_sizes: Annotated[list[SizeCount], Field(max_length=MAX_SIZES)]


class SpaceFacts(Facts):
    """A feature space as `FeatureSpace.to_json` describes it."""

    backbone: Sentence
    layers: Annotated[list[Sentence], Field(max_length=10)]
    neighborhood_size: Count
    image_size: Count
    precision: Sentence
    weights: Sentence
    weights_sha256: Sentence
    feature_norm: Sentence
    family: Sentence
    stride: Annotated[int, Field(ge=1, le=1024)]
    multiple: Annotated[int, Field(ge=1, le=1024)]
    normalization: tuple[tuple[float, float, float], tuple[float, float, float]]
    fingerprint: Sentence


def _same_version(protocol: int) -> int:
    if protocol != PROTOCOL:
        raise ValueError(f"the server speaks version {protocol}, this station {PROTOCOL}")
    return protocol


class SurveyRequest(Facts):
    """Asks who a station is; both sides must speak the same version of this protocol."""

    protocol: Annotated[int, AfterValidator(_same_version)] = PROTOCOL


class SurveyReply(Facts):
    """Who a station is and what it could contribute; no pixels, no features."""

    station: StationName
    real: bool
    synthetic: bool
    host: HostName
    categories: Annotated[dict[CategoryName, CategoryCounts], Field(max_length=MAX_CATEGORIES)]
    feature_space: SpaceFacts
    feature_dim: Annotated[int, Field(ge=1, le=100_000)]
    notices: Annotated[list[Sentence], Field(max_length=MAX_NOTICES)]


class BankPart(Facts):
    """Brings one part of the global bank after `round`, to be stored; nothing else is asked.

    Banks are named by category here and in all other messages: in scope `shared` these are the
    categories' shares of the one bank, which is put together where it judges.
    """

    round: Round
    part: Part
    parts: Parts


class BuildRequest(Facts):
    """Asks for a local bank of at most `budgets[bank]` rows, or one part of it.

    From the second round on, the global bank of the round before has come in `bank_parts` parts.
    """

    round: Round
    budgets: Annotated[dict[BankName, Count], Field(max_length=MAX_CATEGORIES)]
    part: Part
    parts: Parts
    bank_parts: Part


class Computed(Facts):
    """What a station's answer took.

    `device` computed the features, as `cuda:0` or `cpu (cuda:0 failed ...)`; `notices` tell what
    the CPU did in a device's stead. `extracted` images were not in the station's cache.
    """

    station: StationName
    seconds: Seconds
    extracted: Count
    device: DeviceName = ""
    notices: Annotated[list[Sentence], Field(max_length=MAX_NOTICES)] = []


class BankFacts(Facts):
    """One local bank: `rows` of `patches`; `radius` after the last row."""

    patches: Count
    rows: Count
    radius: Distance


class AuditFacts(Facts):
    """What a station found of its good images of a category: numbers, and never a name.

    Of `images` for the bank and `held_out` ones so many are suspicious; without `can_tell` there
    were too few to say. With `audit-good=exclude` the bank is built without the suspicious.
    """

    images: Images
    suspicious: Images
    held_out: Images
    suspicious_held_out: Images
    can_tell: bool


class BuildReply(Computed):
    """Accompanies the rows of a part; `banks` and `audits` describe the whole."""

    banks: Annotated[dict[BankName, BankFacts], Field(max_length=MAX_CATEGORIES)]
    audits: Annotated[dict[CategoryName, AuditFacts], Field(max_length=MAX_CATEGORIES)] = {}


class ScoreRequest(Facts):
    """Asks for the scores by the global bank after `round`.

    The bank comes along, or has come before in `bank_parts` parts. Whose each row is may come
    along, by bank and as numbers that were drawn for this run: then the station also answers what
    its scores would be without the rows of each.
    """

    round: Round
    bank_parts: Part
    score_images: bool


class Failure(Facts):
    """A station could not do what was asked; `reason` is made for the server's eyes."""

    code: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,60}$")]
    reason: Sentence

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"


class CategoryScores(Facts):
    """What came of one category: images scored and the held-out good parts' scores.

    `failed` tells why the test images, the held-out ones or both were not judged. Of the held-out
    ones the station's audit suspects `suspicious_held_out`.
    """

    test: Images
    held_out_scores: Annotated[list[Distance], Field(max_length=MAX_IMAGES)]
    suspicious_held_out: Images = 0
    failed: dict[ImageKind, Failure] = {}


class ScoreReply(Computed):
    """Accompanies the counts; `radius` is the distance of the worst-covered training patch.

    It is not there for banks whose training images could not be read again. Of a shared bank there
    is one for each category, from its own rows.
    """

    categories: Annotated[dict[CategoryName, CategoryScores], Field(max_length=MAX_CATEGORIES)]
    without_bank: Annotated[list[CategoryName], Field(max_length=MAX_CATEGORIES)]
    radius: Annotated[dict[BankName, Distance], Field(max_length=MAX_CATEGORIES)]


class Received(Facts):
    """A part of the global bank was stored."""

    station: StationName
    part: Part


class DeliveredRows(Facts):
    """One bank of a finished model: how many rows, and their sha256 (`rows_digest`)."""

    rows: Annotated[int, Field(ge=1, le=10**12)]
    sha256: Digest


class DeliverRequest(Facts):
    """Brings the finished model of a run, all but its rows, to be stored, tested and activated.

    The rows came before, in `score` or by `take_bank`: in `bank_parts` parts, after `round`. `text`
    is `model_text` of what this station is to have, `sha256` its digest.
    """

    round: Round
    bank_parts: Parts
    run: RunId
    text: Annotated[str, StringConstraints(max_length=MAX_MODEL_TEXT)]
    sha256: Digest
    banks: Annotated[dict[BankName, DeliveredRows], Field(max_length=MAX_CATEGORIES)]


class DeliverReply(Facts):
    """What became of a delivered model.

    `state` is `needs-rows` where nothing was done for lack of them; `active`; `waiting` for
    somebody who activates it; or `refused` by the station's acceptance test. `known`: this very
    model was stored before. `sha256` and `banks` are the digests of what is on the station's disk,
    read again; `model_sha256` is that of its `model.json`. `reason` says why, in one sentence.
    """

    station: StationName
    state: Literal["needs-rows", "active", "waiting", "refused"]
    known: bool = False
    accepted: bool | None = None
    reason: Sentence = ""
    sha256: Digest | None = None
    banks: Annotated[dict[BankName, Digest], Field(max_length=MAX_CATEGORIES)] = {}
    model_sha256: Digest | None = None
    seconds: Seconds = 0.0


Rows = TypeVar("Rows", range, NDArray[Any])


def part_of_rows(rows: Rows, part: int, parts: int) -> Rows:
    """Return the rows of one of several nearly equal consecutive parts of a bank."""
    return rows[len(rows) * part // parts : len(rows) * (part + 1) // parts]


_PATH: Final = re.compile(
    # In quotes, as Python's own errors name a file, a path goes on over blanks and the like.
    r"""(?<=(['"]))~?/[^\s/'"<>:;,()|](?:(?!\1).)*(?=\1)"""
    r"""|(?<![\w./])~?(?:/[^\s/'"<>:;,()|]+)+/?"""
)


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def as_sentence(text: str) -> str:
    """Make a text fit to be sent: one line, without control characters, not too long."""
    return " ".join(_CONTROL.sub(" ", path_text(text)).split())[:SENTENCE_LENGTH]


def without_paths(text: str) -> str:
    """Replace every absolute path: what leaves a station names none."""
    return _PATH.sub("<path>", text)


def explain(error: ValidationError) -> str:
    """The first thing that is wrong with a message, in one line."""
    first = error.errors()[0]
    # The place may hold a key that came over the network, of any length.
    place = as_sentence(".".join(str(part) for part in first["loc"]))[:120] or "message"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{place}: {first['msg']}{more}"

"""What the journal says: one dataclass for each kind of row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

REVIEWS: Final = ("good", "defect", "unsure")
"""What a person may say of a part."""
SOURCES: Final = ("api", "watch")
"""Where a part may come from: posted, or found in a watched folder."""


@dataclass(frozen=True)
class Verdict:
    """How one image was judged, and by what.

    Attributes
    ----------
    part : str or None
        The part's number or name, as the line gave it: at most 200 characters, none of them a
        control character.
    category : str
    score, threshold : float or None
        Distances; None for an image that could not be judged, or a model without a threshold.
    anomalous : bool or None
        Whether the score is above the threshold; None without a score or a threshold.
    regions : list of dict
        As `SuspiciousRegion.to_json` gives them, the highest peak first; of more than 5,000 the
        rest is left out.
    threshold_source : str
        Where the threshold comes from and what it promises, in a sentence.
    model_sha256, run_id : str
        The version of the model that judged, and the run that made it.
    image_sha256 : str
        Of the image file's bytes, 64 hexadecimal digits.
    name : str or None
        Path of a watched file, or name of an upload. Whatever it holds, it is kept: bytes that are
        no text and control characters are escaped (`file_text`).
    source : "api" | "watch"
    seconds : float
        From the image to the verdict.
    program_version : str
    error : str or None
        Why the image could not be judged; cut after 2,000 characters.
    """

    part: str | None
    category: str
    score: float | None
    threshold: float | None
    anomalous: bool | None
    regions: list[dict[str, Any]]
    threshold_source: str
    model_sha256: str
    run_id: str
    image_sha256: str
    name: str | None
    source: str
    seconds: float
    program_version: str
    error: str | None = None


@dataclass(frozen=True)
class Review:
    """What a person says of a part.

    Attributes
    ----------
    id : int
        Its own place in the chain.
    part_id : int
        `Entry.id` of the part.
    reviewed_at : str
        ISO, UTC.
    verdict : "good" | "defect" | "unsure"
    by, note : str
    """

    id: int
    part_id: int
    reviewed_at: str
    verdict: str
    by: str
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """One judged part as the journal holds it.

    Attributes
    ----------
    id : int
        Its place in the chain; ids of verdicts ascend, with gaps where rows of other kinds are.
    judged_at : str
        ISO, UTC, with microseconds: when it was written.
    verdict : Verdict
    review : Review or None
        The latest.
    image_kept : bool
        Whether its image file is kept now.
    """

    id: int
    judged_at: str
    verdict: Verdict
    review: Review | None = None
    image_kept: bool = False


@dataclass(frozen=True)
class Switch:
    """Another version of the model judges from here on."""

    id: int
    switched_at: str
    model_sha256: str
    run_id: str
    by: str
    why: str


@dataclass(frozen=True)
class ThresholdChange:
    """Another threshold judges a category from here on; None: none did, or does."""

    id: int
    changed_at: str
    category: str
    old: float | None
    new: float | None
    source: str
    by: str
    why: str


@dataclass(frozen=True)
class Head:
    """The end of the chain at a moment, signed.

    Attributes
    ----------
    seq : int
        The last row; 0 for a journal without one.
    hash : str
        That row's, 64 hexadecimal digits.
    signed_at : str
        ISO, UTC.
    why : str
        `open`, `hour`, `close`, `export`, or `export beside the writer`.
    key : str
        Fingerprint of the key, as `ssh-keygen -l` prints it; "" if nobody signed.
    signature : str
        Base64; "" if nobody signed.
    """

    seq: int
    hash: str
    signed_at: str
    why: str
    key: str = ""
    signature: str = ""


@dataclass(frozen=True)
class Summary:
    """A journal in a few numbers.

    Attributes
    ----------
    rows : dict of kind to int
    first, last : str or None
        When the first and the last part were judged.
    categories : dict of category to dict
        `judged`, `passed`, `rejected`, `undecided` (an error, or no threshold), `reviewed`.
    images, image_bytes : int
        Kept now.
    head : Head or None
        The last one.
    rows_since : int
        Rows that it does not cover.
    """

    rows: dict[str, int]
    first: str | None
    last: str | None
    categories: dict[str, dict[str, int]] = field(default_factory=dict)
    images: int = 0
    image_bytes: int = 0
    head: Head | None = None
    rows_since: int = 0

"""Who was asked, who took part, who did not and why."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from common.config import Settings
from common.errors import RunError
from common.messages import SurveyReply
from common.patchcore.feature_space import FeatureSpace
from common.patchcore.weights import expected_shapes

Status = Literal["used", "refused", "failed", "missing"]


@dataclass
class Participant:
    """One node of the run.

    Attributes
    ----------
    node_id : int
        Flower's.
    survey : SurveyReply or None
        What it said of itself.
    status, reason
        How it ended, and why if not `used`.
    bytes_up, bytes_down : int
        Payload from and to the station.
    rows_sent, rows_chosen : int
    radius, seconds : float
        Of its local banks (the largest), and of all its work.
    extracted : int
        Images whose features it computed, rather than read from its cache.
    """

    node_id: int
    survey: SurveyReply | None = None
    status: Status = "used"
    reason: str | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    rows_sent: int = 0
    rows_chosen: int = 0
    radius: float | None = None
    seconds: float = 0.0
    extracted: int = 0

    @property
    def name(self) -> str:
        """The station's name, or its node number where it never told."""
        return self.survey.station if self.survey else f"node-{self.node_id}"

    def leave(self, status: Status, reason: str) -> None:
        """Note why this participant is out; the first reason stands."""
        if self.status == "used":
            self.status, self.reason = status, reason

    def to_json(self) -> dict[str, Any]:
        """Facts for `run.json`."""
        return {
            "name": self.name,
            "node_id": str(self.node_id),
            "status": self.status,
            "reason": self.reason,
            "host": self.survey.host if self.survey else None,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "images_extracted": self.extracted,
        }


@dataclass
class Roster:
    """All participants of a run, by node id."""

    settings: Settings
    by_node: dict[int, Participant] = field(default_factory=dict)

    def used(self) -> list[Participant]:
        """Those still in, in order of station name: the order in which all is merged."""
        return sorted((p for p in self.by_node.values() if p.status == "used"), key=_by_name)

    def all(self) -> list[Participant]:
        """Everyone who was asked, in order of name."""
        return sorted(self.by_node.values(), key=_by_name)

    def require_quorum(self, step: str) -> None:
        """Fail if fewer stations than `min-stations` are left.

        Raises
        ------
        RunError
            Naming everyone who is not in, and why.
        """
        left, asked = len(self.used()), len(self.by_node)
        needed = self.settings.min_stations or asked
        if left >= needed and left > 0:
            return
        quorum = f"all {asked}" if self.settings.min_stations == 0 else str(needed)
        raise RunError(
            f"after {step} {left} of {asked} stations are left, min-stations asks for {quorum}. "
            f"{self.lost() or 'No station answered.'}"
        )

    def lost(self) -> str:
        """Name everyone who is out, and why; the same reason once for all who share it."""
        reasons: dict[str, list[str]] = {}
        for participant in self.all():
            if participant.status != "used":
                what = f"{participant.status}: {participant.reason}"
                reasons.setdefault(what, []).append(participant.name)
        return "; ".join(f"{', '.join(names)} {what}" for what, names in reasons.items())


def admit(roster: Roster) -> FeatureSpace:
    """Refuse who cannot take part; return the feature space of the run.

    Two stations with one name are both refused, then stations in another feature space than the
    reference, then those whose features would not fit it, then whoever holds more than
    `max-station-share` of the training images.

    Raises
    ------
    RunError
        If no station is left, or two feature spaces are equally common.
    """
    settings = roster.settings
    counts = Counter(p.name for p in roster.used())
    for participant in roster.used():
        if counts[participant.name] > 1:
            participant.leave(
                "refused",
                f"{counts[participant.name]} stations call themselves {participant.name}; none of "
                "them is taken; give each its own name in its node config",
            )
    if not roster.used():
        raise RunError(f"no station gave a usable answer to the survey. {roster.lost()}".strip())
    space = _reference_space(roster.used(), settings)
    for participant in roster.used():
        own = _space(participant)
        if own.fingerprint != space.fingerprint:
            participant.leave(
                "refused",
                f"feature space {own.describe()} differs from the run's {space.describe()}; give "
                "the station the same weights and preprocessing",
            )
    _refuse_misfits(roster.used(), settings)
    _refuse_giants(roster, settings.max_station_share)
    return space


def _reference_space(participants: Sequence[Participant], settings: Settings) -> FeatureSpace:
    spaces = {p.node_id: _space(p) for p in participants}
    common = Counter(space.fingerprint for space in spaces.values()).most_common()
    # People copy the start of a fingerprint from a message: it is enough if it is unambiguous.
    wanted = settings.feature_space or common[0][0]
    named = sorted({fingerprint for fingerprint, _ in common if fingerprint.startswith(wanted)})
    if not settings.feature_space and len(common) > 1 and common[0][1] == common[1][1]:
        names = "; ".join(
            f"{p.name}: {_space(p).describe()}" for p in sorted(participants, key=_by_name)
        )
        raise RunError(
            f"two feature spaces are equally common ({names}); set feature-space to the "
            "fingerprint, shown in [], of the right one"
        )
    found = ", ".join(sorted({space.describe() for space in spaces.values()}))
    if not named:
        raise RunError(f"no station is in the required feature-space {wanted}; found: {found}")
    if len(named) > 1:
        raise RunError(
            f"feature-space {wanted} is the start of {len(named)} fingerprints; give more of it; "
            f"found: {found}"
        )
    return next(space for space in spaces.values() if space.fingerprint == named[0])


def _refuse_misfits(participants: Iterable[Participant], settings: Settings) -> None:
    """Refuse stations whose features have another dimension than the run's network gives."""
    expected = feature_dim(settings.backbone, settings.layer_names)
    for participant in participants:
        found = participant.survey.feature_dim if participant.survey else 0
        if found != expected:
            participant.leave(
                "refused",
                f"has features of {found} numbers, but {settings.backbone} with {settings.layers} "
                f"gives {expected}; update the station's program",
            )


@functools.cache
def feature_dim(backbone: str, layers: tuple[str, ...]) -> int:
    """Numbers per patch: the channels of all layers used."""
    shapes = expected_shapes(backbone, layers)
    # The last tensor of a layer is its last normalization, one number a channel.
    last = {name.split(".")[0]: shape for name, shape in shapes.items()}
    return sum(last[layer][0] for layer in layers)


def _refuse_giants(roster: Roster, limit: float) -> None:
    participants = roster.used()
    total = max(1, sum(_images(p) for p in participants))
    for participant in participants:
        share = _images(participant) / total
        if share > limit:
            participant.leave(
                "refused",
                f"holds {share:.1%} of the training images, max-station-share allows {limit:.1%}",
            )


def _space(participant: Participant) -> FeatureSpace:
    if participant.survey is None:
        raise ValueError(f"{participant.name} has not answered the survey")
    return FeatureSpace.from_json(participant.survey.feature_space.model_dump())


def _images(participant: Participant) -> int:
    survey = participant.survey
    return sum(counts.images for counts in survey.categories.values()) if survey else 0


def _by_name(participant: Participant) -> tuple[str, int]:
    return participant.name, participant.node_id

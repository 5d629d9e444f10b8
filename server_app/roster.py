"""Who was asked, who took part, who did not and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from common.config import Settings
from common.errors import RunError
from common.patchcore.network.architecture import AUTO
from common.patchcore.network.architectures import DEFAULT, FALLBACK, find_backbone
from common.patchcore.network.feature_space import FeatureSpace
from common.protocol.messages import Computed, SurveyReply, as_sentence
from common.protocol.records import MalformedReplyError
from common.runs.record import StationFacts
from server_app.checks import check_survey

Status = Literal["used", "refused", "failed", "missing"]


@dataclass
class Participant:
    """One station of the run, or a node that would like to be one.

    Attributes
    ----------
    node_id : int or None
        Flower's; None while a station that was expected is not online. It is an address, so it is
        told nowhere.
    registered : str or None
        The name that belongs to its key. What the station calls itself must agree.
    survey : SurveyReply or None
        What it said of itself.
    status, reason
        How it ended, and why if not `used`.
    number : int
        Its place among the nodes that were seen, by which it is called until it has a name.
    joined : int
        The round before which it was first surveyed; 1 for those that were there at the start.
    may_return : bool
        Whether it was only lost from sight, so that it may come back before a later round.
    bytes_up, bytes_down : int
        Payload from and to the station.
    rows_sent, rows_chosen : int
    radius, seconds : float
        Of its local banks (the largest), and of all its work.
    extracted : int
        Images whose features it computed, rather than read from its cache.
    devices : dict of str to None
        What computed its features, in order, each once.
    """

    node_id: int | None
    registered: str | None = None
    survey: SurveyReply | None = None
    status: Status = "used"
    reason: str | None = None
    number: int = 0
    joined: int = 1
    may_return: bool = False
    bytes_up: int = 0
    bytes_down: int = 0
    rows_sent: int = 0
    rows_chosen: int = 0
    radius: float | None = None
    seconds: float = 0.0
    extracted: int = 0
    devices: dict[str, None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The registered name, else what it calls itself, else its number."""
        if self.registered is not None:
            return self.registered
        return self.survey.station if self.survey else f"node-{self.number}"

    def leave(self, status: Status, reason: str, *, may_return: bool = False) -> None:
        """Note why this participant is out; the first reason stands."""
        if self.status == "used":
            self.status, self.reason, self.may_return = status, as_sentence(reason), may_return

    def come_back(self) -> None:
        """Take part again; what it has sent so far stays counted."""
        self.status, self.reason, self.may_return = "used", None, False

    def take(self, reply: Computed) -> None:
        """Add what an answer took."""
        self.seconds += reply.seconds
        self.extracted += reply.extracted
        if reply.device:
            self.devices[reply.device] = None

    def continue_as(self, other: Participant) -> None:
        """Take over the history of the same station under its earlier node number."""
        self.joined = other.joined
        self.bytes_up += other.bytes_up
        self.bytes_down += other.bytes_down
        self.rows_sent += other.rows_sent
        self.rows_chosen += other.rows_chosen
        self.seconds += other.seconds
        self.extracted += other.extracted
        self.devices = {**other.devices, **self.devices}
        self.radius = other.radius

    def facts(self) -> StationFacts:
        """Its line in `run.json`."""
        return StationFacts(
            name=self.name,
            status=self.status,
            reason=self.reason,
            joined_round=self.joined,
            host=self.survey.host if self.survey else None,
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            images_extracted=self.extracted,
            device=", then ".join(self.devices) or None,
        )


@dataclass
class Roster:
    """All participants of a run.

    Attributes
    ----------
    settings : Settings
    by_node : dict of int to Participant
        Those that were seen, by node id.
    expected : tuple of str
        Names of the stations that belong to the plant, where the server knows them.
    absent : dict of str to Participant
        Expected stations that were never online.
    at_start : int
        How many stations were asked at the start, where nobody was expected by name.
    """

    settings: Settings
    by_node: dict[int, Participant] = field(default_factory=dict)
    expected: tuple[str, ...] = ()
    absent: dict[str, Participant] = field(default_factory=dict)
    at_start: int = 0

    def next_number(self) -> int:
        """Number of the next node that is seen."""
        return 1 + max((participant.number for participant in self.by_node.values()), default=0)

    def used(self) -> list[Participant]:
        """Those still in, in order of station name: the order in which all is merged."""
        return sorted((p for p in self.by_node.values() if p.status == "used"), key=_by_name)

    def all(self) -> list[Participant]:
        """Everyone who was asked or expected, in order of name."""
        return sorted([*self.by_node.values(), *self.absent.values()], key=_by_name)

    def require_quorum(self, step: str) -> None:
        """Fail if fewer stations than `min-stations` are left.

        `min-stations` 0 asks for all that belong to the plant, or where the server does not know
        these, for as many as were asked at the start.

        Raises
        ------
        RunError
            Naming everyone who is not in, and why.
        """
        left, asked = len(self.used()), len(self.all())
        every = len(self.expected) or self.at_start or asked
        needed = self.settings.min_stations or every
        if left >= needed and left > 0:
            return
        quorum = f"all {every}" if self.settings.min_stations == 0 else str(needed)
        raise RunError(
            f"after {step} {left} of {asked} stations are left, min-stations asks for {quorum}. "
            f"{self.lost() or 'No station answered.'}"
        )

    def lost(self) -> str:
        """Name everyone who is out, and why; the same reason once for all who share it."""
        return "; ".join(
            f"{', '.join(names)} {status}: {reason}" for status, names, reason in self._reasons()
        )

    def summary(self) -> str:
        """Say in one line who took part and who did not: what every reader must see."""
        told = [f"used {len(self.used())} of {len(self.all())}"]
        if left := [f"{s} {', '.join(names)}: {reason}" for s, names, reason in self._reasons()]:
            told.append("; ".join(left))
        return ", ".join(told)

    def _reasons(self) -> list[tuple[str, list[str], str]]:
        reasons: dict[tuple[str, str], list[str]] = {}
        for participant in self.all():
            if participant.status != "used":
                key = participant.status, participant.reason or "no reason known"
                reasons.setdefault(key, []).append(participant.name)
        return [(status, names, reason) for (status, reason), names in reasons.items()]


def admit(roster: Roster) -> FeatureSpace:
    """Refuse who cannot take part; return the feature space of the run.

    Whoever answers under another name than its key's is refused; two stations with one name are
    both refused; then stations of another network than the run's, then a survey that cannot be,
    then stations in another feature space than the reference, then those whose features would not
    fit it. How much the word of those admitted counts is `counted_images`' business.

    Raises
    ------
    RunError
        If no station is left, or two feature spaces are equally common.
    """
    settings = roster.settings
    _refuse_misnamed(roster.used())
    _refuse_twins(roster.used())
    # First of all: a network is looked up by a station's word only where the run names it, too.
    _refuse_other_networks(roster.used(), settings)
    _refuse_impossible(roster.used(), settings)
    if not roster.used():
        raise RunError(f"no station gave a usable answer to the survey. {roster.lost()}".strip())
    space = _reference_space(roster.used(), settings)
    _refuse_other_spaces(roster.used(), space)
    _refuse_misfits(roster.used())
    return space


def admit_late(roster: Roster, newcomers: Sequence[Participant], space: FeatureSpace) -> None:
    """Admit stations to a run that is under way, by the same rules.

    Parameters
    ----------
    roster : Roster
        Holds the newcomers already.
    newcomers : sequence of Participant
        Those that have just been surveyed. Nobody else is refused: who is in stays in. A station
        that was lost and comes back under another node number continues where it was.
    space : FeatureSpace
        The run's.
    """
    arrived = {id(newcomer) for newcomer in newcomers}
    _refuse_misnamed(_still_in(newcomers))
    _refuse_twins(_still_in(newcomers))
    for newcomer in _still_in(newcomers):
        for other in roster.all():
            if id(other) in arrived or other.name != newcomer.name:
                continue
            if other.may_return:
                newcomer.continue_as(other)
                roster.by_node = {n: p for n, p in roster.by_node.items() if p is not other}
            else:
                newcomer.leave(
                    "refused",
                    f"a station named {other.name} is in this run already ({other.status}); give "
                    "each its own name",
                )
    _refuse_other_networks(_still_in(newcomers), roster.settings)
    _refuse_impossible(_still_in(newcomers), roster.settings)
    _refuse_other_spaces(_still_in(newcomers), space)
    _refuse_misfits(_still_in(newcomers))


def _still_in(participants: Iterable[Participant]) -> list[Participant]:
    return [participant for participant in participants if participant.status == "used"]


def _refuse_misnamed(participants: Iterable[Participant]) -> None:
    for participant in participants:
        told = participant.survey.station if participant.survey else ""
        registered = participant.registered
        if registered is not None and told != registered:
            participant.leave(
                "refused",
                f"calls itself {told!r}, but its key is registered as {registered!r}; put "
                f'station = "{registered}" in its settings, or give it the key of {told!r}',
            )


def _refuse_twins(participants: Sequence[Participant]) -> None:
    counts = Counter(p.name for p in participants)
    for participant in participants:
        if counts[participant.name] > 1:
            participant.leave(
                "refused",
                f"{counts[participant.name]} stations call themselves {participant.name}; none of "
                "them is taken; give each its own name in its node config",
            )


def _refuse_impossible(participants: Iterable[Participant], settings: Settings) -> None:
    for participant in participants:
        if participant.survey is None:
            continue
        try:
            check_survey(participant.survey, settings.augment, settings.calibration_fraction)
        except MalformedReplyError as error:
            participant.leave("refused", f"sent an unusable survey: {error}")


def _refuse_other_spaces(participants: Iterable[Participant], space: FeatureSpace) -> None:
    for participant in participants:
        own = _space(participant)
        if own.fingerprint != space.fingerprint:
            participant.leave(
                "refused",
                f"feature space {own.describe()} differs from the run's {space.describe()}; give "
                "the station the same weights and preprocessing",
            )


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


def _refuse_other_networks(participants: Iterable[Participant], settings: Settings) -> None:
    """Refuse stations whose features are not those of the network that the run asks for."""
    names = [settings.backbone]
    if settings.backbone == AUTO:
        names = [DEFAULT, FALLBACK] if settings.layers == AUTO else [DEFAULT]
    allowed = {name: find_backbone(name).used(settings.layers) for name in names}
    wanted = " or ".join(f"{name} with {'+'.join(layers)}" for name, layers in allowed.items())
    for participant in participants:
        if participant.survey is None:
            continue
        told = participant.survey.feature_space
        if allowed.get(told.backbone) != tuple(told.layers):
            participant.leave(
                "refused",
                f"computes features with {told.backbone}, {'+'.join(told.layers)}; the run asks "
                f"for {wanted}",
            )


def _refuse_misfits(participants: Iterable[Participant]) -> None:
    """Refuse stations whose features have another dimension than their network gives."""
    for participant in participants:
        space = _space(participant)
        expected = feature_dim(space)
        found = participant.survey.feature_dim if participant.survey else 0
        if found != expected:
            participant.leave(
                "refused",
                f"has features of {found} numbers, but {space.backbone} with "
                f"{','.join(space.layers)} gives {expected}; update the station's program",
            )


def feature_dim(space: FeatureSpace) -> int:
    """Numbers per patch in a feature space."""
    return find_backbone(space.backbone).feature_dim(space.layers)


def _space(participant: Participant) -> FeatureSpace:
    if participant.survey is None:
        raise ValueError(f"{participant.name} has not answered the survey")
    return FeatureSpace.from_json(participant.survey.feature_space.model_dump())


def _by_name(participant: Participant) -> tuple[str, int]:
    return participant.name, participant.node_id or 0

"""Who is there, who is expected, and who comes late: from nodes to admitted stations."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from flwr.app import MessageType
from flwr.serverapp import Grid

from common.config import Settings
from common.errors import RunError
from common.patchcore.network.feature_space import FeatureSpace
from common.protocol.messages import SurveyReply, SurveyRequest
from server_app.post import Post, Request
from server_app.registry import Member, Registry
from server_app.roster import Participant, Roster, admit, admit_late

WAIT_FOR_STATIONS: Final = 600.0
"""Seconds in which enough stations must be online, if `round-timeout` is not shorter."""
GRACE_FOR_THE_REST: Final = 30.0
"""Seconds more for the other stations that belong to the plant, once enough are online."""
LATE_SURVEY_SECONDS: Final = 600.0
"""Longest that a run waits for those who come late to say who they are."""
_LOOK_EVERY: Final = 0.5
_NOT_ONLINE: Final = "not online"
LEFT_OUT: Final = "left out on request"


class Admission:
    """Looks for stations, surveys them, and lets in who may take part.

    Parameters
    ----------
    settings : Settings
    registry : Registry
        Whose names the server knows.
    roster : Roster
        Filled.
    post : Post
    """

    def __init__(self, settings: Settings, registry: Registry, roster: Roster, post: Post) -> None:
        self.settings, self.registry, self.roster, self.post = settings, registry, roster, post
        self._left_out = frozenset(settings.left_out)
        roster.expected = tuple(n for n in registry.expected if n not in self._left_out)

    def gather(self, grid: Grid) -> None:
        """Wait for the stations and put them on the roster, those that do not come as missing.

        Raises
        ------
        RunError
            If fewer are online than `min-stations` asks for; the roster then tells who was not. Or
            if a station is to be left out that does not belong to the plant, or all are.
        """
        roster, expected = self.roster, self.roster.expected
        if self.registry.closed:
            self._require_known(self.registry.expected)
            for name in self._left_out:
                self._leave_out(name)
        needed = self.settings.min_stations or len(expected) or 1
        wait = min(WAIT_FOR_STATIONS, float(self.settings.round_timeout))
        members = self._wait_for(grid, needed, wait)
        if len(_belonging(members)) >= needed and len(expected) > needed:
            grace = min(GRACE_FOR_THE_REST, wait)
            members = self._wait_for(grid, len(expected), grace)
        for member in members:
            number = roster.next_number()
            roster.by_node[member.node_id] = _participant(member, number, joined=1)
        online = {member.name for member in members}
        for name in expected:
            if name not in online:
                roster.absent[name] = absent = Participant(None, registered=name)
                absent.leave("missing", _NOT_ONLINE, may_return=True)
        present = _belonging(members)
        roster.at_start = len(present)
        if len(present) < needed:
            away = [p for p in roster.absent.values() if p.reason != LEFT_OUT]
            names = ", ".join(sorted(p.name for p in away))
            missing = f" ({names} {_NOT_ONLINE})" * bool(away)
            raise RunError(
                f"{len(present)} stations were online within {wait:.0f} s, {needed} are needed"
                f"{missing}; start the stations' SuperNodes and look at their logs"
            )

    def survey_all(self, grid: Grid) -> FeatureSpace:
        """Survey everyone on the roster; return the feature space of the run.

        Raises
        ------
        RunError
            If nobody is left, the feature space is not clear, or the quorum is missed.
        """
        self._survey(grid, self.roster.used(), self.post.timeout)
        if not self.registry.closed:
            self._require_known(p.name for p in self.roster.all() if p.survey is not None)
            self.roster.at_start -= self._leave(self.roster.used())
        space = admit(self.roster)
        self.roster.require_quorum("the survey")
        return space

    def welcome(self, grid: Grid, server_round: int, space: FeatureSpace) -> list[Participant]:
        """Let in who came, or came back, since the last round.

        Parameters
        ----------
        grid : Grid
        server_round : int
            The round that is about to begin.
        space : FeatureSpace
            The run's.

        Returns
        -------
        list of Participant
            Those that are in now and were not before; in order of name.
        """
        members = self._members(grid)
        newcomers = [
            participant
            for member in members
            if (participant := self._newcomer(member, server_round)) is not None
        ]
        before = {id(newcomer): newcomer.reason for newcomer in newcomers}
        for newcomer in newcomers:
            newcomer.come_back()
        self._survey(grid, newcomers, LATE_SURVEY_SECONDS)
        self._leave(newcomers)
        admit_late(self.roster, newcomers, space)
        for newcomer in newcomers:
            reason = before[id(newcomer)]
            if newcomer.status != "used" and reason is not None and newcomer.reason != reason:
                newcomer.reason = f"{reason}; back before round {server_round}: {newcomer.reason}"
        return [participant for participant in self.roster.used() if id(participant) in before]

    def _members(self, grid: Grid) -> list[Member]:
        """Nodes that are online, but for those that are left out by the name of their key."""
        members = self.registry.members(grid.get_nodes())
        return [member for member in members if member.name not in self._left_out]

    def _require_known(self, names: Iterable[str]) -> None:
        """Refuse a name that no station has: a slip would let in whom it was to keep out."""
        known = sorted(names)
        if unknown := sorted(self._left_out - set(known)):
            raise RunError(
                f"setting without: found {', '.join(unknown)}, expected stations of this run; "
                f"known ones are: {', '.join(known)}"
            )
        if known and self._left_out >= set(known):
            raise RunError(f"setting without: all stations are left out: {', '.join(known)}")

    def _leave_out(self, name: str) -> None:
        self.roster.absent[name] = absent = Participant(None, registered=name)
        absent.leave("missing", LEFT_OUT)

    def _leave(self, participants: Iterable[Participant]) -> int:
        """Ask no more of those that are to be left out, now that they have a name; how many."""
        found = [p for p in participants if p.name in self._left_out]
        for participant in found:
            participant.leave("missing", LEFT_OUT)
        return len(found)

    def _newcomer(self, member: Member, server_round: int) -> Participant | None:
        """Whom to survey for this node, if anyone: a stranger is noted and not asked."""
        known = self.roster.by_node.get(member.node_id)
        if known is not None:
            return known if known.may_return else None
        participant = self.roster.absent.pop(member.name, None) if member.name else None
        if participant is None:
            participant = _participant(member, self.roster.next_number(), joined=server_round)
        participant.node_id, participant.joined = member.node_id, server_round
        self.roster.by_node[member.node_id] = participant
        return None if member.stranger else participant

    def _wait_for(self, grid: Grid, enough: int, seconds: float) -> list[Member]:
        """Nodes that are online, as soon as enough are, at the latest after so many seconds."""
        until = time.monotonic() + seconds
        while True:
            members = self._members(grid)
            if len(_belonging(members)) >= enough or time.monotonic() > until:
                return members
            time.sleep(_LOOK_EVERY)

    def _survey(self, grid: Grid, participants: Sequence[Participant], seconds: float) -> None:
        if not participants:
            return
        requests = [Request(participant, SurveyRequest()) for participant in participants]
        for answer in self.post.exchange(grid, MessageType.QUERY, requests, seconds):
            survey = self.post.read(answer, SurveyReply, arrays=False)
            if survey is not None:
                _take(answer.sender, survey)


def _take(participant: Participant, survey: SurveyReply) -> None:
    """Keep what a station says of itself; its name stays what it was."""
    known = participant.survey
    if known is not None and known.station != survey.station:
        participant.leave(
            "refused",
            f"came back as {survey.station!r}; its rows are in this run under {known.station!r}",
        )
        return
    participant.survey = survey


def _belonging(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if member.stranger is None]


def _participant(member: Member, number: int, joined: int) -> Participant:
    participant = Participant(member.node_id, registered=member.name, number=number, joined=joined)
    if member.stranger is not None:
        participant.leave("refused", member.stranger)
    return participant

"""`FederatedCoreset`: the conversation of a run, step by step, as a Flower Strategy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.common import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray

from common.config import Settings
from common.errors import RunError
from common.patchcore.audit.good_images import audit_sentences
from common.patchcore.distances import Distances
from common.patchcore.model_store import SHARED
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.row_format import row_dtype
from common.plant.server.allowances import Allowance
from common.protocol.messages import (
    BuildReply,
    BuildRequest,
    Computed,
    ScoreReply,
    ScoreRequest,
    SurveyReply,
)
from common.protocol.records import (
    BANK,
    COUNTS,
    WITHOUT,
    MalformedReplyError,
    select_prefix,
    split_prefixes,
    take_arrays,
)
from common.protocol.wire_rows import from_wire
from common.runs.flower_run import LOG_PREFIX
from server_app.admission import Admission
from server_app.checks import check_build_reply, check_score_reply, most_count_bytes, most_row_bytes
from server_app.counted import counted_images
from server_app.delivery.bank_parts import send_banks
from server_app.delivery.holdings import Holdings
from server_app.letters import Letters
from server_app.merging import add_scores, join_parts, merge_banks
from server_app.outcome import Outcome
from server_app.plan import make_plan, parts_needed
from server_app.post import Answered, Post, Request
from server_app.registry import Registry
from server_app.roster import Participant, Roster, feature_dim

Rows = NDArray[Any]


class FederatedCoreset(Strategy):
    """Survey the stations, merge their banks, have them judge their own images.

    Parameters
    ----------
    settings : Settings
    outcome : Outcome, optional
        Filled; by default a new one.

    Attributes
    ----------
    outcome : Outcome
    grid : Grid or None
        Over which the run speaks, once it has begun.

    Notes
    -----
    Every wait ends after `round-timeout`. A station that fails, is refused or stays silent is
    noted with its reason, and the run goes on as long as `min-stations` are left. Everything is
    merged in order of station name, so the order of replies changes nothing.
    """

    def __init__(self, settings: Settings, outcome: Outcome | None = None) -> None:
        self.settings = settings
        self.outcome = Outcome(Roster(settings)) if outcome is None else outcome
        self._post = Post(self.outcome.roster, float(settings.round_timeout))
        self._admission = Admission(settings, Registry(), self.outcome.roster, self._post)
        self._allowed: Mapping[str, Allowance] = {}
        self._distances = Distances(settings.coreset_projection, settings.seed)
        self._started = 0.0
        self.grid: Grid | None = None

    @property
    def letters(self) -> Letters | None:
        """How requests are signed; None in a simulation."""
        return self._post.letters

    def know(
        self, registry: Registry, letters: Letters | None, allowed: Mapping[str, Allowance]
    ) -> None:
        """Tell which stations belong to the plant, the keys, and how many images each may have.

        Otherwise, as in a simulation, whoever is online belongs to it, letters are not signed, and
        a station's word counts within `max-station-share`.
        """
        self._allowed = allowed
        self._post.letters = letters
        self._admission = Admission(self.settings, registry, self.outcome.roster, self._post)

    def summary(self) -> None:
        """Log how this run merges."""
        settings = self.settings
        self._say(
            f"{settings.aggregation}, bank of {settings.global_bank_size} rows "
            f"({settings.bank_scope}), {settings.num_server_rounds} round(s)"
        )

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 1,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Survey all stations, fix weights and budgets, then run the rounds.

        Raises
        ------
        RunError
            If fewer than `min-stations` are left after any step.
        """
        self.grid = grid
        self._survey(grid)
        return super().start(
            grid, initial_arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn
        )

    # ------------------------------------------------------------------ survey

    def meet(self, grid: Grid) -> None:
        """Survey the stations and admit them, for a run that builds nothing."""
        self.grid, self._started = grid, time.monotonic()
        self._admission.gather(grid)
        self._say(f"survey: asking {len(self.outcome.roster.used())} stations")
        self.outcome.space = self._admission.survey_all(grid)
        self._done("survey")

    def _survey(self, grid: Grid) -> None:
        """Who is there, with what, in which feature space; then the plan."""
        self._started = time.monotonic()
        outcome = self.outcome
        self._admission.gather(grid)
        self._say(f"survey: asking {len(outcome.roster.used())} stations")
        outcome.space = self._admission.survey_all(grid)
        outcome.feature_dim = feature_dim(outcome.space)
        self._plan(outcome.surveys)
        if not outcome.plan.banks:
            raise RunError("no station holds a training image; there is nothing to build from")
        self._take_notices(outcome.surveys)
        images = sum(c.images for s in outcome.surveys.values() for c in s.categories.values())
        self._say(
            f"survey: {len(outcome.surveys)} stations hold {images} training images; "
            f"{outcome.space.describe()}"
        )
        self._done("survey")

    def _welcome(self, grid: Grid, server_round: int, space: FeatureSpace) -> None:
        """Let in who came late or came back; then weights and budgets are fixed anew."""
        arrived = self._admission.welcome(grid, server_round, space)
        if not arrived:
            return
        outcome = self.outcome
        for participant in arrived:
            how = "joined" if participant.joined == server_round else "came back"
            outcome.note(f"{participant.name} {how} in round {server_round}")
            self._say(f"round {server_round}: {participant.name} {how}")
        self._plan(outcome.planned)
        self._take_notices(outcome.surveys)
        self._done("survey")

    def _plan(self, surveys: Mapping[str, SurveyReply]) -> None:
        """Fix weights and budgets by what counts of the stations' words; say who was cut."""
        outcome, share = self.outcome, self.settings.max_station_share
        outcome.counted = counted_images(surveys, share, self._allowed)
        outcome.plan = make_plan(surveys, self.settings, outcome.counted)
        for cut in outcome.counted.cuts:
            outcome.note(cut)
            self._say(cut)

    def _take_notices(self, surveys: Mapping[str, SurveyReply]) -> None:
        for name, survey in surveys.items():
            for notice in survey.notices:
                self.outcome.note(f"{name}: {notice}" if survey.real else notice)

    # ------------------------------------------------------------------- train

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every station for its rows, in as many parts as they take."""
        self._started = time.monotonic()
        outcome = self.outcome
        if server_round > 1 and outcome.space is not None:
            self._welcome(grid, server_round, outcome.space)
        holdings = outcome.holdings()
        if outcome.banks:
            self._send_banks(grid, server_round - 1, holdings)
        requests = []
        for participant in outcome.roster.used():
            budgets = outcome.plan.budgets_of(participant.name)
            if not budgets:
                continue  # it has test images only, and will be asked to score them
            parts = self._parts_of(sum(budgets.values()))
            for part in range(parts):
                facts = BuildRequest(
                    round=server_round,
                    budgets=budgets,
                    part=part,
                    parts=parts,
                    bank_parts=holdings.parts(participant),
                )
                requests.append(Request(participant, facts, part=part))
        asked = {request.to.name for request in requests}
        self._say(f"round {server_round}: {len(asked)} stations build their banks")
        return self._post.messages(MessageType.TRAIN, requests)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check what came, and select the global banks from it."""
        received: dict[str, list[dict[str, Rows]]] = {}
        for answer in self._post.receive(replies):
            rows = self._take_rows(answer, first=server_round == 1)
            if rows is not None:
                received.setdefault(answer.sender.name, []).append(rows)
        self.outcome.roster.require_quorum(f"building banks in round {server_round}")
        # A station that failed in one part is out with all of them: no partial bank is used.
        surveys = self.outcome.surveys
        # Taken out of `received` on the way: nothing is in memory twice for longer than needed.
        built = {
            name: join_parts(received.pop(name)) for name in sorted(received) if name in surveys
        }
        received.clear()
        self._done("build_bank")
        merge_banks(self.outcome, self.settings, built, server_round)
        if not self.outcome.banks:
            raise RunError("no station delivered a row; there is no bank to go on with")
        self._done("aggregate")
        self.outcome.built = server_round == self.settings.num_server_rounds
        total = sum(len(rows) for rows in self.outcome.rows.values())
        self._say(f"round {server_round}: global bank of {total} rows from {len(built)} stations")
        # The bank stays in `outcome`: as a Flower record it would be in memory once more.
        return None, MetricRecord({"stations": len(built), "rows": total})

    def _take_rows(self, answer: Answered, *, first: bool) -> dict[str, Rows] | None:
        """Rows of one reply if they are what was asked for."""
        reply, sender = self._post.read(answer, BuildReply), answer.sender
        if reply is None:
            return None
        plan = self.outcome.plan
        budgets = plan.budgets_of(sender.name)
        parts = self._parts_of(sum(budgets.values()))
        wire = self.settings.wire_dtype
        shape = (self.outcome.feature_dim, row_dtype(wire).name)
        try:
            taken = take_arrays(
                answer.content,
                names=[f"{BANK}/{name}" for name in budgets],
                max_bytes=most_row_bytes(budgets, parts, (shape[0], wire)),
                copy=False,
            )
            rows = from_wire(select_prefix(BANK, taken), wire)
            check_build_reply(
                reply,
                rows,
                station=sender.name,
                budgets=budgets,
                patches={name: plan.banks[name].patches_of(sender.name) for name in budgets},
                shape=shape,
                part=answer.part,
                parts=parts,
                distances=self._distances,
                first=first,
                told=sender.survey.categories if sender.survey else {},
                excluding=self.settings.audit_good == "exclude",
            )
        except (MalformedReplyError, ValueError) as error:
            sender.leave("refused", f"sent an unusable bank: {error}")
            return None
        sender.rows_sent += sum(len(part) for part in rows.values())
        if answer.part == 0:
            self._take_computed(sender, reply)
            self._take_audits(sender, reply)
            if sender.radius is None:
                sender.radius = max(facts.radius for facts in reply.banks.values())
        return rows

    def _take_audits(self, sender: Participant, reply: BuildReply) -> None:
        """Keep what a station says of its good images; only its own log has their names."""
        if not reply.audits or self.settings.audit_good == "off":
            return
        counts = {name: audit.model_dump() for name, audit in sorted(reply.audits.items())}
        self.outcome.audits[sender.name] = counts
        named = f"the log of {sender.name} names them"
        for sentence in audit_sentences(counts, self.settings.audit_good, named):
            self.outcome.note(f"{sender.name}: {sentence}")

    def _take_computed(self, sender: Participant, reply: Computed) -> None:
        """Add what an answer took, and repeat what the station says of its device."""
        sender.take(reply)
        for notice in reply.notices:
            self.outcome.note(f"{sender.name}: {notice}")

    # ---------------------------------------------------------------- evaluate

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the global bank of the last round down, to be judged with."""
        if server_round < self.settings.num_server_rounds:
            return []
        self._started = time.monotonic()
        outcome = self.outcome
        holdings = outcome.holdings()
        parts = {p.name: holdings.parts(p) for p in outcome.roster.used()}
        self._send_banks(grid, server_round, holdings, at_least=2)
        whose = outcome.gathered.draw(outcome.owners, outcome.shared, outcome.surveys.values())
        nothing: dict[str, Rows] = {}
        score_images = self.settings.evaluation == "stations"
        requests = []
        for p in outcome.roster.used():
            before = parts[p.name] if parts[p.name] > 1 else 0
            facts = ScoreRequest(round=server_round, bank_parts=before, score_images=score_images)
            along = holdings.part(p, 0, 1) if parts[p.name] == 1 else nothing
            asked = p.name not in outcome.gathered.too_large
            owners = holdings.of(p, whose) if asked else nothing
            requests.append(Request(p, facts, along, owners=owners))
        self._say(f"{len(requests)} stations score their own images")
        return self._post.messages(MessageType.EVALUATE, requests)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Add the stations' counts up."""
        if server_round < self.settings.num_server_rounds:
            return None
        outcome, scored = self.outcome, 0
        for answer in self._post.receive(replies):
            reply, survey = self._post.read(answer, ScoreReply), answer.sender.survey
            if reply is None or survey is None:
                continue
            try:
                most = most_count_bytes(survey) + outcome.gathered.most_bytes(survey)
                taken = take_arrays(answer.content, max_bytes=most)
                arrays, others = split_prefixes(taken, COUNTS, WITHOUT)
                counts = check_score_reply(
                    reply,
                    arrays,
                    survey,
                    banks={SHARED} if outcome.shared else set(outcome.banks),
                    parts=outcome.banks,
                    score_images=self.settings.evaluation == "stations",
                )
                without = outcome.gathered.read(reply, others, counts)
            except MalformedReplyError as error:
                answer.sender.leave("refused", f"sent unusable counts: {error}")
                continue
            scored += 1
            held_out = {name: own.held_out_scores for name, own in reply.categories.items()}
            outcome.gathered.keep(reply.station, held_out, counts, without)
            self._take_computed(answer.sender, reply)
            add_scores(outcome, reply, counts)
        outcome.roster.require_quorum("scoring")
        self._done("score")
        return MetricRecord({"stations": scored})

    # ----------------------------------------------------------------- helpers

    def _send_banks(
        self, grid: Grid, server_round: int, holdings: Holdings, at_least: int = 1
    ) -> None:
        """Have every station store the banks that it has a use for, part by part.

        Whose banks come in fewer than `at_least` parts is sent none.
        """
        roster = self.outcome.roster
        send_banks(self._post, grid, roster.used, server_round, holdings, at_least)
        roster.require_quorum("delivering the global bank")

    def _parts_of(self, rows: int) -> int:
        return parts_needed(rows, self.outcome.feature_dim, self.settings.wire_dtype)

    def _done(self, step: str) -> None:
        """Book the time since the last step."""
        now = time.monotonic()
        self.outcome.add_seconds(step, now - self._started)
        self._started = now

    def _say(self, text: str) -> None:
        log(logging.INFO, "%s %s", LOG_PREFIX, text)

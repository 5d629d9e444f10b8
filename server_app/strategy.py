"""`FederatedCoreset`: the conversation of a run, step by step, as a Flower Strategy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.common import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray

from common.config import Settings
from common.errors import InputError, RunError
from common.evaluation import EvaluationCounts
from common.messages import (
    BankPart,
    BuildReply,
    BuildRequest,
    Received,
    ScoreReply,
    ScoreRequest,
    SurveyReply,
    SurveyRequest,
    part_of_rows,
)
from common.patchcore.feature_space import FeatureSpace
from common.patchcore.local_bank import Distances
from common.records import BANK, COUNTS, MalformedReplyError, select_prefix, take_arrays, to_arrays
from server_app.aggregation import AGGREGATIONS, as_rows, owners_of
from server_app.checks import check_build_reply, check_score_reply
from server_app.outcome import GlobalBank, Outcome
from server_app.plan import BankPlan, make_plan, parts_needed
from server_app.post import Answered, Post, Request
from server_app.roster import Participant, Roster, admit, feature_dim

Rows = NDArray[Any]

WAIT_FOR_STATIONS: Final = 600.0
"""Seconds in which `min-stations` stations must be online."""
LOG_PREFIX: Final = "[fedpatchcore]"


class FederatedCoreset(Strategy):
    """Survey the stations, merge their banks, have them judge their own images.

    Parameters
    ----------
    settings : Settings

    Attributes
    ----------
    outcome : Outcome

    Notes
    -----
    Every wait ends after `round-timeout`. A station that fails, is refused or stays silent is
    noted with its reason, and the run goes on as long as `min-stations` are left. Everything is
    merged in order of station name, so the order of replies changes nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.outcome = Outcome(Roster(settings))
        self._post = Post(self.outcome.roster, float(settings.round_timeout))
        self._distances = Distances(settings.coreset_projection, settings.seed)
        self._started = 0.0

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
        self._survey(grid)
        return super().start(
            grid, initial_arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn
        )

    # ------------------------------------------------------------------ survey

    def _survey(self, grid: Grid) -> None:
        """Who is there, with what, in which feature space; then the plan."""
        self._started = time.monotonic()
        roster, outcome = self.outcome.roster, self.outcome
        for node in self._online(grid):
            roster.by_node[node] = Participant(node)
        self._say(f"survey: asking {len(roster.by_node)} stations")
        requests = [Request(p, SurveyRequest()) for p in roster.used()]
        for answer in self._post.exchange(grid, MessageType.QUERY, requests):
            survey = self._post.read(answer, SurveyReply)
            if survey is not None:
                _take_survey(answer.sender, survey)
        outcome.space = admit(roster)
        roster.require_quorum("the survey")
        outcome.feature_dim = feature_dim(self.settings.backbone, self.settings.layer_names)
        outcome.plan = make_plan(outcome.surveys, self.settings)
        if not outcome.plan.banks:
            raise RunError("no station holds a training image; there is nothing to build from")
        for name, survey in outcome.surveys.items():
            for notice in survey.notices:
                outcome.note(f"{name}: {notice}" if survey.real else notice)
        images = sum(c.images for s in outcome.surveys.values() for c in s.categories.values())
        self._say(
            f"survey: {len(outcome.surveys)} stations hold {images} training images; "
            f"{outcome.space.describe()}"
        )
        self._done("survey")

    def _online(self, grid: Grid) -> list[int]:
        """Nodes that are there, once `min-stations` of them are."""
        needed = max(1, self.settings.min_stations)
        wait = min(WAIT_FOR_STATIONS, float(self.settings.round_timeout))
        until = time.monotonic() + wait
        while len(nodes := sorted(grid.get_node_ids())) < needed:
            if time.monotonic() > until:
                raise RunError(
                    f"{len(nodes)} stations were online within {wait:.0f} s, {needed} are needed; "
                    "start the stations' SuperNodes and look at their logs"
                )
            time.sleep(0.5)
        return nodes

    # ------------------------------------------------------------------- train

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask every station for its rows, in as many parts as they take."""
        self._started = time.monotonic()
        outcome = self.outcome
        bank_parts = 0
        if outcome.banks:
            bank_parts = self._parts(outcome.rows)
            self._deliver(grid, server_round - 1, bank_parts)
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
                    bank_parts=bank_parts,
                )
                requests.append(Request(participant, facts, part=part))
        asked = {request.to.name for request in requests}
        self._say(f"round {server_round}: {len(asked)} stations build their banks")
        return self._post.messages(MessageType.TRAIN, requests)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check what came, and select the global banks from it."""
        received: dict[str, list[Mapping[str, Rows]]] = {}
        for answer in self._post.receive(replies):
            rows = self._take_rows(answer)
            if rows is not None:
                received.setdefault(answer.sender.name, []).append(rows)
        self.outcome.roster.require_quorum(f"building banks in round {server_round}")
        # A station that failed in one part is out with all of them: no partial bank is used.
        built = {
            name: {bank: np.concatenate([part[bank] for part in parts]) for bank in parts[0]}
            for name, parts in received.items()
            if name in self.outcome.surveys
        }
        self._done("build_bank")
        for name, plan in self.outcome.plan.banks.items():
            self._merge(name, plan, built)
        if not self.outcome.banks:
            raise RunError("no station delivered a row; there is no bank to go on with")
        for participant in self.outcome.roster.all():
            participant.rows_chosen = sum(
                int((bank.owners == participant.name).sum()) for bank in self.outcome.banks.values()
            )
        self._done("aggregate")
        total = sum(len(rows) for rows in self.outcome.rows.values())
        self._say(f"round {server_round}: global bank of {total} rows from {len(built)} stations")
        return to_arrays(self.outcome.rows), MetricRecord({"stations": len(built), "rows": total})

    def _take_rows(self, answer: Answered) -> Mapping[str, Rows] | None:
        """Rows of one reply if they are what was asked for."""
        reply, sender = self._post.read(answer, BuildReply), answer.sender
        if reply is None:
            return None
        plan = self.outcome.plan
        budgets = plan.budgets_of(sender.name)
        try:
            rows = select_prefix(BANK, take_arrays(answer.content))
            check_build_reply(
                reply,
                rows,
                station=sender.name,
                budgets=budgets,
                patches={name: plan.banks[name].patches_of(sender.name) for name in budgets},
                shape=(self.outcome.feature_dim, self.settings.wire_dtype),
                part=answer.part,
                parts=self._parts_of(sum(budgets.values())),
            )
        except MalformedReplyError as error:
            sender.leave("refused", f"sent an unusable bank: {error}")
            return None
        sender.rows_sent += sum(len(part) for part in rows.values())
        if answer.part == 0:
            sender.seconds += reply.seconds
            sender.extracted += reply.extracted
            if sender.radius is None:
                sender.radius = max(facts.radius for facts in reply.banks.values())
        return rows

    def _merge(self, name: str, plan: BankPlan, built: Mapping[str, Mapping[str, Rows]]) -> None:
        """Global selection for one bank: what was kept before, and what came now."""
        old = self.outcome.banks.get(name)
        stations, banks, weights = [], [], []
        for station, weight in zip(plan.stations, plan.weights, strict=True):
            parts = [] if old is None else [old.rows[old.owners == station]]
            if name in built.get(station, {}):
                parts.append(built[station][name])
            if sum(len(part) for part in parts):
                stations.append(station)
                banks.append(np.concatenate(parts))
                weights.append(float(weight))
        if not banks:
            self.outcome.note(f"no station delivered rows for bank {name}")
            return
        indices = AGGREGATIONS[self.settings.aggregation](
            banks,
            np.asarray(weights),
            plan.size,
            distances=self._distances,
            min_share=self.settings.min_station_share,
        )
        owners = np.asarray(stations)[owners_of(indices, [len(bank) for bank in banks])]
        self.outcome.banks[name] = GlobalBank(as_rows(banks, indices), owners)

    # ---------------------------------------------------------------- evaluate

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the global bank of the last round down, to be judged with."""
        if server_round < self.settings.num_server_rounds:
            return []
        self._started = time.monotonic()
        rows = self.outcome.rows
        parts = self._parts(rows)
        if parts > 1:
            self._deliver(grid, server_round, parts)
        facts = ScoreRequest(
            round=server_round,
            bank_parts=parts if parts > 1 else 0,
            score_images=self.settings.evaluation == "stations",
        )
        along = rows if parts == 1 else {}
        requests = [Request(p, facts, along) for p in self.outcome.roster.used()]
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
                arrays = select_prefix(COUNTS, take_arrays(answer.content))
                counts = check_score_reply(
                    reply,
                    arrays,
                    survey,
                    banks=outcome.banks,
                    score_images=self.settings.evaluation == "stations",
                )
            except MalformedReplyError as error:
                answer.sender.leave("refused", f"sent unusable counts: {error}")
                continue
            scored += 1
            answer.sender.seconds += reply.seconds
            answer.sender.extracted += reply.extracted
            for category, own in counts.items():
                outcome.counts.setdefault(category, EvaluationCounts()).merge(own)
            for category, scores in reply.categories.items():
                outcome.held_out_scores.setdefault(category, []).extend(scores.held_out_scores)
            outcome.without_bank.update(reply.without_bank)
            outcome.radius = max([outcome.radius or 0.0, *reply.radius.values()])
        outcome.roster.require_quorum("scoring")
        self._done("score")
        return MetricRecord({"stations": scored})

    # ----------------------------------------------------------------- helpers

    def _deliver(self, grid: Grid, server_round: int, parts: int) -> None:
        """Have every station store the global bank, part by part."""
        for part in range(parts):
            rows = {name: part_of_rows(r, part, parts) for name, r in self.outcome.rows.items()}
            facts = BankPart(round=server_round, part=part, parts=parts)
            requests = [Request(p, facts, rows, part) for p in self.outcome.roster.used()]
            for answer in self._post.exchange(grid, f"{MessageType.TRAIN}.take_bank", requests):
                self._post.read(answer, Received)
        self.outcome.roster.require_quorum("delivering the global bank")

    def _parts(self, banks: Mapping[str, Rows]) -> int:
        return self._parts_of(sum(len(rows) for rows in banks.values()))

    def _parts_of(self, rows: int) -> int:
        return parts_needed(rows, self.outcome.feature_dim, self.settings.wire_dtype)

    def _done(self, step: str) -> None:
        """Book the time since the last step."""
        now = time.monotonic()
        self.outcome.add_seconds(step, now - self._started)
        self._started = now

    def _say(self, text: str) -> None:
        log(logging.INFO, "%s %s", LOG_PREFIX, text)


def _take_survey(participant: Participant, survey: SurveyReply) -> None:
    """Note what a station said of itself, if its feature space can be believed."""
    participant.survey = survey
    try:
        FeatureSpace.from_json(survey.feature_space.model_dump())
    except InputError as error:
        participant.leave("refused", f"sent an unusable answer: {error}")

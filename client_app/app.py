"""The station's answers: `survey`, `build_bank`, `score`, and `take_bank` for large banks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.common import log

from client_app.deadline import IMPORT_SECONDS, Deadline
from common.system.garbage import imported_for_good

# The limit of a message is not known yet, and the libraries may lie on a drive that is gone.
with Deadline(IMPORT_SECONDS), imported_for_good():
    from client_app import work
    from client_app.failures import failure_of
    from client_app.run_folder import RunFolder
    from client_app.station import Station, open_station
    from common.protocol.messages import (
        BankPart,
        BuildRequest,
        Facts,
        ScoreRequest,
        SurveyRequest,
        bank_refusal,
    )
    from common.protocol.records import (
        BANK,
        COUNTS,
        MalformedReplyError,
        failure_record,
        prefixed,
        read_facts,
        seconds_allowed,
        select_prefix,
        take_arrays,
        to_record,
    )
from common.protocol.wire_rows import from_wire, to_wire

app = ClientApp()

Work = Callable[[Station], tuple[Facts, Mapping[str, Any]]]


@app.query()
def survey(message: Message, context: Context) -> Message:
    """Who are you and what do you hold?"""

    def look(station: Station) -> tuple[Facts, Mapping[str, Any]]:
        read_facts(message.content, SurveyRequest)
        return work.survey(station), {}

    return _answer(message, context, look)


@app.train("take_bank")
def take_bank(message: Message, context: Context) -> Message:
    """Store this part of the global bank."""

    def store(station: Station) -> tuple[Facts, Mapping[str, Any]]:
        request = read_facts(message.content, BankPart)
        rows = _bank_rows(message, station)
        return work.take_bank(station, _folder(station, context), request, rows), {}

    return _answer(message, context, store)


@app.train()
def build_bank(message: Message, context: Context) -> Message:
    """Send your coreset, at most the budget."""

    def build(station: Station) -> tuple[Facts, Mapping[str, Any]]:
        request = read_facts(message.content, BuildRequest)
        facts, rows = work.build_bank(station, _folder(station, context), request)
        return facts, prefixed(BANK, to_wire(rows, station.settings.wire_dtype))

    return _answer(message, context, build)


@app.evaluate()
def score(message: Message, context: Context) -> Message:
    """Score your own images with this bank and send the counts."""

    def judge(station: Station) -> tuple[Facts, Mapping[str, Any]]:
        request = read_facts(message.content, ScoreRequest)
        rows = _bank_rows(message, station)
        facts, counts = work.score(station, _folder(station, context), request, rows)
        return facts, prefixed(COUNTS, counts)

    return _answer(message, context, judge)


def _bank_rows(message: Message, station: Station) -> dict[str, Any]:
    """Rows of banks that came along; their names are looked at before anything is done."""
    banks = select_prefix(BANK, take_arrays(message.content))
    for name, rows in banks.items():
        if bank_refusal(name) or rows.ndim != 2:
            raise MalformedReplyError(
                f"bank {name[:120]!r} of shape {rows.shape}; expected the name of a category and "
                "rows of numbers"
            )
    return from_wire(banks, station.settings.wire_dtype)


def _folder(station: Station, context: Context) -> RunFolder:
    return RunFolder(station.cache, station.name, context.run_id)


def _answer(message: Message, context: Context, do: Work) -> Message:
    """Do the work within the deadline; an error becomes an answer, never a silent loss."""
    with Deadline(seconds_allowed(message.content)):
        try:
            station = open_station(context.node_config, context.run_config)
            facts, arrays = do(station)
            content = to_record(facts, arrays)
        except MalformedReplyError as error:
            # Made of the request alone, so nothing of this station is in it.
            log(logging.ERROR, "fedpatchcore station: %s", error)
            advice = "server and station must run the same version"
            content = failure_record("unusable-request", f"{error}; {advice}")
        except Exception as error:
            failure = failure_of(error, real="station" in context.node_config)
            content = failure_record(failure.code, failure.reason)
    return Message(content, reply_to=message)

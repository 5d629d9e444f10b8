"""The station's answers: `survey`, `build_bank`, `score`, `deliver`; `take_bank` for banks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common import log

from client_app.deadline import IMPORT_SECONDS, Deadline
from common.system.garbage import imported_for_good

# The limit of a message is not known yet, and the libraries may lie on a drive that is gone.
with Deadline(IMPORT_SECONDS), imported_for_good():
    from client_app import built, delivered, judged, surveyed
    from client_app.failures import failure_of
    from client_app.image_list import as_surveyed, freeze
    from client_app.letters import OpenedLetter, open_letter
    from client_app.run_folder import RunFolder
    from client_app.station import Station, open_station
    from common.protocol.letters import SealError
    from common.protocol.messages import (
        BankPart,
        BuildRequest,
        DeliverRequest,
        Facts,
        ScoreRequest,
        SurveyRequest,
        bank_refusal,
    )
    from common.protocol.records import (
        BANK,
        COUNTS,
        OWNER,
        WITHOUT,
        MalformedReplyError,
        failure_record,
        prefixed,
        read_facts,
        seconds_allowed,
        split_prefixes,
        take_arrays,
        to_record,
    )
from common.protocol.wire_rows import from_wire, to_wire

app = ClientApp()

Work = Callable[[Station], tuple[Facts, Mapping[str, Any]]]

OPENING_SECONDS: Final = 120.0
"""For reading keys and noting a letter on the disk: how long a message itself allows is not to be
believed before."""


@app.query()
def survey(message: Message, context: Context) -> Message:
    """Who are you and what do you hold?"""

    def look(station: Station) -> tuple[Facts, Mapping[str, Any]]:
        read_facts(message.content, SurveyRequest)
        # Before anything is counted: what is written meanwhile has changed since.
        folder = _folder(station, context)
        folder.forget_ended()
        freeze(station, folder)
        return surveyed.survey(station), {}

    return _answer(message, context, look)


@app.train("take_bank")
def take_bank(message: Message, context: Context) -> Message:
    """Store this part of the global bank."""

    def store(station: Station) -> tuple[Facts, Mapping[str, Any]]:
        request = read_facts(message.content, BankPart)
        (rows,) = _bank_rows(message, station, BANK)
        return built.take_bank(station, _folder(station, context), request, rows), {}

    return _answer(message, context, store)


@app.train()
def build_bank(message: Message, context: Context) -> Message:
    """Send your coreset, at most the budget."""

    def build(station: Station) -> tuple[Facts, Mapping[str, Any]]:
        request = read_facts(message.content, BuildRequest)
        folder = _folder(station, context)
        station, changes = as_surveyed(station, folder)
        facts, rows = built.build_bank(station, folder, request, changes)
        return facts, prefixed(BANK, to_wire(rows, station.settings.wire_dtype))

    return _answer(message, context, build)


@app.evaluate()
def score(message: Message, context: Context) -> Message:
    """Score your own images with this bank and send the counts."""

    def judge(station: Station) -> tuple[Facts, Mapping[str, Any]]:
        request = read_facts(message.content, ScoreRequest)
        rows, owners = _bank_rows(message, station, BANK, OWNER)
        folder = _folder(station, context)
        station, changes = as_surveyed(station, folder)
        facts, counts, without = judged.score(station, folder, request, rows, changes, owners)
        return facts, {**prefixed(COUNTS, counts), **prefixed(WITHOUT, without)}

    return _answer(message, context, judge)


@app.train("deliver")
def deliver(message: Message, context: Context) -> Message:
    """Store the finished model, test it on your own images, and let it judge if it passes."""

    def store(station: Station) -> tuple[Facts, Mapping[str, Any]]:
        request = read_facts(message.content, DeliverRequest)
        take_arrays(message.content, names=())
        return delivered.deliver(station, _folder(station, context), request), {}

    return _answer(message, context, store)


def _bank_rows(message: Message, station: Station, *kinds: str) -> list[dict[str, Any]]:
    """Rows of banks that came along, and whose they are, if asked for.

    Their names are looked at before anything is done.
    """
    banks, *others = split_prefixes(take_arrays(message.content), *kinds)
    for name, rows in banks.items():
        if bank_refusal(name) or rows.ndim != 2:
            raise MalformedReplyError(
                f"bank {name[:120]!r} of shape {rows.shape}; expected the name of a category and "
                "rows of numbers"
            )
    return [from_wire(banks, station.settings.wire_dtype), *others]


def _folder(station: Station, context: Context) -> RunFolder:
    return RunFolder(station.cache, station.name, context.run_id)


def _answer(message: Message, context: Context, do: Work) -> Message:
    """Obey a letter of the server's within its deadline, and sign the answer.

    An error becomes an answer, never a silent loss. What is no letter of the server's is answered
    unsigned: nothing in this station's name is said to who knows whom.
    """
    letter: OpenedLetter | None = None
    try:
        with Deadline(OPENING_SECONDS):
            letter = open_letter(message, context)
    except SealError as error:
        log(logging.ERROR, "fedpatchcore station: refused a request, nothing was done: %s", error)
        content = failure_record("refused-letter", f"did not obey a request: {error}")
        return Message(content, reply_to=message)
    except Exception as error:
        failure = failure_of(error, real=True)
        return Message(failure_record(failure.code, failure.reason), reply_to=message)
    with Deadline(seconds_allowed(message.content)):
        content = _work(message, context, do)
        if letter is not None:
            letter.answer(content)
    return Message(content, reply_to=message)


def _work(message: Message, context: Context, do: Work) -> RecordDict:
    try:
        station = open_station(context.node_config, context.run_config)
        facts, arrays = do(station)
        return to_record(facts, arrays)
    except MalformedReplyError as error:
        # Made of the request alone, so nothing of this station is in it.
        log(logging.ERROR, "fedpatchcore station: %s", error)
        advice = "server and station must run the same version"
        return failure_record("unusable-request", f"{error}; {advice}")
    except Exception as error:
        failure = failure_of(error, real="station" in context.node_config)
        return failure_record(failure.code, failure.reason)

"""The exchange itself: ask, send the rows to who lacks them, ask again, compare the digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flwr.app import MessageType
from flwr.serverapp import Grid

from common.line.models.delivered import model_for, model_text, rows_digest, text_digest
from common.patchcore.model_store import SavedModel
from common.protocol.messages import DeliveredRows, DeliverReply, DeliverRequest
from server_app.delivery.bank_parts import send_banks
from server_app.delivery.holdings import Holdings
from server_app.post import Post, Request
from server_app.roster import Participant

DELIVER: Final = f"{MessageType.TRAIN}.deliver"
NO_USE: Final = "none"
"""State of a station that holds no category of the model."""
FAILED: Final = "failed"

Delivery = dict[str, Any]


def told(state: str, reason: str = "", **more: Any) -> Delivery:
    """What `run.json` says of the delivery to one station.

    Parameters
    ----------
    state : str
        `active`, `waiting`, `refused` (by its acceptance test), `failed`, `none` (it has no use
        for the model) or `pending` (while it is under way).
    reason : str
    more
        What else is known: `known`, `accepted`, `model_sha256`, `seconds`.
    """
    facts: Delivery = {
        "state": state,
        "reason": reason or None,
        "stored": state in ("active", "waiting", "refused"),
        "known": False,
        "accepted": None,
        "model_sha256": None,
        "seconds": None,
    }
    return {**facts, **more}


@dataclass(frozen=True)
class _Parcel:
    """What one station is to have, and how it must come out there."""

    station: Participant
    request: DeliverRequest

    def wrong(self, reply: DeliverReply) -> str | None:
        """Say what is not as it was sent."""
        if reply.station != self.station.name:
            return f"was answered by {reply.station!r}"
        if reply.sha256 != self.request.sha256:
            return "what it has stored is not the text that was sent: their sha256 differ"
        expected = {name: own.sha256 for name, own in self.request.banks.items()}
        bad = sorted(n for n in {*expected, *reply.banks} if reply.banks.get(n) != expected.get(n))
        if bad:
            shown = ", ".join(bad[:5])
            return f"the rows that it has stored differ in sha256 from the server's: bank {shown}"
        if reply.model_sha256 is None:
            return f"calls the model {reply.state}, and not by which sha256 it is known there"
        # A version that was there before may have been switched by hand since its test.
        if not reply.known and reply.accepted != (reply.state != "refused"):
            return (
                f"calls the model {reply.state}, and its test accepted: {reply.accepted}; a new "
                "model is refused, or was accepted"
            )
        if reply.accepted is not None and not reply.reason.strip():
            return f"calls the model {reply.state}, and tells no figure of its test"
        return None


class Sending:
    """Delivers one model to stations that have been surveyed.

    Parameters
    ----------
    post : Post
        With a roster of its own: who fails here has failed in nothing else.
    grid : Grid
    model : SavedModel
        The server's, whole.
    run : str
        Id of the run that made it.
    holdings : Holdings
        The rows as they travel, for who lacks them.
    server_round : int
        After which they came to be.
    """

    def __init__(
        self,
        post: Post,
        grid: Grid,
        model: SavedModel,
        run: str,
        holdings: Holdings,
        server_round: int = 1,
    ) -> None:
        self._post, self._grid, self._model, self._run = post, grid, model, run
        self._holdings, self._round = holdings, server_round
        self._digests = {name: rows_digest(rows) for name, rows in model.banks.items()}

    def deliver(self, stations: Sequence[Participant]) -> dict[str, Delivery]:
        """Deliver to these stations; return what became of it, by name."""
        parcels, found = dict[str, _Parcel](), dict[str, Delivery]()
        for station in stations:
            parcel = self._parcel(station)
            if parcel is None:
                why = "it holds no category that a bank of this model judges"
                found[station.name] = told(NO_USE, why)
            else:
                parcels[station.name] = parcel
        lacking = self._ask(parcels, found)
        if lacking:

            def waiting() -> list[Participant]:
                return [one.station for one in lacking.values() if one.station.status == "used"]

            send_banks(self._post, self._grid, waiting, self._round, self._holdings)
            still = {n: one for n, one in lacking.items() if one.station.status == "used"}
            for name in self._ask(still, found):
                found[name] = told(FAILED, "the rows that came to it are not the server's")
        for name, parcel in parcels.items():
            if parcel.station.status != "used":
                found[name] = told(FAILED, f"{parcel.station.reason}")
        return found

    def _parcel(self, station: Participant) -> _Parcel | None:
        held = station.survey.categories if station.survey else {}
        own, parts = model_for(self._model, station.name, held), self._holdings.parts(station)
        if own is None or parts == 0:
            return None
        text = model_text(own)
        banks = {
            name: DeliveredRows(rows=len(rows), sha256=self._digests[name])
            for name, rows in own.banks.items()
        }
        request = DeliverRequest(
            round=self._round,
            bank_parts=parts,
            run=self._run,
            text=text,
            sha256=text_digest(text),
            banks=banks,
        )
        return _Parcel(station, request)

    def _ask(
        self, parcels: Mapping[str, _Parcel], found: dict[str, Delivery]
    ) -> dict[str, _Parcel]:
        """Ask who is still there; note what came of it, and return who lacks rows."""
        lacking = {}
        requests = [Request(one.station, one.request) for one in parcels.values()]
        for answer in self._post.exchange(self._grid, DELIVER, requests) if requests else []:
            reply = self._post.read(answer, DeliverReply, arrays=False)
            if reply is None:
                continue
            parcel = parcels[answer.sender.name]
            if reply.state == "needs-rows":
                lacking[answer.sender.name] = parcel
            elif wrong := parcel.wrong(reply):
                found[answer.sender.name] = told(FAILED, wrong)
            else:
                found[answer.sender.name] = told(
                    reply.state,
                    reply.reason,
                    known=reply.known,
                    accepted=reply.accepted,
                    model_sha256=reply.model_sha256,
                    seconds=round(reply.seconds, 3),
                )
        return lacking

"""A real station obeys the letters of its plant's server alone, and signs what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from flwr.app import Context, Message, RecordDict

from client_app.obeyed import ObeyedLetters
from client_app.station import station_cache, station_name
from common.config import Value
from common.plant.keys.app_keys import read_app_public
from common.plant.keys.station_keys import read_station_key
from common.protocol.letters import (
    Letter,
    Sealed,
    SealError,
    open_request,
    seal_answer,
    settings_digest,
)


@dataclass(frozen=True)
class OpenedLetter:
    """A request of the server's that may be obeyed, and the key that signs the answer."""

    request: Sealed
    key: ec.EllipticCurvePrivateKey

    def answer(self, content: RecordDict) -> None:
        """Sign an answer to it."""
        seal_answer(content, self.request, self.key)


def open_letter(message: Message, context: Context) -> OpenedLetter | None:
    """Make sure that a request may be obeyed, before anything in it is looked at.

    Returns
    -------
    OpenedLetter or None
        None in a simulation, which has no letters: its stations are parts of one program on one
        machine, with no keys and no images of their own. What tells them apart is the node config,
        which comes from who starts the SuperNode and never over the network: a node that is given
        a `station` there, as every one that `fedpatchcore plant station` starts, is a real one.

    Raises
    ------
    SealError
        If it must not be obeyed; the text names nothing but the letter and this station.
    InputError
        If a key of this station cannot be read, or what it has obeyed.
    RunError
        If it cannot be noted that it was obeyed.
    """
    node = context.node_config
    if "station" not in node:
        return None
    name = station_name(node)
    server, own = _path(node, name, "app-key"), _path(node, name, "station-key")
    request = open_request(message.content, read_app_public(server))
    _check_address(request.letter, name, context, message.metadata.message_type)
    key = read_station_key(own)
    ObeyedLetters(station_cache(node, name)).take(request.letter)
    return OpenedLetter(request, key)


def _check_address(letter: Letter, station: str, context: Context, kind: str) -> None:
    if letter.station != station:
        raise SealError(
            f"it is for the station whose key is registered as {letter.station!r}, and this one "
            f"calls itself {station!r}: if it was not sent on by somebody else, put "
            f'station = "{letter.station}" in its settings, or give it the key of {station!r}'
        )
    if letter.run != context.run_id:
        raise SealError(f"it is of run {letter.run}, and came in run {context.run_id}")
    if letter.settings != settings_digest(context.run_config):
        raise SealError("the settings that came beside it are not those of the server's run")
    if letter.kind != kind:
        raise SealError(f"it asks for {letter.kind!r}, and came as {kind[:60]!r}")


def _path(node: Mapping[str, Value], station: str, key: str) -> Path:
    """Where a key is; a real station without one takes no letter at all."""
    path = str(node.get(key, ""))
    if not path:
        mend = {
            "app-key": 'put app-key = "app.pub", the public key of the plant\'s server, under '
            "[server] in its station.toml",
            "station-key": 'put key = "station.key" under [server] in its station.toml',
        }[key]
        raise SealError(
            f"station {station} is a real one and was started without its {key}, so it obeys "
            f"nobody; {mend}, and start it with `fedpatchcore plant station`"
        )
    return Path(path)

"""The server signs what it asks, and believes only what the station asked has signed."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import RecordDict

from common.config import Value
from common.errors import InputError
from common.paths import APP_KEY_VARIABLE, STATIONS_VARIABLE
from common.plant.keys.app_keys import read_app_key
from common.protocol.letters import (
    Letter,
    Sealed,
    SealError,
    open_answer,
    seal_request,
    settings_digest,
)
from common.protocol.messages import Facts
from server_app.registry import Registry


@dataclass(frozen=True)
class Letters:
    """The keys of one run on a real plant.

    Attributes
    ----------
    run_id : int
        Flower's.
    settings : str
        Digest of the run's settings.
    key : Ed25519PrivateKey
        The server's app key.
    registry : Registry
        With the stations' own keys, from the server's files.
    """

    run_id: int
    settings: str
    key: Ed25519PrivateKey
    registry: Registry

    def seal(
        self,
        content: RecordDict,
        station: str,
        kind: str,
        facts: Facts,
        seconds: float,
        known: dict[int, bytes],
    ) -> Sealed:
        """Sign one request; nobody obeys it after so many seconds.

        Parameters
        ----------
        content : RecordDict
            Gets the seal.
        station : str
            Registered name of whom it is for.
        kind : str
            Flower's type of the message.
        facts : Facts
            What is asked, for its round and part.
        seconds : float
        known : dict
            See `content_digest`: what goes to every station is summed up once.
        """
        letter = Letter(
            run=self.run_id,
            station=station,
            kind=kind,
            round=getattr(facts, "round", 0),
            part=getattr(facts, "part", 0),
            settings=self.settings,
            nonce=secrets.token_hex(16),
            until=int(time.time() + seconds) + 1,
        )
        return seal_request(content, letter, self.key, known)

    def open(self, content: RecordDict, request: Sealed) -> None:
        """Make sure that an answer is the one of the station asked; takes the seal out.

        Raises
        ------
        SealError
            In the words of `run.json`.
        """
        name = request.letter.station
        try:
            open_answer(content, request, self.registry.keys[name])
        except SealError as error:
            raise SealError(
                f"its answer is not signed by the key registered for {name} ({error}), so nothing "
                "in it is believed: something on the way made or changed it, or station.key at "
                f"the station is not the other half of stations/{name}.pub at the server"
            ) from error


def read_letters(
    registry: Registry, run_id: int, run_config: Mapping[str, Value]
) -> Letters | None:
    """Read the app key that the environment names.

    Parameters
    ----------
    registry : Registry
        Who belongs to the plant.
    run_id : int
    run_config : mapping
        The run's settings: a station takes no others.

    Returns
    -------
    Letters or None
        None for SuperNodes that nobody gave keys, as in a first try of Flower's own programs on
        one machine: they can be stand-ins of a simulation alone, since a real station obeys no
        request without a signature.

    Raises
    ------
    InputError
        If one of app key and stations' keys is named and not the other, or the key is unusable.
    """
    chosen = os.environ.get(APP_KEY_VARIABLE)
    if bool(chosen) != registry.closed:
        there, missing = (STATIONS_VARIABLE, APP_KEY_VARIABLE)
        if chosen:
            there, missing = missing, there
        raise InputError(
            f"{missing}: is not set, though {there} is; a plant's server signs its requests and "
            "knows its stations' signatures: start it with `fedpatchcore plant executor`, which "
            "sets both"
        )
    if not chosen:
        return None
    return Letters(run_id, settings_digest(run_config), read_app_key(Path(chosen)), registry)

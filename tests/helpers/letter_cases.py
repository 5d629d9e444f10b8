"""The server's hand in tests: keys of a plant, requests signed, answers looked at."""

from __future__ import annotations

import atexit
import functools
import itertools
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context, Message, RecordDict

from common.plant.keys.app_keys import (
    app_private_pem,
    app_public_pem,
    new_app_key,
    read_app_key,
)
from common.plant.keys.certificates import new_private_key
from common.plant.keys.station_keys import private_openssh, public_openssh, read_public_key
from common.protocol.letters import (
    SEAL,
    Letter,
    Sealed,
    open_answer,
    seal_request,
    settings_digest,
)
from common.protocol.messages import STATION_PATTERN

App = Callable[[Message, Context], Message]

NO_SETTINGS = settings_digest({})

_nonces = itertools.count(1)


@dataclass(frozen=True)
class PlantKeys:
    """A folder with the server's app key, and with a key for every station that is asked for."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> PlantKeys:
        (folder / "stations").mkdir(parents=True)
        key = new_app_key()
        (folder / "app.key").write_bytes(app_private_pem(key))
        (folder / "app.pub").write_bytes(app_public_pem(key.public_key()))
        return cls(folder)

    @functools.cached_property
    def app_key(self) -> Ed25519PrivateKey:
        return read_app_key(self.folder / "app.key")

    @property
    def stations(self) -> Path:
        """Folder of the stations' keys, private ones too."""
        return self.folder / "stations"

    def station(self, name: str) -> Path:
        """A station's private key; the public one beside it ends in `.pub`."""
        path = self.stations / f"{name}.key"
        if not path.exists():
            key = new_private_key()
            (self.stations / f"{name}.pub").write_bytes(public_openssh(key.public_key(), name))
            path.write_bytes(private_openssh(key))
        return path

    def node_config(self, name: str) -> dict[str, str]:
        """What a real station's node config says of its keys."""
        return {"app-key": str(self.folder / "app.pub"), "station-key": str(self.station(name))}

    def seal(self, content: RecordDict, station: str, run: int, kind: str, **more: Any) -> Sealed:
        """Sign a request as the server does; `more` are fields of the letter."""
        facts = {"round": 0, "part": 0, "nonce": f"{next(_nonces):032x}", "settings": NO_SETTINGS}
        facts |= {"until": int(time.time()) + 600, **more}
        letter = Letter(run=run, station=station, kind=kind, **facts)
        return seal_request(content, letter, self.app_key)

    def ask(self, app: App, message: Message, context: Context) -> Message:
        """Sign a request to the station of a context, ask, and make sure that it answered.

        In a simulation nothing is signed. The seals are no longer there in what comes back.
        """
        name = str(context.node_config.get("station", ""))
        if not _is_name(name) or SEAL in message.content:
            return app(message, context)
        sealed = self.seal(
            message.content,
            name,
            context.run_id,
            message.metadata.message_type,
            settings=settings_digest(context.run_config),
        )
        reply = app(message, context)
        open_answer(reply.content, sealed, read_public_key(self.stations / f"{name}.pub"))
        return reply


@functools.cache
def plant_keys() -> PlantKeys:
    """Keys for all stations of one process of tests."""
    folder = Path(tempfile.mkdtemp(prefix="fedpatchcore-keys-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return PlantKeys.make(folder)


def with_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """A real station has keys, its own ones or those of all tests."""
    name = str(config.get("station", ""))
    return {**(plant_keys().node_config(name) if _is_name(name) else {}), **config}


def _is_name(name: str) -> bool:
    return re.fullmatch(STATION_PATTERN, name) is not None

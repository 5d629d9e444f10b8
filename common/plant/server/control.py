"""The stations that a SuperLink knows: listed, registered, removed.

Flower's own `flwr supernode` command shows neither names nor keys, so this speaks to the control
API with Flower's client. (Runs go through `flwr`, which packs the app.) Nobody promised to keep
that client: what is used of it stands in `common/hooks/table.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.errors import RunError
from common.hooks import table
from common.hooks.lookup import require
from common.plant.keys.station_keys import flower_fingerprint, read_public_key

REMOVED: Final = "unregistered"
"""Status of a station that was let out again; Flower never takes its key a second time."""


@dataclass(frozen=True)
class RegisteredNode:
    """A station as the SuperLink knows it.

    Attributes
    ----------
    node_id : int
        Flower's.
    name : str
        Under which it was registered; may be empty.
    status : str
        `registered` (never seen), `online`, `offline` or `unregistered`.
    since : str
        ISO time at which that began; empty if unknown.
    key : str
        Fingerprint of its public key; empty if it is none that can be read.
    """

    node_id: int
    name: str
    status: str
    since: str
    key: str


class Control:
    """One connection to a SuperLink's control API; see `connected`."""

    def __init__(self, address: str, authority: Path) -> None:
        self._address = address
        # All before the first word: half a conversation helps nobody.
        self._list_nodes = require(table.LIST_NODES)
        self._register_node = require(table.REGISTER_NODE)
        self._unregister_node = require(table.UNREGISTER_NODE)
        self._list_runs, self._stop_run = require(table.LIST_RUNS), require(table.STOP_RUN)
        version, client = require(table.CONTROL_VERSION), require(table.CONTROL_CLIENT)
        self._client = client.from_server_address(
            server_address=address,
            insecure=False,
            root_certificates=authority.read_bytes(),
            interceptors=[version(component_name="flwr CLI")],
        )

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def nodes(self) -> list[RegisteredNode]:
        """All stations that are or ever were registered, in order of name.

        Raises
        ------
        RunError
            If the SuperLink does not answer as expected.
        """
        with _explained(self._address):
            answer = self._client.ListNodes(self._list_nodes())
        nodes = [
            RegisteredNode(
                node.node_id,
                node.name,
                node.status,
                _since(node.status, node.last_activated_at, node.last_deactivated_at),
                flower_fingerprint(node.public_key),
            )
            for node in answer.nodes_info
        ]
        return sorted(nodes, key=lambda node: (node.name, node.node_id))

    def register(self, name: str, public_key: Path) -> int:
        """Let the owner of a key in under a name; return its node id.

        Raises
        ------
        InputError
            If the file holds no public key.
        RunError
        """
        key = read_public_key(public_key)
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with _explained(self._address):
            answer = self._client.RegisterNode(self._register_node(public_key=pem, name=name))
        return int(answer.node_id)

    def unregister(self, node_id: int) -> None:
        """Let a station in no more.

        Raises
        ------
        RunError
        """
        with _explained(self._address):
            self._client.UnregisterNode(self._unregister_node(node_id=node_id))

    def run_status(self, run_id: int) -> str:
        """How a run stands, in Flower's words, as `running` or `finished:stopped`.

        Raises
        ------
        RunError
            If the SuperLink knows no such run, or does not answer as expected.
        """
        with _explained(self._address):
            answer = self._client.ListRuns(self._list_runs(run_id=run_id))
        status = answer.run_dict[run_id].status
        return f"{status.status}:{status.sub_status}" if status.sub_status else str(status.status)

    def stop_run(self, run_id: int) -> None:
        """End a run: its requests are withdrawn, and its ServerApp is told.

        Raises
        ------
        RunError
            If it is over already, or nobody knows it.
        """
        with _explained(self._address):
            answer = self._client.StopRun(self._stop_run(run_id=run_id))
        if not answer.success:
            raise RunError(f"the SuperLink at {self._address} could not stop run {run_id}")


@contextlib.contextmanager
def connected(address: str, authority: Path) -> Iterator[Control]:
    """Connect to a SuperLink.

    Parameters
    ----------
    address : str
        HOST:PORT.
    authority : Path
        Certificate of the plant's authority.

    Raises
    ------
    InputError
        If Flower's client is not what this program was tested with.
    """
    with contextlib.closing(Control(address, authority)) as control:
        yield control


def _since(status: str, activated: str, deactivated: str) -> str:
    return {"online": activated, "offline": deactivated}.get(status, "")


@contextlib.contextmanager
def _explained(address: str) -> Iterator[None]:
    """Say what is wrong with a SuperLink that does not answer as it should."""
    try:
        yield
    except httpx.ConnectError as error:
        said = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in said:
            raise RunError(
                f"the SuperLink at {address} has a certificate that is not to be trusted ({said}); "
                "use a name that is on it, and the ca.crt of the same plant"
            ) from error
        raise RunError(
            f"the SuperLink at {address} cannot be reached ({said}); is it running, and is this "
            "machine on the administration network?"
        ) from error
    except httpx.HTTPStatusError as error:
        said = " ".join(error.response.text.split())[:300]
        raise RunError(
            f"the SuperLink at {address} refused ({error.response.status_code}): {said}"
        ) from error
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        raise RunError(
            f"the SuperLink at {address} ended the connection without an answer ({error}), as a "
            "gateway does with who shows it no station's certificate; give the SuperLink's own "
            "address"
        ) from error
    except (httpx.HTTPError, ValueError) as error:
        raise RunError(
            f"the SuperLink at {address} did not answer as expected "
            f"({type(error).__name__}: {error})"
        ) from error

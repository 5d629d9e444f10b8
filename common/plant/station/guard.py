"""What a SuperNode is told of an app before it takes it: whether this station trusts it.

Flower's own check stays in force: a SuperNode with trusted entities takes only apps that one of
them has signed. Here the one entity is a key of this very process, and the apps that the station
trusts are signed with it as they come in. Whatever of this should fail to work, apps are refused.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.app import Error
from flwr.common import log

from common.plant.app.programs import SERVERAPP
from common.plant.app.trust import Trust
from common.plant.app.unpacked import remove_apps
from common.protocol.messages import APP_REFUSED

_ENTITY: Final = "fpk_this_station"


class Guard:
    """Lets a SuperNode take the apps that its station trusts.

    Parameters
    ----------
    trust : Trust
    home : Path
        Of Flower, below which apps are unpacked.
    refuse_with : callable (Error)
        Tells the SuperNode what to answer for the app that is refused next.
    """

    def __init__(
        self,
        trust: Trust,
        home: Path,
        refuse_with: Callable[[Error], None],
    ) -> None:
        self._trust, self._home = trust, home
        self._refuse_with = refuse_with
        self._key = Ed25519PrivateKey.generate()
        self._runs: dict[int, Any] = {}

    @property
    def entities(self) -> dict[str, str]:
        """For Flower's `trusted_entities`: this process's own key."""
        key = self._key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return {_ENTITY: key.decode()}

    def around(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the function that gives a SuperNode its calls to the server."""

        @contextlib.contextmanager
        def guarded(*words: Any, **named: Any) -> Iterator[tuple[Any, ...]]:
            with connect(*words, **named) as calls:
                node, receive, send, get_run, get_fab, *rest = calls
                yield (
                    node,
                    self._receiving(receive),
                    send,
                    self._asking(get_run),
                    self._fetching(get_fab),
                    *rest,
                )

        return guarded

    def _receiving(self, receive: Callable[[], Any]) -> Callable[[], Any]:
        def guarded() -> Any:
            message = receive()
            if message is not None:
                # One message is worked on at a time: nobody is using what is removed.
                remove_apps(self._home)
            return message

        return guarded

    def _asking(self, get_run: Callable[[int], Any]) -> Callable[[int], Any]:
        def guarded(run_id: int) -> Any:
            run = get_run(run_id)
            self._runs = {run_id: run}
            return run

        return guarded

    def _fetching(self, get_fab: Callable[[str, int], Any]) -> Callable[[str, int], Any]:
        def guarded(fab_hash: str, run_id: int) -> Any:
            fab = get_fab(fab_hash, run_id)
            refusal = self._refusal(fab.content, run_id)
            # Without a signature of this process's key, whatever else came with it.
            fab.verifications = {"valid_license": "yes"}
            if refusal:
                log(logging.ERROR, "run %s is refused: %s", run_id, refusal)
                self._refuse_with(Error(APP_REFUSED, refusal))
            else:
                fab.verifications[_ENTITY] = self._signed(fab.content)
            return fab

        return guarded

    def _refusal(self, archive: bytes, run_id: int) -> str:
        """Why the app of a run is not taken; empty if it is."""
        verdict = self._trust.judge(archive)
        if verdict.app is None or verdict.refusal:
            return verdict.refusal
        app, run, who = verdict.app, self._runs[run_id], self._trust.place.who
        # By these three, out of the server's mouth, the app's process finds the folder to import.
        told = run.fab_id, run.fab_version, run.fab_hash
        if told != (app.name, app.version, hashlib.sha256(archive).hexdigest()):
            return (
                f"the app of this run is {app.name} {app.version} by its own word and {told} by "
                f"the server's; {who} refuses it"
            )
        if run.primary_task_type != SERVERAPP[1]:
            kind = run.primary_task_type
            return f"the app of this run is for Flower's {kind!r}, for which {who} is not there"
        if self._trust.warning:
            log(logging.WARNING, "run %s: %s", run_id, self._trust.warning)
        log(logging.INFO, "run %s has the app %s", run_id, app.hash)
        return ""

    def _signed(self, archive: bytes) -> str:
        """Say in Flower's form that the owner of this process's key has looked at an app."""
        now = int(time.time())
        signature = self._key.sign(now.to_bytes(8, "big") + hashlib.sha256(archive).digest())
        text = base64.urlsafe_b64encode(signature).decode().rstrip("=")
        return json.dumps({"signed_at": now, "signature": text})

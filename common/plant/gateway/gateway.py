"""The gateway: an nginx whose configuration follows the plant, watched by this process.

It is given what `nginx_config` writes, and started anew by nobody but the one who started us. Here
the key folder and the SuperLink's name are looked at every few seconds: what changes is tried with
`nginx -t` and then taken over without an interruption of the port, or it is said in the log, the
state before goes on, and the change is tried again. Connections of the state before end some
seconds after a change, so that a station whose certificate was revoked is cut off even in mid-
request; the others connect again.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from common.errors import InputError, RunError
from common.plant.gateway.gateway_keys import GatewayKeys, looked_at, read_gateway_keys
from common.plant.gateway.gateway_stations import changes
from common.plant.gateway.gateway_words import Words
from common.plant.gateway.nginx_config import configuration
from common.plant.gateway.nginx_process import NginxProcess
from common.plant.gateway.nginx_program import Nginx, find_nginx
from common.plant.gateway.nginx_terms import AUTHORITIES, KEYS, Limits, Place
from common.plant.gateway.superlink_address import Addresses, addresses_of, certified_name
from common.plant.gateway.trying_again import TryingAgain

LOOK_SECONDS: Final = 2.0
RESOLVE_SECONDS: Final = 10.0
WARN_AGAIN_SECONDS: Final = 86_400.0
CONNECTIONS_OF_A_STATION: Final = 8
"""Twice what a SuperNode keeps: while it starts anew, the old ones may still be there."""
_LOG: Final = logging.getLogger("fedpatchcore.gateway")


class Gateway:
    """One nginx from its start to its end.

    Parameters
    ----------
    keys : Path
        Folder `gateway` that `fedpatchcore keys` made.
    superlink : (str, int)
        Host and port of the SuperLink; its certificate must be for this host.
    host, port : str, int
        Where stations reach it; port 0 lets the machine choose one, which is logged.
    health_port : int
        On 127.0.0.1, GET /health in plain HTTP; 0 for none.
    limits : Limits, optional

    Raises
    ------
    InputError
        If a file is missing or wrong, nginx is not there, or the address cannot be used.
    """

    def __init__(
        self,
        keys: Path,
        superlink: tuple[str, int],
        host: str,
        port: int,
        health_port: int = 0,
        limits: Limits | None = None,
    ) -> None:
        self._keys = keys.expanduser().absolute()
        self._superlink, self._host, self.port = superlink, host, port
        self._health_port, self._given = health_port, limits
        self._limits = limits or Limits()
        self._name = certified_name(superlink[0])
        self._addresses: Addresses = ()
        self._numbers: dict[str, int] = {}
        # What nginx has: files as they were seen, what was read from them, the SuperLink.
        self._taken = looked_at(self._keys)
        self._found = self._first_look()
        self._dialled: Addresses = ()
        self._again = TryingAgain()
        self._nginx: Nginx = find_nginx()
        self.port = _free(host, port)
        if health_port:
            _free("127.0.0.1", health_port)
        self.words = Words(superlink, self._limits)
        self._folder = Path()
        self._warned = -WARN_AGAIN_SECONDS

    def try_out(self) -> str:
        """Let nginx judge the configuration, and start nothing; returns it.

        Raises
        ------
        InputError
        """
        with _private_folder(self._keys) as self._folder:
            text = self._text(self._found)
            self._require(text)
        return text

    async def run(self, told_to_end: asyncio.Event, ready: asyncio.Event | None = None) -> None:
        """Serve until told to end, then end within 10 s.

        Raises
        ------
        InputError
            If nginx refuses the configuration.
        RunError
            If nginx ends by itself.
        """
        with _private_folder(self._keys) as self._folder:
            await self._resolve()
            text = self._text(self._found)
            await asyncio.to_thread(self._require, text)
            (self._folder / "nginx.conf").write_text(text)
            self._dialled = self._addresses
            process = await NginxProcess.start(self._nginx, self._folder, self.words.hear)
            try:
                await process.open()
                _LOG.info(
                    "gateway on %s:%d for the SuperLink %s:%d, %d stations",
                    self._host,
                    self.port,
                    *self._superlink,
                    len(self._found.stations),
                )
                _LOG.info("revoked.pem: %s", self._found.revocations())
                self._warn()
                if ready is not None:
                    ready.set()
                await self._watch(process, told_to_end)
            finally:
                await process.end(self._limits.drain)
                self.words.end()
        _LOG.info("gateway ended")

    def _first_look(self) -> GatewayKeys:
        found = read_gateway_keys(self._keys)
        if not found.stations:
            unfit = f" ({'; '.join(found.not_stations())})" if found.left_out else ""
            raise InputError(
                f"{self._keys / 'stations'}: holds no <name>.pub file, so no station could get in; "
                f"copy the whole folder `gateway` that `fedpatchcore keys` made{unfit}"
            )
        return found

    def _text(self, found: GatewayKeys) -> str:
        """The configuration for what was found; a station keeps the number of its sockets."""
        for name in found.stations:
            self._numbers.setdefault(name, len(self._numbers))
        self.words.names = {number: name for name, number in self._numbers.items()}
        stations = {name: (self._numbers[name], key) for name, key in found.stations.items()}
        authorities = [(self._keys / name).read_bytes() for name in ("ca.crt", "stations-ca.crt")]
        (self._folder / AUTHORITIES).write_bytes(b"\n".join(authorities))
        place = Place(self._host, self.port, self._addresses, self._name, self._health_port)
        preamble, folders = self._nginx.preamble(), self._nginx.folders()
        limits = self._limits
        if self._given is None:
            # All of them may share one address: behind a router, or on one machine.
            shared = CONNECTIONS_OF_A_STATION * len(stations)
            limits = replace(limits, per_address=max(limits.per_address, shared))
        return configuration(place, stations, limits, preamble, folders)

    def _require(self, text: str) -> None:
        if reason := self._nginx.refusal(self._folder, text):
            raise InputError(f"{self._nginx.path} refuses the gateway's configuration: {reason}")

    async def _watch(self, process: NginxProcess, told_to_end: asyncio.Event) -> None:
        """Look at the key folder and the SuperLink's name, until it ends or is told to."""
        ending = asyncio.ensure_future(process.wait())
        telling = asyncio.ensure_future(told_to_end.wait())
        resolved, pending = time.monotonic(), looked_at(self._keys)
        try:
            while True:
                done, _ = await asyncio.wait(
                    {ending, telling}, timeout=LOOK_SECONDS, return_when="FIRST_COMPLETED"
                )
                if telling in done:
                    return
                if ending in done:
                    # Whoever ends us may have told both of us: then it is no failure.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(told_to_end.wait(), 1.0)
                        return
                    raise RunError(f"nginx ended by itself (exit code {ending.result()})")
                self.words.tick()
                self._warn()
                if time.monotonic() - resolved >= RESOLVE_SECONDS:
                    await self._resolve()
                    resolved = time.monotonic()
                # Files that are still being copied are left alone until nothing has changed.
                now = looked_at(self._keys)
                if now == pending:
                    await self._follow(process, now)
                pending = now
        finally:
            for task in (ending, telling):
                task.cancel()

    async def _follow(self, process: NginxProcess, now: tuple[object, ...]) -> None:
        """Take over what differs from what nginx has, now or when it is due again."""
        wanted = (now, self._addresses)
        if wanted == (self._taken, self._dialled):
            if self._again.failing:
                _LOG.info("the key folder is again as it was: what is in force goes on")
            self._again.done()
        elif self._again.due(wanted, time.monotonic()):
            try:
                await self._take_over(process, now)
            except (InputError, OSError) as error:
                what = "the key folder" if now != self._taken else "the SuperLink's address"
                if said := self._again.failed(wanted, str(error), time.monotonic()):
                    _LOG.warning("%s has changed, and the state before goes on: %s", what, said)
            else:
                self._again.done()

    async def _take_over(self, process: NginxProcess, now: tuple[object, ...]) -> None:
        """Try the new state, and let nginx change to it; raises InputError or OSError."""
        addresses = self._addresses
        found = read_gateway_keys(self._keys, before=self._found)
        text = self._text(found)
        # In a thread: nginx's lines are read meanwhile.
        await asyncio.to_thread(self._require, text)
        if looked_at(self._keys) != now:
            raise InputError(f"{self._keys}: was changed while it was tried")
        (self._folder / "nginx.conf.new").write_text(text)
        (self._folder / "nginx.conf.new").replace(self._folder / "nginx.conf")
        process.reload()
        before, self._found = self._found, found
        self._taken, self._dialled = now, addresses
        _LOG.info(
            "taken over: %s; earlier connections end within %g s; %s",
            changes(before.stations, found.stations),
            self._limits.drain,
            found.revoked_count(),
        )
        self._warned = -WARN_AGAIN_SECONDS

    async def _resolve(self) -> None:
        """Look the SuperLink's name up."""
        try:
            self._addresses = await addresses_of(*self._superlink)
        except OSError as error:
            self.words.unresolved = str(error)  # what was known before may still be right
        else:
            self.words.unresolved = ""

    def _warn(self) -> None:
        """Say once a day what ends soon, and which files are no station's."""
        if time.monotonic() - self._warned >= WARN_AGAIN_SECONDS:
            self._warned = time.monotonic()
            ending = self._found.ending(dt.datetime.now(dt.UTC))
            for sentence in (*ending, *self._found.not_stations()):
                _LOG.warning("%s", sentence)


@contextlib.contextmanager
def _private_folder(keys: Path) -> Iterator[Path]:
    """A folder that nobody else may enter: who reached a socket in it would be a station."""
    folder = Path(tempfile.mkdtemp(prefix="fedpatchcore-gateway-"))
    try:
        (folder / KEYS).symlink_to(keys)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free(host: str, port: int) -> int:
    """The port, if it can be listened at; one that the machine chooses for 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as one:
            return int(one.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port} ({error}); choose another") from error

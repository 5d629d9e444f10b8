"""nginx's lines in the words of the gateway's log: who was refused and why, and the SuperLink.

A line that nobody here knows is passed on as it is, but cut: a new nginx may say new things.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Final

from common.plant.gateway.bounded_log import BoundedLog
from common.plant.gateway.nginx_program import plain
from common.plant.gateway.nginx_terms import Limits

LONGEST_TOLD: Final = 300
"""Characters that are shown of what a client or nginx has written."""
_LOG: Final = logging.getLogger("fedpatchcore.gateway")
_CLIENTS_FAULT: Final = re.compile(
    r"while SSL handshaking, client|client intended to send|\(SSL: error:|while reading client"
    r"|upstream prematurely closed|recv\(\) failed|send\(\) failed|writev\(\) failed"
    r"|while proxying (and|connection)"
)
"""Lines about what a line of ours tells as well, or about a station that went away."""
_OF_SUPERLINK: Final = re.compile(r"\bupstream\b.*\bupstream: \"https:")
_PLAIN_REASONS: Final = {
    "certificate revoked": "its certificate is revoked",
    "certificate has expired": "its certificate has expired",
    "certificate is not yet valid": "its certificate is not valid yet; compare the clocks",
    "CRL has expired": "the revocation list revoked.pem has expired, and no station gets in",
    "unable to get certificate CRL": (
        "revoked.pem has no list by the authority of its certificate"
    ),
    "unable to get local issuer certificate": "its certificate is by another authority",
    "unable to verify the first certificate": (
        "its certificate is by another authority, or comes without its own authority's"
    ),
    "self-signed certificate": "its certificate is by another authority",
    "self-signed certificate in certificate chain": "its certificate is by another authority",
    "unsuitable certificate purpose": "its certificate is no station's",
    "unsupported certificate purpose": "its certificate is no station's",
}
_ESCAPE: Final = re.compile(r"\\x([2-7][0-9A-F])")


class Words:
    """Listens to one nginx.

    Parameters
    ----------
    superlink : (str, int)
        As it was given to the gateway.
    limits : Limits
    tell : callable (text), optional
        In place of the log.
    """

    def __init__(
        self,
        superlink: tuple[str, int],
        limits: Limits,
        tell: Callable[[str], object] = _LOG.warning,
    ) -> None:
        self.names: Mapping[int, str] = {}
        """Station of each number; those of earlier states stay."""
        self.unresolved = ""
        """Why the SuperLink's name is not known, if it is not."""
        self._place = "{}:{}".format(*superlink)
        self._limits = limits
        self.bounded = BoundedLog(tell)
        self._down = False
        self._reason = ""
        self._lines: dict[str, Callable[[list[str]], None]] = {
            "outer": self._outer,
            "count": self._count,
            "call": self._call,
        }

    def hear(self, line: str) -> None:
        """Take in one line of nginx's."""
        kind, *fields = line.split("\t")
        known = self._lines.get(kind)
        if known is None:
            self._error(line)
            return
        try:
            known(fields)
        except (ValueError, IndexError):
            self._say("unknown", f"nginx: {line[:LONGEST_TOLD]}")

    def tick(self) -> None:
        """Tell counts that are due."""
        self.bounded.tick(time.monotonic())

    def end(self) -> None:
        """Tell every count that is left."""
        self.bounded.end(time.monotonic())

    def _say(self, kind: str, text: str) -> None:
        self.bounded.say(kind, text, time.monotonic())

    def _outer(self, fields: list[str]) -> None:
        """A connection that came no further than the open port."""
        address, status, verified, subject, cipher, seconds = fields
        if status == "503":
            self._say("many", f"refused a connection from {address}: it has too many")
            return
        shown = f" ({subject[:80]})" if subject != "-" else ""
        if verified.startswith("FAILED:"):
            said = verified.removeprefix("FAILED:")
            reason = _PLAIN_REASONS.get(said, f"its certificate was refused: {said[:80]}")
            self._say("certificate", f"refused a connection from {address}: {reason}{shown}")
        elif verified == "SUCCESS" and status == "200":
            reason = "its certificate names no station whose .pub is in stations/"
            self._say("certificate", f"refused a connection from {address}: {reason}{shown}")
        elif verified == "SUCCESS":
            self._say("cut", f"cut a connection from {address}{shown}: {status}")
        elif cipher not in ("-", "(NONE)"):
            self._say("none", f"refused a connection from {address}: it showed no certificate")
        elif float(seconds) >= self._limits.handshake:
            within = f"no TLS handshake within {self._limits.handshake:g} s"
            self._say("handshake", f"cut a connection from {address}: {within}")
        else:
            self._say("handshake", f"refused a connection from {address}: no TLS 1.3 handshake")

    def _count(self, fields: list[str]) -> None:
        """A connection that its station has too many of already."""
        name = self._station(fields[0])
        limit = self._limits.per_station
        self._say("many", f"refused a connection of station {name}: it has {limit} already")

    def _call(self, fields: list[str]) -> None:
        """A call that came by a station's socket."""
        socket, address, status, upstream, answered, rate, wanted, shown = fields
        request = _ESCAPE.sub(_character, shown).removesuffix(" HTTP/1.1")[:LONGEST_TOLD]
        who = f"{request} of {self._station(socket)}"
        who += f" from {address}"
        theirs = upstream.rpartition(" ")[2]
        if upstream == "-":
            if rate == "REJECTED":
                text = f"told to wait (503): {who}: more than {self._limits.calls} calls a second"
                self._say("rate", text)
            elif wanted.endswith(" stranger"):
                self._say("stranger", f"refused with {status} for a Flower key of another: {who}")
            elif int(status) >= 400 and status not in ("408", "499"):
                self._say("refused", f"refused with {status}: {who}")
            return
        if answered.rpartition(" ")[2] == "-":
            if status != "499":  # a station that has gone away tells nothing about the SuperLink
                self._note_down(who)
            return
        self._note_up()
        if theirs.startswith("5") and theirs not in ("502", "503", "504"):
            text = f"the SuperLink answered {theirs} to {who}; its station is told to try again"
            self._say("failed", f"{text} ({status})")

    def _note_down(self, who: str) -> None:
        if not self._down:
            reason = self.unresolved or self._reason or "no answer"
            self._say(
                "superlink",
                f"the SuperLink {self._place} fails: {reason} ({who}); stations are told to try "
                "again",
            )
        self._down, self._reason = True, ""

    def _note_up(self) -> None:
        if self._down:
            self._say("superlink", "the SuperLink answers again")
        self._down = False

    def _error(self, line: str) -> None:
        """A line of nginx's error log."""
        if _OF_SUPERLINK.search(line):
            self._reason = plain(line).partition(", client: ")[0][:LONGEST_TOLD]
        elif line.strip() and not _CLIENTS_FAULT.search(line):
            self._say("nginx", f"nginx: {plain(line)[:LONGEST_TOLD]}")

    def _station(self, socket: str) -> str:
        """The station of a socket's name, as `unix:h3`."""
        number = re.sub(r"^unix:[a-z]", "", socket)
        return self.names.get(int(number), "?") if number.isdigit() else "?"


def _character(escape: re.Match[str]) -> str:
    """What nginx has escaped, where it can be shown."""
    found = chr(int(escape[1], 16))
    return found if found.isprintable() else escape[0]

"""What a SuperNode's own output tells about it: is it served, and if not, why.

The wording is that of flwr 1.41, to which this package is pinned. A line that is not known
changes nothing.
"""

from __future__ import annotations

import re
from typing import Final

_COLOR: Final = re.compile(r"\x1b\[[0-9;]*m")
_REASONS: Final = (
    (
        "[code: 2004]",
        "the server refused this station's key (code 2004): it is not registered there, or an "
        "earlier SuperNode with this key still counts as online there, for up to a minute",
    ),
    (
        "[code: 2001]",
        "the server takes only SuperNodes with a registered key (code 2001)",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the gateway's certificate was refused: it was not signed by the authority in server.ca, "
        "has expired, or is not valid for 127.0.0.1",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "what listens at server.address does not speak TLS",
    ),
    (
        "Unable to parse the private key file",
        "server.key is no private key in OpenSSH format, as `fedpatchcore keys` makes it",
    ),
    (
        "address already in use",
        "its local port was taken by another program in the same moment",
    ),
)
_OWN_WORD: Final = "fedpatchcore: "
"""Begins the line in which our program around Flower's says why it does not start."""
_NOT_BOUND: Final = "flwr.supercore.run.RunNotRunningException"
"""What a SuperNode makes of 403 before it is online: it hangs, with its main thread at an end."""
_BROKEN_THREAD: Final = "Exception in thread"
_HEARTBEAT: Final = "send_node_heartbeat"


class SuperNodeLog:
    """Listens to one SuperNode from its start to its end.

    Attributes
    ----------
    online : bool
        The server has taken it.
    failing_since : float or None
        Since when its calls have been failing.
    heartbeat_broken : bool
        Its heartbeat has ended for good: it still works, but the server counts it as offline.
    not_bound : bool
        The gateway refused its key before it was online; it does nothing more.
    reason : str
        In plain words, why it ended; "" if its output has not told.
    """

    def __init__(self) -> None:
        self.online = False
        self.failing_since: float | None = None
        self.heartbeat_broken = self.not_bound = False
        self.reason = ""
        self._in_broken_thread = False

    def hear(self, line: str, now: float) -> None:
        """Take in one line; `now` is in seconds of any one clock."""
        text = _COLOR.sub("", line)
        if "SuperNode ID:" in text:
            self.online, self.failing_since, self.reason = True, None, ""
        elif "Connection attempt failed" in text:
            if self.failing_since is None:
                self.failing_since = now
        elif "Connection successful after" in text:
            self.failing_since = None
        elif text.startswith(_OWN_WORD):
            self.reason = text.removeprefix(_OWN_WORD)
        elif text.startswith(_NOT_BOUND) and not self.online:
            self.not_bound = True
            self.reason = (
                "the gateway refused this station's key with this certificate (403): server.key "
                "and server.certificate must be of one folder of `fedpatchcore keys`, and the "
                "gateway must have that key's .pub"
            )
        self._hear_traceback(text)
        for sign, reason in _REASONS:
            if sign in text:
                self.reason = reason

    def _hear_traceback(self, text: str) -> None:
        if _BROKEN_THREAD in text:
            self._in_broken_thread = True
        elif self._in_broken_thread and _HEARTBEAT in text:
            self.heartbeat_broken = True
        elif text[:1].isalpha() and ":" in text:  # the error itself, a traceback's last line
            self._in_broken_thread = self._in_broken_thread and text.startswith("Traceback")

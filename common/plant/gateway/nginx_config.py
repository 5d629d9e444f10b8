"""The gateway as nginx's configuration: one text, made anew whenever the plant changes.

Three hops, in one nginx. At the open port TLS 1.3 with a certificate of the plant's stations; who
has none does not get past the handshake, and costs one connection for three seconds at most. From
there a station's bytes go to a socket of that station alone (`c0`, `c1`, ...), where its
connections are counted, and on to a second socket (`h0`, ...), where the SuperNode's own TLS ends
and its calls are looked at one by one. All sockets lie in a private folder.

What counts is read from the socket that a call came by, never from what the call says: so a
station's Flower key is bound to its certificate. Limits per station need the second hop, for
`limit_conn` is evaluated before the handshake. It stays raw: the line of the PROXY protocol that
the first hop wrote passes through it as it is.

What nginx cannot do, and what that costs:

- *Handshakes per second and address* have no limit, only connections at a time. Whoever opens and
  closes them costs processor time; a call of a station takes its turn among them.
- *A whole request has no deadline*, only each pause in it. Who has a station's certificate and
  sends a byte a minute holds one of that station's connections for as long.
- *Who sends a body too slowly* has the connection ended without a word.
- *An error that never ends is not shown*: an answer of 500 is 503 to a station for ever, which goes
  on trying. The log says once a minute that it does.
- *Headers are let through by name*: one that a new Flower adds is held back until it is listed.
- *Names are looked up once*, at the start: the program around it looks again and reloads.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.plant.gateway.nginx_http import http
from common.plant.gateway.nginx_stream import stream
from common.plant.gateway.nginx_terms import PID_FILE, Limits, Place, milliseconds


def configuration(
    place: Place,
    stations: Mapping[str, tuple[int, str]],
    limits: Limits,
    preamble: str = "",
    folders: str = "",
) -> str:
    """Write nginx's configuration.

    Parameters
    ----------
    place : Place
    stations : mapping of name to (number, key)
        The number names its sockets; the key is as its SuperNode sends it, in base64.
    limits : Limits
    preamble, folders : str
        Directives that depend on the program: its module and user; its temporary folders.

    Returns
    -------
    str
        Every path in it is relative to the folder in which nginx is started.
    """
    numbers = [number for number, _ in stations.values()]
    return "\n".join(
        [
            preamble,
            "daemon off;",
            "worker_processes 2;",
            f"pid {PID_FILE};",
            # One line a fault of the SuperLink; what clients do wrong has its own lines below.
            "error_log stderr error;",
            f"worker_shutdown_timeout {milliseconds(limits.drain)};",
            f"events {{ worker_connections {limits.connections}; }}",
            "stream {",
            *stream(place, stations, numbers, limits),
            "}",
            "http {",
            folders,
            *http(place, stations, numbers, limits),
            "}",
            "",
        ]
    )

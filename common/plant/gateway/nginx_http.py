"""The inner half of the gateway's configuration: what a station's call may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.plant.gateway.nginx_terms import KEYS, Limits, Place, address, milliseconds

HEADERS: Final = (
    "accept",
    "accept-encoding",
    "content-type",
    "user-agent",
    # Flower's own: a station's key, its signature, the time that it signed, its version.
    "flwr-public-key",
    "flwr-signature",
    "flwr-timestamp",
    "flwr-package-name",
    "flwr-package-version",
    "flwr-component-name",
)
"""Headers of a request that the SuperLink gets to see, besides the length of its body."""
REFUSAL: Final = "This gateway passes only the fleet API of SuperNodes."
STRANGER: Final = "This Flower key is not that of the certificate."
NOWHERE: Final = "unix:nowhere"
"""In the SuperLink's place while its name is not known: a socket that nobody opens."""


def http(
    place: Place,
    stations: Mapping[str, tuple[int, str]],
    numbers: list[int],
    limits: Limits,
) -> list[str]:
    """Inner TLS, and what a call may be."""
    lines = [
        "log_format call 'call\\t$server_addr\\t$proxy_protocol_addr\\t$status\\t$upstream_status"
        "\\t$upstream_header_time\\t$limit_req_status\\t$wanted$stranger\\t$shown';",
        "default_type text/plain;",
        "server_tokens off;",
        # The request line as it was sent, so that nothing can be read in two ways: no dot, no
        # percent sign, no second slash, no capital, no query, no other server's name before it.
        "map $request $wanted { default no;",
        '"~^POST /v1/fleet/[a-z]+(-[a-z]+)* HTTP/1[.]1$" fleet;',
        '"~^GET /health HTTP/1[.]1$" health;',
        "}",
        'map $request $shown { default ""; "~^(?<begin>[^?]{0,117})" $begin; }',
        'map $server_addr $own_key { default "";',
        *(f'unix:h{number} "{key}";' for number, key in stations.values()),
        "}",
        "map $wanted$http_upgrade $asked { default no; fleet fleet; health health; }",
        f"limit_req_zone $server_addr zone=calls:1m rate={limits.calls}r/s;",
        "limit_req_log_level info;",
        "upstream superlink {",
        *_upstream(place.superlink),
        "keepalive 16;",
        # Shorter than the SuperLink's own 5 s: it never closes what is about to be used.
        "keepalive_timeout 3s;",
        "}",
    ]
    if place.health_port:
        lines += [
            "server {",
            f"listen 127.0.0.1:{place.health_port};",
            "access_log off;",
            f"client_header_timeout {milliseconds(limits.header)};",
            "keepalive_timeout 0;",
            'if ($wanted = health) { return 200 "gateway\\n"; }',
            "return 404;",
            "}",
        ]
    if numbers:
        lines += ["server {", *(f"listen unix:h{n} ssl proxy_protocol;" for n in numbers)]
        lines += [*_calls(limits), "location / {", *_passing(place, limits), "}"]
        lines += [*_answers(limits), "}"]
    return lines


def _calls(limits: Limits) -> list[str]:
    """Bounds on a station's calls, and which of them go on."""
    return [
        "access_log /dev/stdout call;",
        f"ssl_certificate {KEYS}/gateway.crt;",
        f"ssl_certificate_key {KEYS}/gateway.key;",
        "ssl_protocols TLSv1.3;",
        "ssl_session_cache off;",
        "ssl_session_tickets off;",
        f"client_header_timeout {milliseconds(limits.header)};",
        f"client_body_timeout {milliseconds(limits.pause)};",
        f"client_max_body_size {limits.body};",
        "large_client_header_buffers 4 8k;",
        f"send_timeout {milliseconds(limits.pause)};",
        f"keepalive_timeout {milliseconds(limits.keep)};",
        "keepalive_requests 1000000;",
        "lingering_time 10s;",
        f"limit_req zone=calls burst={4 * limits.calls} nodelay;",
        # A request that nginx itself cannot read, for which no named location will do.
        "error_page 400 405 505 =403 /refused;",
        'set $stranger "";',
        f'if ($uri = /refused) {{ return 403 "{REFUSAL}\\n"; }}',
        f'if ($asked = no) {{ return 403 "{REFUSAL}\\n"; }}',
        'if ($asked = health) { return 200 "gateway\\n"; }',
        "if ($http_flwr_public_key != $own_key) {",
        'set $stranger " stranger";',
        f'return 403 "{STRANGER}\\n";',
        "}",
    ]


def _passing(place: Place, limits: Limits) -> list[str]:
    """On to the SuperLink, and what its failures are to a station.

    How a SuperNode takes an answer (flwr 1.41, tried with real ones):

    - 502, 503, 504 or a cut connection: it tries again, without end, at most 20 s apart;
    - 401: it ends itself; 403: it takes its run for ended and goes on;
    - any other error, a plain 500 above all: its work loop or its heartbeat ends for good, while
      the process stays up and looks healthy.
    """
    retried = " ".join(str(code) for code in range(500, 600) if code not in (502, 503, 504))
    return [
        "proxy_pass https://superlink;",
        "proxy_http_version 1.1;",
        # Piece by piece in both directions: a call holds some 64 kB, however long it is.
        "proxy_request_buffering off;",
        "proxy_buffering off;",
        "proxy_buffer_size 16k;",
        "proxy_busy_buffers_size 16k;",
        "proxy_pass_request_headers off;",
        f"proxy_set_header host {address(place.name, (place.superlink or (('', 443),))[0][1])};",
        'proxy_set_header connection "";',
        *(f"proxy_set_header {name} $http_{name.replace('-', '_')};" for name in HEADERS),
        # The SuperLink's clock, not this machine's: it is the one that a station's must agree with.
        "proxy_pass_header Date;",
        # No answer may tell nginx to do something.
        "proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate"
        " X-Accel-Buffering X-Accel-Charset;",
        f"proxy_connect_timeout {milliseconds(limits.connect)};",
        f"proxy_read_timeout {milliseconds(limits.answer)};",
        f"proxy_send_timeout {milliseconds(limits.answer)};",
        "proxy_ssl_protocols TLSv1.2 TLSv1.3;",
        "proxy_ssl_verify on;",
        f"proxy_ssl_trusted_certificate {KEYS}/ca.crt;",
        f"proxy_ssl_name {place.name};",
        "proxy_ssl_server_name on;",
        "proxy_intercept_errors on;",
        f"error_page {retried} =503 @failed;",
        "error_page 502 @unreachable;",
        "error_page 504 @late;",
        "error_page 413 @large;",
    ]


def _answers(limits: Limits) -> list[str]:
    """What a station is told in nginx's own words."""
    said = {
        "failed": (503, "The SuperLink failed; try again."),
        "unreachable": (502, "The SuperLink cannot be reached."),
        "late": (504, "The SuperLink took too long."),
        "large": (413, f"A request may have at most {limits.body} bytes here."),
    }
    return [
        f'location @{name} {{ return {code} "{text}\\n"; }}' for name, (code, text) in said.items()
    ]


def _upstream(addresses: tuple[tuple[str, int], ...]) -> list[str]:
    """The SuperLink's addresses: the first one, the others where it does not answer."""
    if not addresses:
        return [f"server {NOWHERE} max_fails=0;"]
    first, *others = (address(host, port) for host, port in addresses)
    return [
        f"server {first} max_fails=0;",
        *(f"server {other} max_fails=0 backup;" for other in others),
    ]

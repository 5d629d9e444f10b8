"""The outer half of the gateway's configuration: who gets in, and how often at a time."""

from __future__ import annotations

from collections.abc import Mapping

from common.plant.gateway.nginx_terms import (
    AUTHORITIES,
    KEYS,
    Limits,
    Place,
    address,
    milliseconds,
)


def stream(
    place: Place,
    stations: Mapping[str, tuple[int, str]],
    numbers: list[int],
    limits: Limits,
) -> list[str]:
    """Outer TLS, and the count of each station's connections."""
    lines = [
        # `~` minds capitals, a plain string would not: `clips` and `Clips` are two stations.
        "map $ssl_client_s_dn $inner {",
        "default unix:nobody;",
        *(f'"~^CN={_pattern(name)}$" unix:c{number};' for name, (number, _) in stations.items()),
        "}",
        "map $server_addr $calls_of { default unix:nobody;",
        *(f"unix:c{number} unix:h{number};" for number in numbers),
        "}",
        # What the log is told: every connection that did not get through to a station's socket.
        'map "$status $ssl_client_verify $inner" $odd {',
        'default 1; "~^200 SUCCESS unix:c" 0;',
        "}",
        "map $status $turned_away { default 1; 200 0; }",
        "log_format outer 'outer\\t$remote_addr\\t$status\\t$ssl_client_verify\\t$ssl_client_s_dn"
        "\\t$ssl_cipher\\t$session_time';",
        "log_format count 'count\\t$server_addr\\t$status';",
        "limit_conn_log_level info;",
        "limit_conn_zone $binary_remote_addr zone=addresses:4m;",
        "limit_conn_zone $server_addr zone=stations:1m;",
        "server {",
        f"listen {address(place.host, place.port)} ssl so_keepalive=on backlog=511;",
        "access_log /dev/stdout outer if=$odd;",
        f"limit_conn addresses {limits.per_address};",
        f"ssl_certificate {KEYS}/gateway.crt;",
        f"ssl_certificate_key {KEYS}/gateway.key;",
        "ssl_protocols TLSv1.3;",
        # No session is taken up again: every connection shows its certificate.
        "ssl_session_cache off;",
        "ssl_session_tickets off;",
        "ssl_verify_client on;",
        f"ssl_client_certificate {AUTHORITIES};",
        # The authority of the stations stands between the root and a station.
        "ssl_verify_depth 2;",
        f"ssl_crl {KEYS}/revoked.pem;",
        # Counted from the connection to its end, so that a byte now and then buys no time. The
        # relay's handshake is 971 bytes up and 1254 down: 1.5 s at 32 kbit/s with 0.3 s each way.
        # What remains: who opens connections of one address again and again, as fast as they are
        # cut, shuts out the stations behind that address for as long (the log: "it has too many").
        # Nothing tells them apart before the handshake; stations of another address are not hit.
        f"ssl_handshake_timeout {milliseconds(limits.handshake)};",
        "proxy_pass $inner;",
        "proxy_protocol on;",
        f"proxy_timeout {milliseconds(limits.answer + 4.5 * limits.pause)};",
        "}",
        'server { listen unix:nobody; return ""; }',
    ]
    if numbers:
        lines += [
            "server {",
            *(f"listen unix:c{number};" for number in numbers),
            "access_log /dev/stdout count if=$turned_away;",
            f"limit_conn stations {limits.per_station};",
            "proxy_pass $calls_of;",
            f"proxy_timeout {milliseconds(limits.answer + 4.5 * limits.pause)};",
            "}",
        ]
    return lines


def _pattern(name: str) -> str:
    """A station's name in a regular expression: of its letters only the dot means something."""
    return name.replace(".", "[.]")

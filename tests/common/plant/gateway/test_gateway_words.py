"""nginx's lines in words, and a log that no flood fills."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.plant.gateway.bounded_log import BoundedLog
from common.plant.gateway.gateway_words import Words
from common.plant.gateway.nginx_terms import Limits

CALL = "call\tunix:h0\t10.0.0.7\t{status}\t{upstream}\t{answered}\t{rate}\t{wanted}\t{shown}"


def words(told: list[str]) -> Words:
    found = Words(("superlink", 8000), Limits(), told.append)
    found.names = {0: "clips"}
    return found


def outer(
    status: int = 500, verified: str = "NONE", subject: str = "-", cipher: str = "TLS"
) -> str:
    return f"outer\t10.0.0.7\t{status}\t{verified}\t{subject}\t{cipher}\t0.010"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (outer(503), "refused a connection from 10.0.0.7: it has too many"),
        (outer(), "refused a connection from 10.0.0.7: it showed no certificate"),
        (
            outer(verified="FAILED:certificate revoked", subject="CN=clips"),
            "refused a connection from 10.0.0.7: its certificate is revoked (CN=clips)",
        ),
        (
            outer(verified="FAILED:CRL has expired", subject="CN=clips"),
            "refused a connection from 10.0.0.7: the revocation list revoked.pem has expired, and "
            "no station gets in (CN=clips)",
        ),
        (
            outer(verified="FAILED:something new", subject="CN=clips"),
            "refused a connection from 10.0.0.7: its certificate was refused: something new "
            "(CN=clips)",
        ),
        (
            outer(cipher="(NONE)"),
            "refused a connection from 10.0.0.7: no TLS 1.3 handshake",
        ),
        (
            "count\tunix:c0\t503",
            "refused a connection of station clips: it has 20 already",
        ),
        (
            "2026/11/30 18:50:02 [alert] 7#7: worker process 9 exited on signal 11",
            "nginx: worker process 9 exited on signal 11",
        ),
        ("what nobody knows", "nginx: what nobody knows"),
        ("outer\tlacks\tfields", "nginx: outer\tlacks\tfields"),
    ],
)
def test_a_line_in_words(line: str, said: str) -> None:
    told: list[str] = []
    words(told).hear(line)
    assert told == [said]


def test_an_outage_is_told_once_with_its_reason() -> None:
    told: list[str] = []
    one = words(told)
    failed = CALL.format(
        status=502, upstream="502", answered="-", rate="PASSED", wanted="fleet", shown="POST /x"
    )
    reason = (
        "2026/11/30 18:50:06 [error] 1#1: *165 connect() failed (111: Connection refused) while "
        'connecting to upstream, client: unix:, server: , request: "POST /x HTTP/1.1", upstream: '
        '"https://10.0.0.2:8000/x", host: "a"'
    )
    for _ in range(3):
        one.hear(reason)
        one.hear(failed)
    assert told == [
        "the SuperLink superlink:8000 fails: connect() failed (111: Connection refused) while "
        "connecting to upstream (POST /x of clips from 10.0.0.7); stations are told to try again"
    ]
    one.hear(failed.replace("502\t502\t-", "200\t200\t0.003"))
    assert told[1:] == ["the SuperLink answers again"]
    # A station that went away in the middle tells nothing about the SuperLink.
    one.hear(failed.replace("502\t502\t-", "499\t-\t-").replace("PASSED", "PASSED"))
    assert len(told) == 2


@given(st.text(max_size=300))
def test_no_line_is_too_odd(line: str) -> None:
    told: list[str] = []
    one = words(told)
    for begin in ("", "call\t", "outer\t", "count\t"):
        one.hear(begin + line)
    one.end()
    assert all(len(text) < 1000 for text in told)


def test_a_flood_is_counted() -> None:
    told: list[str] = []
    one = BoundedLog(told.append, lines=3, seconds=60)
    for number in range(1000):
        one.say("flood", f"line {number}", now=10.0)
    one.say("other", "another kind", now=10.0)
    assert told == ["line 0", "line 1", "line 2", "another kind"]
    one.tick(30.0)
    assert len(told) == 4
    one.tick(70.0)
    # 1000 lines, 3 of which were told.
    assert told[4:] == ["997 more lines like this within 60 s: line 999"]
    one.say("flood", "a new minute", now=71.0)
    one.tick(140.0)
    assert told[5:] == ["a new minute"]


def test_what_is_counted_is_told_at_the_end() -> None:
    told: list[str] = []
    one = BoundedLog(told.append, lines=1, seconds=60)
    for text in "abc":
        one.say("kind", text, now=0.0)
    one.end(5.0)
    assert told == ["a", "2 more lines like this within 5 s: c"]

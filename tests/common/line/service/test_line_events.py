"""Events come from the journal: by a ticket, behind the last one seen, with signs of life."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from line_service import PARTS, Running, post, running

from common.line.service.bounds import Bounds
from common.line.service.events import Events
from common.line.service.tickets import Tickets

EVENTS = "/api/v1/events"


@pytest.fixture(scope="module")
def line(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with tokens, three judged parts and a review of the second."""
    with running(saved, tmp_path_factory.mktemp("line") / "journal") as one:
        yield one


@pytest.fixture(scope="module")
def token(line: Running) -> str:
    return line.tokens.add("operator")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def events(lines: Iterator[str], count: int) -> list[tuple[str, int, Any]]:
    """The next events: kind, id and content."""
    found: list[tuple[str, int, Any]] = []
    kind, place = "", 0
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "id":
            place = int(value)
        elif name == "data":
            found.append((kind, place, json.loads(value)))
            if len(found) == count:
                break
    return found


def ticket(client: httpx.Client, token: str) -> str:
    answer = client.post(f"{EVENTS}/ticket", json={}, headers=bearer(token))
    assert answer.status_code == 200
    assert answer.json()["seconds"] == 30
    return str(answer.json()["ticket"])


def test_a_ticket_is_good_once(line: Running, token: str) -> None:
    with line.client() as client:
        assert client.post(f"{EVENTS}/ticket", json={}).status_code == 401
        own = ticket(client, token)
        # It opens nothing else, and is not used up by the try.
        for path in ("/api/v1/status", PARTS):
            assert client.get(path, params={"ticket": own}).status_code == 401
        with client.stream("GET", EVENTS, params={"ticket": own}) as stream:
            assert stream.status_code == 200
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert next(stream.iter_lines()) == "retry: 3000"
        assert client.get(EVENTS, params={"ticket": own}).status_code == 401
        two = [("ticket", ticket(client, token)), ("ticket", "x")]
        assert client.get(EVENTS, params=two).status_code == 401


def test_a_line_may_listen_and_a_foreign_page_gets_no_ticket(line: Running) -> None:
    token = line.tokens.add("line")
    with line.client(headers=bearer(token)) as client:
        foreign = client.post(f"{EVENTS}/ticket", json={}, headers={"origin": "https://evil"})
        assert foreign.status_code == 403
        assert client.post(f"{EVENTS}/ticket", json={}).status_code == 200


def test_who_was_away_goes_on_behind_the_last_event(
    line: Running, token: str, pictures: list[Path]
) -> None:
    with line.client(headers=bearer(token)) as client:
        parts = [post(client, picture, part=str(n)).json() for n, picture in enumerate(pictures)]
        review = {"verdict": "defect", "by": "Ann"}
        written = client.post(f"{PARTS}/{parts[1]['id']}/review", json=review).json()
        wanted = [*(("part", one["id"], one) for one in parts), ("review", written["id"], written)]
        for start in (0, 4):
            asked = {"last-event-id": str(parts[start]["id"])}
            for how in ({"headers": asked}, {"params": {"after": parts[start]["id"]}}):
                with client.stream("GET", EVENTS, **how) as stream:  # type: ignore[arg-type]
                    assert events(stream.iter_lines(), 10 - start) == wanted[start + 1 :]
        with client.stream("GET", EVENTS, params={"after": 0}) as stream:
            first = events(stream.iter_lines(), 1)[0]
        assert first[0] == "model"
        assert first[2]["sha256"] == line.service.resident.found.sha256
        for bad in ("-1", "x", "1e3", str(2**63)):
            assert client.get(EVENTS, headers={"last-event-id": bad}).status_code == 422


def test_no_event_is_lost_or_told_twice_under_load(
    line: Running, token: str, pictures: list[Path]
) -> None:
    """The stream is broken off again and again, and goes on by the last id."""
    posted: list[int] = []

    def work(number: int) -> None:
        with line.client(headers=bearer(token)) as client:
            posted.extend(post(client, picture).json()["id"] for picture in pictures[number::2])

    last = line.service.journal.end()
    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    heard: list[int] = []
    with line.client(headers=bearer(token)) as client:
        while len(heard) < len(pictures):
            with client.stream("GET", EVENTS, headers={"last-event-id": str(last)}) as stream:
                found = events(stream.iter_lines(), min(3, len(pictures) - len(heard)))
            last = found[-1][1]
            heard += [place for _, place, _ in found]
    for thread in threads:
        thread.join()
    assert heard == sorted(posted)


def test_silence_has_signs_of_life(line: Running) -> None:
    async def listen() -> list[bytes]:
        own = Events(Bounds(listeners=1), line.service.journal, sign_of_life=0.5)
        stream = await own.listen()
        found = [await anext(stream) for _ in range(3)]
        own.note("model", {"not_loaded": "why"})
        found.append(await anext(stream))
        own.end()
        assert [one async for one in stream] == []
        assert own.listeners == 0
        return found

    found = asyncio.run(listen())
    assert found[1:] == [b": still here\n\n"] * 2 + [
        b'event: model\ndata: {"not_loaded": "why"}\n\n'
    ]


def test_tickets_run_out_and_are_bounded() -> None:
    tickets = Tickets(seconds=0)
    assert tickets.take(tickets.issue("line").text) is None
    tickets = Tickets()
    first, second = tickets.issue("line"), tickets.issue("operator")
    for _ in range(255):
        tickets.issue("line")
    assert tickets.take(first.text) is None  # the oldest of 257
    assert tickets.take(second.text) == "operator"
    assert tickets.take(second.text) is None
    assert tickets.take("\udc80") is None

"""Changes that fail, and come true later; files that are nobody's; lists that are older."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gateway_cases import (
    Upstream,
    exchange,
    gateway_in_thread,
    is_told,
    need_nginx,
    post,
    serving,
    upstream_config,
)
from processes import wait_for

from common.errors import InputError
from common.plant.gateway import gateway as gateway_module
from common.plant.gateway.gateway import Gateway
from common.plant.gateway.gateway_keys import read_gateway_keys
from common.plant.gateway.nginx_program import find_nginx
from common.plant.gateway.nginx_terms import Limits
from common.plant.gateway.superlink_address import Addresses
from common.plant.gateway.trying_again import TryingAgain
from common.plant.keys.making import Wanted, make_keys
from common.plant.keys.revoking import revoke_station

PULL = "/v1/fleet/pull-messages"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(folder, Wanted(stations=["clips", "pins"]))
    return folder


@pytest.fixture
def keys(plant: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(plant, tmp_path / "keys"))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(gateway_module._LOG, "info", lambda text, *of: lines.append(text % of))
    monkeypatch.setattr(gateway_module._LOG, "warning", lambda text, *of: lines.append(text % of))
    return lines


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file is there, nginx cannot be asked, as on a machine that is short of memory."""
    need_nginx()
    real, mark = find_nginx().path, tmp_path / "busy"
    program = tmp_path / "bin" / "nginx"
    program.parent.mkdir()
    refusal = "echo 'nginx: [emerg] no memory left' >&2; exit 1"
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = -t ] && [ -e "{mark}" ]; then {refusal}; fi\nexec {real} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return mark


@pytest.fixture
def start(
    keys: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], int]]:
    """Start a gateway that looks at its keys every tenth of a second."""
    monkeypatch.setattr(gateway_module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(gateway_module, "RESOLVE_SECONDS", 0.2)
    with contextlib.ExitStack() as stack:
        yield lambda superlink: stack.enter_context(
            gateway_in_thread(keys, superlink, Limits(drain=0.5), told=told)
        )


@pytest.fixture
def port(keys: Path, start: Callable[[int], int]) -> Iterator[int]:
    with serving(upstream_config(keys, Upstream())) as superlink:
        yield start(superlink)


def test_a_change_that_failed_is_tried_again(
    busy: Path, keys: Path, port: int, told: list[str]
) -> None:
    busy.touch()
    revoke_station(keys, "clips")
    is_told(told, "the state before goes on", "no memory left; it is tried again, now in 2 s")
    busy.unlink()
    # Nothing in the folder changes any more.
    is_told(told, "taken over: 1 stations; gone clips", "; 1 certificate revoked")


def test_a_superlink_that_moved_is_not_forgotten(
    busy: Path,
    keys: Path,
    start: Callable[[int], int],
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, after = Upstream(), Upstream()
    with (
        serving(upstream_config(keys, before)) as old,
        serving(upstream_config(keys, after)) as new,
    ):
        known = [old]

        async def addresses_of(host: str, port: int) -> Addresses:
            return (("127.0.0.1", known[0]),)

        monkeypatch.setattr(gateway_module, "addresses_of", addresses_of)
        port = start(old)
        assert exchange(keys, port, post(PULL))[0] == 200
        busy.touch()
        known[0] = new
        is_told(told, "the SuperLink's address has changed, and the state before goes on")
        busy.unlink()
        is_told(told, "taken over: 2 stations")

        def reached() -> bool:
            with contextlib.suppress(OSError):
                exchange(keys, port, post(PULL))
            return bool(after.seen)

        wait_for("the new place of the SuperLink", reached, 15)
        assert len(before.seen) >= 1


def test_a_stray_file_keeps_no_revocation_out(keys: Path, port: int, told: list[str]) -> None:
    stations = keys / "gateway" / "stations"
    shutil.copy(stations / "pins.pub", stations / "pins (copy).pub")
    (stations / "worn.pub").write_bytes(b"no key")
    os.mkfifo(stations / "pipe.pub")
    revoke_station(keys, "clips")
    is_told(told, "taken over: 1 stations; gone clips")
    is_told(told, "left out, and no station's: ", "pins (copy).pub: 'pins (copy)' is no name of")
    is_told(told, "left out, and no station's: ", "worn.pub: is no public key")
    is_told(told, "left out, and no station's: ", "pipe.pub: is no file of at most")
    assert exchange(keys, port, post(PULL), station="pins")[0] == 200


def test_two_stations_with_one_key_are_refused(keys: Path, port: int, told: list[str]) -> None:
    stations = keys / "gateway" / "stations"
    shutil.copy(stations / "pins.pub", stations / "pins-2.pub")
    is_told(told, "the state before goes on", "pins.pub: holds the same key as pins-2.pub")
    assert exchange(keys, port, post(PULL), station="pins")[0] == 200
    (stations / "pins-2.pub").unlink()
    is_told(told, "the key folder is again as it was")


def test_at_the_start_a_stray_file_is_left_out_and_a_double_is_refused(
    keys: Path, start: Callable[[int], int], told: list[str]
) -> None:
    need_nginx()
    stations = keys / "gateway" / "stations"
    double = stations / "pins-2.pub"
    shutil.copy(stations / "pins.pub", double)
    with pytest.raises(InputError, match=r"holds the same key as pins-2\.pub"):
        Gateway(keys / "gateway", ("localhost", 8000), "127.0.0.1", 0)
    double.rename(stations / "pins (copy).pub")
    start(8000)
    assert (
        told[1] == "revoked.pem: list 1 by ca.crt, list 1 by stations-ca.crt: 0 certificates "
        "revoked"
    )
    assert told[2].startswith("left out, and no station's: ")


def test_an_older_revocation_list_is_refused(keys: Path, port: int, told: list[str]) -> None:
    path = keys / "gateway" / "revoked.pem"
    older = path.read_bytes()
    revoke_station(keys, "clips")
    newest = path.read_bytes()
    is_told(told, "taken over: 1 stations; gone clips", "; 1 certificate revoked")
    path.write_bytes(older)
    is_told(
        told,
        "revoked.pem: the list by stations-ca.crt has number 1, and 2 is in force: "
        "older than the list in force; copy the newest gateway/revoked.pem",
    )
    taken = len([line for line in told if line.startswith("taken over")])
    path.write_bytes(newest)
    wait_for("the newest", lambda: sum(line.startswith("taken over") for line in told) > taken, 15)


def test_another_authority_counts_its_lists_anew(keys: Path, tmp_path: Path) -> None:
    revoke_station(keys, "clips")
    before = read_gateway_keys(keys / "gateway")
    assert before.revoked == 1
    assert sorted(before.numbers.values()) == [1, 2]
    make_keys(tmp_path / "others", Wanted(stations=["clips"]))
    assert read_gateway_keys(tmp_path / "others" / "gateway", before=before).revoked == 0


def test_tries_and_words_are_bounded() -> None:
    again, said, tries, now = TryingAgain(), [], [], 0.0
    assert not again.failing
    while now < 3600:
        if again.due("a change", now):
            tries.append(now)
            said.append(again.failed("a change", "why", now))
        now += 0.5
    assert tries[:7] == [0, 2, 6, 14, 30, 62, 122]
    assert len(tries) < 66
    assert said[0] == "why; it is tried again, now in 2 s"
    assert len([text for text in said if text]) == 6  # at first, then every ten minutes
    assert again.due("another change", tries[-1])
    assert again.failed("another change", "why", now) == "why; it is tried again, now in 2 s"
    assert again.failed("another change", "else", now) == "else; it is tried again, now in 4 s"
    again.done()
    assert not again.failing

"""The configuration as a text: many stations, names that nginx might misread, its sentences."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from pathlib import Path

import pytest
from gateway_cases import Upstream, exchange, gateway_in_thread, need_nginx, post, serving
from gateway_cases import upstream_config as config
from hypothesis import given
from hypothesis import strategies as st

from common.plant.gateway.nginx_config import configuration
from common.plant.gateway.nginx_http import HEADERS
from common.plant.gateway.nginx_program import find_nginx
from common.plant.gateway.nginx_terms import Limits, Place
from common.plant.gateway.superlink_address import addresses_of, certified_name
from common.plant.keys.making import Wanted, make_keys
from common.protocol.station_names import STATION_PATTERN

PLACE = Place("0.0.0.0", 9443, (("10.0.0.2", 8000), ("fd00::2", 8000)), "superlink", 9444)
NAMES = st.from_regex(STATION_PATTERN.removesuffix("$") + r"\Z")


def test_a_plant_of_two_hundred_stations(tmp_path: Path) -> None:
    """nginx takes it, and the first and the last get in."""
    need_nginx()
    keys = tmp_path / "keys"
    names = [f"station-{number:03}" for number in range(200)]
    make_keys(keys, Wanted(stations=names))
    begun = time.monotonic()
    with (
        serving(config(keys, Upstream())) as superlink,
        gateway_in_thread(keys, superlink) as port,
    ):
        assert time.monotonic() - begun < 30
        for name in (names[0], names[-1]):
            answer = exchange(keys, port, post("/v1/fleet/pull-messages"), station=name)
            assert answer == (200, b"done")


@given(st.sets(NAMES, min_size=1, max_size=8), NAMES)
def test_a_certificate_leads_to_the_sockets_of_its_own_station(names: set[str], other: str) -> None:
    ours = {name: (number, "a2V5") for number, name in enumerate(sorted(names))}
    text = configuration(PLACE, ours, Limits())
    rules = re.findall(r'"~(\^CN=.*?\$)" unix:c(\d+);', text)
    assert len(rules) == len(names)
    for asked in (*names, other, other.swapcase(), other.replace(".", "x")):
        found = {int(number) for rule, number in rules if re.fullmatch(rule, f"CN={asked}")}
        assert found == ({ours[asked][0]} if asked in ours else set())


def test_only_headers_that_are_named_are_passed_on() -> None:
    text = configuration(PLACE, {"clips": (0, "a2V5")}, Limits())
    assert "proxy_pass_request_headers off;" in text
    passed = re.findall(r"proxy_set_header (\S+) \$http_", text)
    assert tuple(passed) == HEADERS


def test_every_path_in_it_is_relative() -> None:
    """So that no name of a folder can be read as a directive, and no socket's is too long."""
    text = configuration(PLACE, {"clips": (0, "a2V5")}, Limits())
    assert set(re.findall(r"unix:\S", text)) <= {"unix:n", "unix:c", "unix:h"}
    files = re.findall(r"(?:_certificate|_key|_crl|log|pid|_path)\w* (\S+?)[ ;]", text)
    assert {path for path in files if path.startswith("/")} == {"/dev/stdout"}


def test_without_a_station_nobody_is_let_in(tmp_path: Path) -> None:
    need_nginx()
    text = configuration(PLACE, {}, Limits())
    assert "listen unix:h" not in text
    assert "default unix:nobody;" in text


@pytest.mark.parametrize(
    ("host", "name"),
    [("superlink", "superlink"), ("127.0.0.1", "localhost"), ("::1", "localhost")],
)
def test_the_name_on_the_superlinks_certificate(host: str, name: str) -> None:
    assert certified_name(host) == name


async def _addresses(host: str) -> object:
    return await addresses_of(host, 8000)


def test_an_address_is_taken_as_it_is() -> None:
    assert asyncio.run(_addresses("10.0.0.7")) == (("10.0.0.7", 8000),)
    found = asyncio.run(_addresses("localhost"))
    assert isinstance(found, tuple)
    assert found[0] == ("127.0.0.1", 8000)


def test_nothing_of_a_trial_is_left() -> None:
    """`nginx -t` opens sockets, and removes them."""
    need_nginx()
    nginx = find_nginx()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert "keys/gateway.crt" in nginx.refusal(
            folder, configuration(PLACE, {}, Limits(), nginx.preamble(), nginx.folders())
        )
        assert not [path for path in folder.iterdir() if path.is_socket()]

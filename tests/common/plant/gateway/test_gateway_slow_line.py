"""The deadline of the outer handshake: short for who says nothing, long enough for a slow line."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gateway_cases import Upstream, exchange, gateway_in_thread, post, serving, upstream_config
from processes import wait_for

from common.plant.gateway.nginx_terms import Limits
from common.plant.keys.making import Wanted, make_keys
from common.plant.station.gateway_tls import GatewayTls

PULL = "/v1/fleet/pull-messages"
ONE_WAY_SECONDS = 0.3
BYTES_A_SECOND = 4_000  # 32 kbit/s


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(folder, Wanted(stations=["clips"]))
    return folder


@dataclass
class SlowLine:
    """One connection that is passed on late and slowly, and how many bytes went each way."""

    port: int = 0
    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)
    lasted: float = 0.0
    """Seconds as the gateway counts them: from the connection to the station's last bytes."""


@contextlib.contextmanager
def slow_line(port: int) -> Iterator[SlowLine]:
    """In front of a gateway, for one connection."""
    line = SlowLine()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(("127.0.0.1", port), 20) as there,
    ):
        connected = time.monotonic()
        line.port = listener.getsockname()[1]
        listener.settimeout(20)

        def carry(source: socket.socket, target: socket.socket, noted: list[int]) -> None:
            with contextlib.suppress(OSError):
                while piece := source.recv(1 << 16):
                    time.sleep(ONE_WAY_SECONDS + len(piece) / BYTES_A_SECOND)
                    target.sendall(piece)
                    noted.append(len(piece))
                    if target is there:
                        line.lasted = time.monotonic() - connected
                target.shutdown(socket.SHUT_WR)

        def both() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as here:
                back = threading.Thread(target=carry, args=(there, here, line.down))
                back.start()
                carry(here, there, line.up)
                back.join(20)

        thread = threading.Thread(target=both)
        thread.start()
        try:
            yield line
        finally:
            thread.join(30)
            assert not thread.is_alive()


def test_a_slow_line_fits_into_the_deadline(keys: Path) -> None:
    """Not even counted in its favour: the connection is there before the station asks for it."""
    told: list[str] = []
    own = keys / "stations" / "clips"
    with (
        gateway_in_thread(keys, 1, told=told) as port,
        slow_line(port) as line,
        socket.create_connection(("127.0.0.1", line.port), 20) as plain,
        GatewayTls(own / "ca.crt", own / "station.pem")
        .context()
        .wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        wait_for("its certificate to arrive", lambda: len(line.up) >= 2, 20)
        tls.settimeout(2.0)
        # The gateway has not ended it: it waits for the SuperNode's own TLS.
        with pytest.raises(TimeoutError):
            tls.recv(100)
        lasted, up, down = line.lasted, sum(line.up), sum(line.down)
    print(f"{up} bytes up, {down} down, through after {lasted:.2f} s")
    assert lasted < Limits().handshake
    assert not [text for text in told if "handshake" in text]


def test_who_says_nothing_makes_room_for_its_neighbours(keys: Path) -> None:
    """A hundred sockets without a key, from the address that a station has too."""
    told: list[str] = []
    with (
        serving(upstream_config(keys, Upstream())) as superlink,
        gateway_in_thread(keys, superlink, told=told) as port,
        contextlib.ExitStack() as stack,
    ):
        begun = time.monotonic()
        for _ in range(Limits().per_address):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))

        def served() -> bool:
            with contextlib.suppress(OSError):
                return exchange(keys, port, post(PULL))[0] == 200
            return False

        assert not served()
        wait_for("room for the station", served, 8)
        print(f"room after {time.monotonic() - begun:.1f} s")
    assert "refused a connection from 127.0.0.1: it has too many" in told

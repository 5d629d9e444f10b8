"""How a gateway starts and ends: what is missing is said in one line, nothing is left behind."""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gateway_cases import (
    Upstream,
    exchange,
    family,
    gateway_process,
    need_nginx,
    post,
    serving,
    upstream_config,
)
from processes import free_port, wait_for
from tunnel import flower_key

from common.cli.main import run
from common.errors import InputError
from common.plant.gateway import nginx_program
from common.plant.gateway.gateway import Gateway
from common.plant.gateway.nginx_config import configuration
from common.plant.gateway.nginx_program import find_nginx
from common.plant.gateway.nginx_terms import AUTHORITIES, KEYS, PID_FILE, Limits, Place
from common.plant.keys.making import Wanted, make_keys

PULL = "/v1/fleet/pull-messages"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(folder, Wanted(stations=["clips"]))
    return folder


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """What `plant gateway` says that does not start."""

    def say(folder: Path, *words: str) -> str:
        arguments = ["plant", "gateway", "--keys", str(folder), "--superlink", "localhost:8000"]
        assert run([*arguments, *words]) == 2
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        (line,) = (out + err).strip().splitlines()
        return line

    return say


def copied(keys: Path, folder: Path, *left_out: str) -> Path:
    """The gateway's own folder without some files."""
    folder.mkdir()
    (folder / "stations").mkdir()
    for path in (keys / "gateway").rglob("*"):
        name = str(path.relative_to(keys / "gateway"))
        if path.is_file() and name not in left_out:
            (folder / name).write_bytes(path.read_bytes())
    if "gateway.key" not in left_out:
        (folder / "gateway.key").chmod(0o600)
    return folder


def test_what_cannot_be_used_is_said_in_one_line(
    keys: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    need_nginx()
    assert "has no gateway.crt" in said(keys / "server")
    assert "expected HOST:PORT" in said(keys / "gateway", "--superlink", "https://superlink:8000")
    assert "expected HOST:PORT" in said(keys / "gateway", "--superlink", "superlink:99999")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        taken = ("--host", "127.0.0.1", "--port", str(port))
        assert f"cannot listen on 127.0.0.1:{port}" in said(keys / "gateway", *taken)
        free = ("--host", "127.0.0.1", "--port", "0", "--health-port", str(port))
        assert f"cannot listen on 127.0.0.1:{port}" in said(keys / "gateway", *free)
    for name in ("ca.crt", "stations-ca.crt", "gateway.key", "revoked.pem"):
        assert f"has no {name}" in said(copied(keys, tmp_path / name, name))
    mixed = copied(keys, tmp_path / "mixed")
    (mixed / "gateway.key").write_bytes((keys / "server" / "superlink.key").read_bytes())
    assert "cannot be used together" in said(mixed)
    (mixed / "gateway.key").write_bytes((keys / "gateway" / "gateway.key").read_bytes())
    (mixed / "gateway.key").chmod(0o644)
    assert "can be read by others (mode 644)" in said(mixed)
    old, long_ago = tmp_path / "old", dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    make_keys(old, Wanted(stations=["clips"], days=30), long_ago)
    assert "expired on 2020-01-31" in said(old / "gateway")
    assert "holds no <name>.pub file" in said(
        copied(keys, tmp_path / "alone", "stations/clips.pub")
    )


def test_a_revocation_list_that_would_shut_everybody_out_is_said(
    keys: Path, tmp_path: Path, said: Callable[..., str]
) -> None:
    need_nginx()
    whole = (keys / "revoked.pem").read_bytes()
    mark = b"-----BEGIN X509 CRL-----"
    lists = [mark + one for one in whole.split(mark)[1:]]
    assert len(lists) == 2
    for number, one in enumerate(lists):
        half = copied(keys, tmp_path / f"half{number}")
        (half / "revoked.pem").write_bytes(one)
        assert "has no revocation list by" in said(half)
        assert "every station would be refused" in said(half)
    others = tmp_path / "others"
    make_keys(others, Wanted(stations=["clips"]))
    foreign = copied(keys, tmp_path / "foreign")
    (foreign / "revoked.pem").write_bytes((others / "revoked.pem").read_bytes())
    assert "has no revocation list by ca.crt" in said(foreign)


def test_a_superlink_by_address_is_this_machine_alone(keys: Path, said: Callable[..., str]) -> None:
    need_nginx()
    words = said(keys / "gateway", "--superlink", "10.0.0.5:8000")
    assert "--superlink 10.0.0.5: is an IP address, and nginx compares" in words
    assert "/etc/hosts" in words


def test_a_machine_without_nginx_is_told_how_to_get_it(
    keys: Path, tmp_path: Path, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nginx_program, "_FOLDERS", (str(tmp_path / "sbin"),))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said(keys / "gateway").endswith(": apt-get install nginx libnginx-mod-stream")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("nginx version: nginx/1.18.0\n--with-stream", "is version 1.18.0; expected 1.21.1"),
        ("Apache/2.4", "is no nginx"),
        (
            "nginx version: nginx/1.24.0\nconfigure arguments: --with-http_ssl_module",
            "was built without its stream or TLS modules",
        ),
        (
            "nginx version: nginx/1.24.0\nconfigure arguments: --modules-path=/nowhere "
            "--with-http_ssl_module --with-stream=dynamic --with-stream_ssl_module",
            "its stream module /nowhere/ngx_stream_module.so is not installed",
        ),
    ],
)
def test_an_nginx_that_cannot_do_it_is_named(
    told: str,
    words: str,
    keys: Path,
    tmp_path: Path,
    said: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "nginx"
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{told}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    line = said(keys / "gateway")
    assert words in line
    assert "apt-get install" in line


def test_nginx_is_started_from_folders_of_any_name(keys: Path, tmp_path: Path) -> None:
    """A dollar sign would be a variable, a quote the end of a path."""
    need_nginx()
    odd = copied(keys, tmp_path / """it's "$keys" {or};#""")
    gateway = Gateway(odd, ("localhost", 8000), "127.0.0.1", 0)
    gateway.try_out()


def _words(pid: int) -> bytes:
    """What a process was started with; nginx keeps it in the title that it gives itself."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")


def test_nothing_is_left_of_a_gateway(keys: Path, tmp_path: Path) -> None:
    health = free_port()
    with (
        serving(upstream_config(keys, Upstream())) as superlink,
        gateway_process(keys, superlink, tmp_path / "log", f"--health-port={health}") as (
            port,
            process,
        ),
    ):
        assert exchange(keys, port, post(PULL))[0] == 200
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{health}/health", timeout=10) as answer:
            assert answer.read() == b"gateway\n"
        everybody = family(process.pid)
        assert len(everybody) >= 3  # itself, nginx, a worker
        named = re.search(rb" -p (\S+/fedpatchcore-gateway-\w+)/", _words(everybody[1]))
        assert named is not None
        folder = Path(os.fsdecode(named[1]))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 10
        assert not folder.exists()
        assert not [pid for pid in everybody[1:] if Path(f"/proc/{pid}").exists()]


def test_the_health_port_answers_nothing_else(keys: Path, tmp_path: Path) -> None:
    health = free_port()
    upstream = Upstream()
    with (
        serving(upstream_config(keys, upstream)) as superlink,
        gateway_process(keys, superlink, tmp_path / "log", f"--health-port={health}"),
    ):
        for request in (post(PULL), b"GET /health/x HTTP/1.1\r\nhost: a\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", health), timeout=10) as one:
                one.sendall(request)
                assert one.recv(1000).startswith(b"HTTP/1.1 404 ")
        address = [
            line.split()[1]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[1].endswith(f":{health:04X}") and line.split()[3] == "0A"
        ]
        assert address == [f"0100007F:{health:04X}"]  # 127.0.0.1 and no other address
    assert upstream.seen == []


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_while_a_station_is_connected(
    way: signal.Signals, keys: Path, tmp_path: Path
) -> None:
    with (
        serving(upstream_config(keys, Upstream())) as superlink,
        gateway_process(keys, superlink, tmp_path / "log") as (port, process),
        socket.create_connection(("127.0.0.1", port)),
    ):
        begun = time.monotonic()
        process.send_signal(way)
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 10
        assert (tmp_path / "log").read_text().rstrip().endswith("gateway ended")


def test_a_gateway_that_is_killed_takes_its_nginx_along(keys: Path, tmp_path: Path) -> None:
    with (
        serving(upstream_config(keys, Upstream())) as superlink,
        gateway_process(keys, superlink, tmp_path / "log") as (_, process),
    ):
        everybody = family(process.pid)
        process.kill()
        process.wait()

        def gone() -> bool:
            return not [pid for pid in everybody if Path(f"/proc/{pid}/exe").exists()]

        wait_for("the end of nginx", gone, 15)


def test_an_nginx_that_is_killed_ends_the_gateway(keys: Path, tmp_path: Path) -> None:
    with (
        serving(upstream_config(keys, Upstream())) as superlink,
        gateway_process(keys, superlink, tmp_path / "log") as (port, process),
    ):
        nginx, *workers = family(process.pid)[1:]
        assert workers
        os.kill(nginx, signal.SIGKILL)
        assert process.wait(20) == 1
        # They would serve on, by the keys of that day. One that nobody has waited for has no exe.
        assert not [pid for pid in workers if Path(f"/proc/{pid}/exe").exists()]
        with socket.create_server(("127.0.0.1", port)):
            pass
    assert "nginx ended by itself (exit code -9)" in (tmp_path / "log").read_text()


def test_a_worker_that_is_killed_is_replaced(keys: Path, tmp_path: Path) -> None:
    with (
        serving(upstream_config(keys, Upstream())) as superlink,
        gateway_process(keys, superlink, tmp_path / "log") as (port, process),
    ):
        for worker in family(process.pid)[2:]:
            os.kill(worker, signal.SIGKILL)
        wait_for("other workers", lambda: len(family(process.pid)) > 2, 10)
        assert exchange(keys, port, post(PULL))[0] == 200


def test_nginx_needs_no_rights(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container: another user than root, who may write to a folder of its own alone."""
    need_nginx()
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else; the other tests ran as nobody special")
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    nginx, port = find_nginx(), free_port()
    stations = {"clips": (0, flower_key(keys, "clips").decode())}
    place = Place("127.0.0.1", port, (), "localhost")
    text = configuration(place, stations, Limits(), nginx.preamble(), nginx.folders())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied(keys, folder / KEYS)
        authorities = [(keys / one).read_bytes() for one in ("ca.crt", "stations-ca.crt")]
        (folder / AUTHORITIES).write_bytes(b"".join(authorities))
        (folder / "nginx.conf").write_text(text)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 10001, 10001)
        log = folder / "log"
        with log.open("wb") as file:
            os.fchown(file.fileno(), 10001, 10001)
            process = subprocess.Popen(
                nginx.command(folder),
                cwd=folder,
                stdout=file,
                stderr=file,
                user=10001,
                group=10001,
                extra_groups=[],
            )
        try:
            wait_for("nginx", (folder / PID_FILE).exists, 20)
            assert exchange(keys, port, post(PULL))[0] == 502
            assert "[emerg]" not in log.read_text()
        finally:
            process.terminate()
            process.wait(15)


def test_what_nginx_is_found() -> None:
    need_nginx()
    found = find_nginx()
    assert found.version >= (1, 21, 1)
    assert found.module is None or found.module.is_file()


def test_a_configuration_that_nginx_refuses_is_no_traceback(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_nginx()
    monkeypatch.setattr(
        nginx_program.Nginx, "preamble", lambda self: "no_such_directive on;\nuser root;"
    )
    gateway = Gateway(keys / "gateway", ("localhost", 8000), "127.0.0.1", 0)
    with pytest.raises(InputError, match='unknown directive "no_such_directive"'):
        gateway.try_out()


def test_a_whole_plant_may_share_one_address(tmp_path: Path) -> None:
    need_nginx()
    keys = tmp_path / "keys"
    for count, limit in ((1, 100), (40, 320)):
        make_keys(keys, Wanted(stations=[f"station-{number}" for number in range(count)]))
        gateway = Gateway(keys / "gateway", ("localhost", 8000), "127.0.0.1", 0)
        assert f"limit_conn addresses {limit};" in gateway.try_out()

"""The station launcher with a stand-in for the SuperNode and short times."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tls_servers import tls_server

from common.cli.main import run
from common.plant.keys.making import Wanted, make_keys

FAKE = Path(__file__).parents[3] / "helpers" / "fake_supernode.py"
STARTER = """
import logging, signal, sys
from pathlib import Path
from common.plant.station.launcher import Timing, run_station
from common.plant.station.station_file import read_station_file
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="launcher: %(message)s")
timing = Timing(silent=1.5, start={start}, contact=1.0, first_wait=0.2, longest_wait=0.8, tick=0.1,
                settled={settled}, end=1.0)
run_station(read_station_file(Path({file!r})), timing, [sys.executable, {fake!r}])
"""


class Bench:
    """A station's folder, its gateway in form of an echo, and its launcher."""

    def __init__(self, folder: Path, own: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.cache = folder / "cache"
        self.file = folder / "station.toml"
        for name in ("images", "fake"):
            (folder / name).mkdir()
        for name in ("ca.crt", "station.key", "station.pem", "app.pub"):
            shutil.copy(own / name, folder / name)
        self.file.write_text(
            'station = "clips"\ndata-root = "images"\ncache-dir = "cache"\ncache-limit-gb = 2\n'
            f'[server]\naddress = "127.0.0.1:{port}"\nca = "ca.crt"\nkey = "station.key"\n'
            'certificate = "station.pem"\napp-key = "app.pub"\n'
        )

    @contextlib.contextmanager
    def launcher(
        self, *plan: str, settled: float = 600, start: float = 60, **environment: str | None
    ) -> Iterator[subprocess.Popen[bytes]]:
        (self.folder / "fake" / "plan").write_text("\n".join(plan))
        code = STARTER.format(file=str(self.file), fake=str(FAKE), settled=settled, start=start)
        wanted = {**os.environ, "FAKE_FOLDER": str(self.folder / "fake"), **environment}
        with (self.folder / "launcher.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdout=log,
                stderr=log,
                env={name: value for name, value in wanted.items() if value is not None},
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            finally:
                process.kill()
                process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "launcher.log").read_text()

    @property
    def starts(self) -> list[dict[str, Any]]:
        path = self.folder / "fake" / "starts.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]


def wait_for(what: str, done: Callable[[], object], seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, f"{what} did not come true"
        time.sleep(0.05)


def running(pid: int) -> bool:
    """Whether a process lives; one that has ended but is not yet buried does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant") / "keys"
    make_keys(folder, Wanted(stations=["clips"]))
    return folder


@pytest.fixture
def bench(tmp_path: Path, keys: Path) -> Iterator[Bench]:
    def echo(one: socket.socket) -> None:
        one.settimeout(None)
        while piece := one.recv(1000):
            one.sendall(piece)

    with tls_server(keys / "gateway" / "gateway.crt", echo, keys) as port:
        yield Bench(tmp_path, keys / "stations" / "clips", port)


def test_a_supernode_is_started_as_flower_wants_it(bench: Bench) -> None:
    with bench.launcher("talk", https_proxy="http://proxy:1") as process:
        wait_for("the station taken", lambda: "server has taken this station" in bench.log)
        (start,) = bench.starts
        options, environment = start["options"], start["environment"]
        host, port = options["superlink"].split(":")
        assert host == "127.0.0.1"
        assert int(port) not in (bench.port, int(options["port"]))
        assert options["root-certificates"] == str(bench.folder / "ca.crt")
        assert options["auth-supernode-private-key"] == str(bench.folder / "station.key")
        assert options["node-config"] == (
            f"station='clips' data-root='{bench.folder / 'images'}' "
            f"cache-dir='{bench.cache}' cache-limit-gb=2.0 "
            f"app-key='{bench.folder / 'app.pub'}' station-key='{bench.folder / 'station.key'}' "
            f"models-dir='{bench.cache / 'models'}' keep-models=5 activate='auto'"
        )
        assert start["session"]
        assert environment["FLWR_HOME"] == str(bench.cache / "flower")
        assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
        assert environment["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
        assert "127.0.0.1" in environment["no_proxy"]
        assert stat.S_IMODE(bench.cache.stat().st_mode) == 0o700
        # Long enough for a talking SuperNode to be taken for a silent one.
        time.sleep(3)
        assert len(bench.starts) == 1
        alive = (bench.cache / "alive").stat().st_mtime
        assert time.time() - alive < 3
        begun = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 5
    assert not running(start["pid"])
    assert not (bench.cache / "alive").exists()
    assert bench.log.rstrip().endswith("launcher: station ended")


def test_one_that_ends_is_started_again_at_growing_distances(bench: Bench) -> None:
    refused = "exit:1:[code: 2004] Failed to activate SuperNode."
    plan = (refused, refused, "exit:1:something new", refused, refused, "talk")
    with bench.launcher(*plan):
        wait_for("the sixth start", lambda: len(bench.starts) == 6)
        wait_for("the station taken", lambda: "server has taken this station" in bench.log)
    times = [start["time"] for start in bench.starts]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    # 0.2 s, doubled up to 0.8 s, and what a start takes.
    for gap, wait in zip(gaps, (0.2, 0.4, 0.8, 0.8, 0.8), strict=True):
        assert wait <= gap < wait + 4
    assert bench.log.count("the server refused this station's key (code 2004)") == 4
    assert "ended with exit code 1; its last lines above say why" in bench.log
    assert "something new" in bench.log


def test_a_long_life_makes_the_distance_short_again(bench: Bench) -> None:
    with bench.launcher("exit:1:a", "exit:1:b", "exit:1:c", "talk", "talk", settled=1.0):
        wait_for("the fourth start", lambda: len(bench.starts) == 4)
        time.sleep(1.5)
        os.kill(bench.starts[3]["pid"], signal.SIGKILL)
        wait_for("the fifth start", lambda: len(bench.starts) == 5)
    waits = re.findall(r"starting it again in (\S+) s", bench.log)
    assert waits == ["0", "0", "1", "0"]  # 0.2, 0.4, 0.8 and 0.2 s, rounded
    assert "killed by signal 9 (SIGKILL)" in bench.log


def test_a_silent_one_is_ended_and_replaced(bench: Bench) -> None:
    with bench.launcher("mute", "talk"):
        wait_for("the first start", lambda: bench.starts)
        first = bench.starts[0]
        wait_for("contact", lambda: (bench.cache / "alive").exists())
        wait_for("the second start", lambda: len(bench.starts) == 2)
        assert not running(first["pid"])
        assert 1.5 < bench.starts[1]["time"] - first["time"] < 12
        wait_for("contact again", lambda: bench.log.count("has taken this station") == 2)
    assert re.search(r"the SuperNode has sent nothing for \d+ s: it runs but works no", bench.log)


def test_one_that_never_says_a_word_is_replaced(bench: Bench) -> None:
    with bench.launcher("dumb", "talk", start=2.5):
        wait_for("the second start", lambda: len(bench.starts) == 2)
        assert bench.starts[1]["time"] - bench.starts[0]["time"] > 2
    assert re.search(r"has not turned to the server within \d+ s", bench.log)


def test_one_whose_heartbeat_broke_is_replaced(bench: Bench) -> None:
    with bench.launcher("broken-heartbeat", "talk"):
        wait_for("the second start", lambda: len(bench.starts) == 2)
    assert "the SuperNode's heartbeat broke" in bench.log


def test_one_that_ignores_its_end_is_killed_with_all_its_own(bench: Bench) -> None:
    with bench.launcher("stubborn") as process:
        wait_for("the start", lambda: "has taken this station" in bench.log)
        process.terminate()
        assert process.wait(10) == 0
    assert not running(bench.starts[0]["pid"])


def test_a_child_that_left_the_session_ends_too(bench: Bench) -> None:
    with bench.launcher("family", "talk") as process:
        wait_for("the start", lambda: "has taken this station" in bench.log)
        node = bench.starts[0]["pid"]
        children = Path(f"/proc/{node}/task/{node}/children").read_text().split()
        assert len(children) == 2
        os.kill(node, signal.SIGKILL)
        wait_for("the second start", lambda: len(bench.starts) == 2)
        assert not any(running(int(child)) for child in children)
        process.terminate()
        assert process.wait(10) == 0


def test_a_killed_launcher_takes_its_supernode_along(bench: Bench) -> None:
    with bench.launcher("talk") as process:
        wait_for("the start", lambda: bench.starts)
        process.kill()
        process.wait()
        wait_for("its end", lambda: not running(bench.starts[0]["pid"]), 5)


def test_a_launcher_that_was_stopped_does_not_blame_the_supernode(bench: Bench) -> None:
    """As in a paused container: time passes, and nobody could say anything."""
    with bench.launcher("talk") as process:
        wait_for("the start", lambda: "has taken this station" in bench.log)
        node = bench.starts[0]["pid"]
        os.kill(node, signal.SIGSTOP)
        process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        os.kill(node, signal.SIGCONT)
        time.sleep(1.5)
        assert len(bench.starts) == 1
        assert "has sent nothing" not in bench.log


def test_the_alive_file_grows_old_without_answers(bench: Bench) -> None:
    with bench.launcher("talk"):
        wait_for("contact", lambda: (bench.cache / "alive").exists())
    bench.file.write_text(bench.file.read_text().replace(f":{bench.port}", ":9"))
    with bench.launcher("talk"):
        wait_for("the start", lambda: len(bench.starts) == 2)
        time.sleep(2.5)
        # It tries and tries, so it is not silent; but nobody answers.
        assert len(bench.starts) == 2
        assert not (bench.cache / "alive").exists()
    assert "the gateway 127.0.0.1:9 cannot be reached" in bench.log


def test_two_launchers_do_not_share_a_cache(bench: Bench) -> None:
    with bench.launcher("talk") as first:
        wait_for("the start", lambda: bench.starts)
        code = run_and_read(bench)
        assert code[0] == 1
        assert f"running with this cache already, as process {first.pid}" in code[1]
    assert len(bench.starts) == 1


def run_and_read(bench: Bench) -> tuple[int, str]:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "fedpatchcore"), "plant", "station", str(bench.file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("missing", "word"),
    [
        ("images", "data-root"),
        ("ca.crt", "server.ca"),
        ("station.key", "server.key"),
        ("station.pem", "server.certificate"),
        ("app.pub", "server.app-key"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(
    bench: Bench, missing: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bench.folder / missing
    path.rmdir() if path.is_dir() else path.unlink()
    assert run(["plant", "station", str(bench.file)]) == 2
    _, err = capsys.readouterr()
    assert word in err
    assert str(path) in err
    assert "Traceback" not in err
    assert bench.starts == []


@pytest.mark.parametrize("name", ["ca.crt", "station.pem"])
def test_what_is_no_certificate_is_said_before_anything_starts(
    bench: Bench, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (bench.folder / name).write_text("nothing of the kind")
    assert run(["plant", "station", str(bench.file)]) == 2
    err = capsys.readouterr().err
    assert f"{bench.folder / name}: cannot be used" in err
    assert "Traceback" not in err
    assert bench.starts == []


def test_a_cache_that_cannot_be_made_is_said(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.cache.write_text("a file, not a folder")
    assert run(["plant", "station", str(bench.file)]) == 2
    assert "cache-dir" in capsys.readouterr().err


def test_without_a_home_everything_private_lies_in_the_cache(bench: Bench) -> None:
    with bench.launcher("talk", HOME=None, NUMBA_CACHE_DIR=None):
        wait_for("the start", lambda: bench.starts)
        environment = bench.starts[0]["environment"]
    for name in ("HOME", "FLWR_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        assert Path(environment[name]).parent == bench.cache
        assert Path(environment[name]).is_dir()


@pytest.mark.parametrize("command", ["gateway", "station"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plant", command, "--help"]) == 0
    assert f"Example: fedpatchcore plant {command}" in " ".join(capsys.readouterr().out.split())

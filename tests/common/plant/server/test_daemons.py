"""The server's daemons: what they refuse to start with, and the commands that they become."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.cli.main import run
from common.errors import InputError
from common.plant.keys.certificates import (
    certificate_pem,
    new_private_key,
    read_certificate,
    read_private_key,
)
from common.plant.keys.making import Wanted, make_keys
from common.plant.keys.signing import make_server_certificate
from common.plant.server import daemons


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Folder `server` of a plant with two stations."""
    make_keys(tmp_path / "keys", Wanted(stations=("north", "south")))
    return tmp_path / "keys" / "server"


def options(daemon: daemons.Daemon) -> dict[str, str]:
    words = [word for word in daemon.command if word.startswith("--")]
    return dict((word + "=").split("=")[:2] for word in words)


def program(daemon: daemons.Daemon) -> list[str]:
    """The command without its options."""
    return [word for word in daemon.command if not word.startswith("--")]


def test_the_superlink_is_closed_to_whoever_has_no_key(keys: Path, tmp_path: Path) -> None:
    daemon = daemons.superlink(keys, tmp_path / "state", "127.0.0.1", 8000)
    given = options(daemon)
    assert "--enable-supernode-auth" in given
    assert "--insecure" not in given
    assert given["--isolation"] == "process"
    assert given["--superexec-auth-secret-file"] == str(keys / "executor.secret")
    assert given["--ssl-keyfile"] == str(keys / "superlink.key")
    assert given["--database"] == str(tmp_path / "state" / "state.db")
    assert "--disable-runtime-dependency-installation" in given
    assert daemon.environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_the_executor_is_told_where_runs_go_and_who_belongs_to_the_plant(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    daemon = daemons.executor(keys, "superlink:8000", tmp_path / "runs")
    assert options(daemon)["--runtime-api-address"] == "superlink:8000"
    assert daemon.environment["FEDPATCHCORE_RUNS"] == str(tmp_path / "runs")
    assert daemon.environment["FEDPATCHCORE_STATIONS"] == str(keys / "stations")
    assert daemon.environment["FEDPATCHCORE_APP_KEY"] == str(keys / "app.key")
    # A service's user may have no home to write to.
    for name in ("FLWR_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
        assert Path(daemon.environment[name]).is_relative_to(tmp_path / "runs")
    # It holds no key of the SuperLink's: these are not asked for.
    (keys / "superlink.key").unlink()
    (keys / "superlink.crt").unlink()
    daemons.executor(keys, "superlink:8000", tmp_path / "runs")


def test_flower_understands_every_option(keys: Path, tmp_path: Path) -> None:
    """Their own `--help` lists each option that is given."""
    for daemon in (
        daemons.superlink(keys, tmp_path / "state", "127.0.0.1", 8000),
        daemons.executor(keys, "superlink:8000", tmp_path / "runs"),
    ):
        ours = [word for word in daemon.command if word.startswith("--trusted-app=")]
        done = subprocess.run(
            [*program(daemon), *ours, "--help"],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env=daemon.environment,
        )
        for option in options(daemon).keys() - {"--trusted-app"}:
            assert option in done.stdout


@pytest.mark.parametrize("name", ["ca.crt", "superlink.key", "superlink.crt", "executor.secret"])
def test_a_missing_file_is_named(keys: Path, tmp_path: Path, name: str) -> None:
    (keys / name).unlink()
    with pytest.raises(InputError, match=name):
        daemons.superlink(keys, tmp_path / "state", "127.0.0.1", 8000)


@pytest.mark.parametrize("name", ["superlink.key", "executor.secret"])
def test_what_others_can_read_is_no_secret(keys: Path, tmp_path: Path, name: str) -> None:
    (keys / name).chmod(0o640)
    with pytest.raises(InputError, match=rf"{name}.*mode 640.*chmod 600"):
        daemons.superlink(keys, tmp_path / "state", "127.0.0.1", 8000)


def test_an_executor_signs_with_an_app_key_that_nobody_else_can_read(
    keys: Path, tmp_path: Path
) -> None:
    path = keys / "app.key"
    path.chmod(0o640)
    with pytest.raises(InputError, match=r"app\.key.*mode 640.*chmod 600"):
        daemons.executor(keys, "superlink:8000", tmp_path / "runs")
    path.chmod(0o600)
    path.write_bytes((keys / "superlink.key").read_bytes())
    with pytest.raises(InputError, match=r"app\.key: found a \w+; expected app\.key"):
        daemons.executor(keys, "superlink:8000", tmp_path / "runs")
    path.unlink()
    with pytest.raises(InputError, match=r"app\.key: cannot be read"):
        daemons.executor(keys, "superlink:8000", tmp_path / "runs")


def test_a_certificate_of_another_time_or_key_is_refused(keys: Path, tmp_path: Path) -> None:
    root = keys.parent
    authority, signer = read_certificate(root / "ca.crt"), read_private_key(root / "ca.key")
    own = read_private_key(keys / "superlink.key")
    now = dt.datetime.now(dt.UTC)

    def signed(key: object, when: dt.datetime) -> None:
        made = make_server_certificate(["superlink"], key, authority, signer, when, days=2)  # type: ignore[arg-type]
        (keys / "superlink.crt").write_bytes(certificate_pem(made))

    signed(own, now - dt.timedelta(days=30))
    with pytest.raises(InputError, match=r"expired on .*--renew"):
        daemons.superlink(keys, tmp_path / "state", "127.0.0.1", 8000)
    signed(own, now + dt.timedelta(days=30))
    with pytest.raises(InputError, match="set the clock"):
        daemons.superlink(keys, tmp_path / "state", "127.0.0.1", 8000)
    signed(new_private_key(), now)
    with pytest.raises(InputError, match="was not made for"):
        daemons.superlink(keys, tmp_path / "state", "127.0.0.1", 8000)
    make_keys(tmp_path / "others", Wanted(stations=("north",)))
    signed(own, now)
    (keys / "ca.crt").write_bytes((tmp_path / "others" / "ca.crt").read_bytes())
    with pytest.raises(InputError, match="was not signed by"):
        daemons.superlink(keys, tmp_path / "state", "127.0.0.1", 8000)


def test_an_executor_without_stations_would_refuse_everybody(keys: Path, tmp_path: Path) -> None:
    for path in (keys / "stations").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"no <name>\.pub file"):
        daemons.executor(keys, "superlink:8000", tmp_path / "runs")


def test_a_folder_that_cannot_be_made_is_named(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--state .*file/state"):
        daemons.superlink(keys, tmp_path / "file" / "state", "127.0.0.1", 8000)
    with pytest.raises(InputError, match=r"--runs .*file/runs"):
        daemons.executor(keys, "superlink:8000", tmp_path / "file" / "runs")


def test_the_process_becomes_the_program(tmp_path: Path) -> None:
    """Signals reach it, and its exit code is ours: there is no shell or parent between."""
    script = (
        "import os, sys; from pathlib import Path; from common.plant.server.daemons import Daemon; "
        f"print(os.getpid(), flush=True); "
        f"Daemon(({sys.executable!r}, '-c', 'import os, sys; print(os.getpid(), os.getcwd(), "
        f"dict(os.environ)); sys.exit(7)'), {{'ONLY': 'this'}}, Path({str(tmp_path)!r})).become()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    before, after = done.stdout.splitlines()
    number, folder, environment = after.split(" ", 2)
    assert done.returncode == 7
    assert number == before
    assert folder == str(tmp_path)
    assert json.loads(environment.replace("'", '"'))["ONLY"] == "this"


def test_wrong_input_is_one_line(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = str(tmp_path / "state")
    assert run(["plant", "superlink", "--keys", str(tmp_path / "no"), "--state", state]) == 2
    assert "fedpatchcore keys" in capsys.readouterr().err
    command = ["plant", "executor", "--keys", str(keys), "--runs", str(tmp_path / "runs")]
    assert run([*command, "--superlink", "https://superlink:8000"]) == 2
    assert "HOST:PORT" in capsys.readouterr().err
    assert not os.path.exists(state)

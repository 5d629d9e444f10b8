"""Without a private name of Flower: what starts says in one line what to install."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest
from flwr.app import Context, RecordDict
from hook_cases import losses, remove

from common.cli.main import run
from common.config import Settings
from common.errors import InputError
from common.hooks.lookup import require
from common.hooks.table import (
    ACTIVATE,
    DATABASE_CHOICES,
    DATABASE_OPENED,
    HTTP_GRID,
    LAUNCHED,
    PACK_APP,
    RETRIES,
    SERVERAPP,
    SERVERAPP_RUN,
    SUPEREXEC,
    SUPEREXEC_LOOP,
    SUPEREXEC_STARTS,
    SUPERLINK,
    SUPERNODE,
    SUPERNODE_CALLS,
    SUPERNODE_LOOP,
    SUPERNODE_MESSAGE,
    SUPERNODE_REFUSAL,
    SUPERNODE_TREE,
    TASK,
    TASK_CLAIMED,
    TASK_PATIENCE,
    TASK_SECONDS,
    UNPACK_APP,
    Hook,
)
from common.plant.keys.making import Wanted, make_keys
from common.plant.keys.station_keys import read_station_key
from common.plant.preflight.connection import Line, trusting
from common.plant.preflight.findings import Preflight
from common.plant.preflight.registration import check_registration
from common.plant.server import executor_program, serverapp_program, superlink_program
from common.plant.station import supernode_program
from common.plant.station.station_file import read_station_file
from server_app.app import app as server_app

SERVERS = (SERVERAPP, SERVERAPP_RUN, UNPACK_APP, TASK)
#: Flower's programs in our own processes: by the module that prepares them.
PROGRAMS = {
    supernode_program: (
        *(SUPERNODE, SUPERNODE_LOOP, SUPERNODE_CALLS, SUPERNODE_REFUSAL),
        *(SUPERNODE_MESSAGE, SUPERNODE_TREE),
        *(TASK_CLAIMED, TASK_SECONDS, TASK_PATIENCE),
    ),
    executor_program: (SUPEREXEC, SUPEREXEC_LOOP, SUPEREXEC_STARTS, LAUNCHED, *SERVERS),
    serverapp_program: SERVERS,
    superlink_program: (SUPERLINK, DATABASE_CHOICES, DATABASE_OPENED),
}
COMMAND = ["status", "--superlink", "127.0.0.1:1"]


def of_plant() -> list[object]:
    """What the commands of a plant need."""
    others = {ACTIVATE, HTTP_GRID, RETRIES, PACK_APP, *chain.from_iterable(PROGRAMS.values())}
    return [case for case in losses("flwr") if case.values[0] not in others]


def of_programs() -> list[object]:
    """What our programs in the place of Flower's need, each of them."""
    return [
        pytest.param(module, *case.values, id=f"{module.__name__}: {case.id}")
        for case in losses("flwr")
        for module, hooks in PROGRAMS.items()
        if case.values[0] in hooks
    ]


@pytest.mark.parametrize(("hook", "lost"), of_plant())
def test_a_command_says_which_version_to_install(
    hook: Hook,
    lost: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "ca.crt").write_text("-")
    command, *options = COMMAND
    remove(monkeypatch, hook, lost)
    assert run(["plant", command, "--keys", str(tmp_path), *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    missing = f"{hook.name}.{lost}" if lost else hook.name
    pin = f"{hook.library}=={hook.first}"
    assert line.startswith(f"fedpatchcore: {hook.library} {hook.first} has no {missing} (")
    assert line.endswith(f'tested with {pin.replace("==", " ")}: pip install "{pin}"')


@pytest.mark.parametrize(("module", "hook", "lost"), of_programs())
def test_a_program_says_which_version_to_install_before_it_is_flowers(
    module: ModuleType,
    hook: Hook,
    lost: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["flower-x", "--trusted-app=any"])
    monkeypatch.delenv("FLWR_HOME", raising=False)  # looked at later
    remove(monkeypatch, hook, lost)
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    missing = f"{hook.name}.{lost}" if lost else hook.name
    assert line.startswith(f"fedpatchcore: flwr 1.41.0 has no {missing} (")
    assert line.endswith('tested with flwr 1.41.0: pip install "flwr==1.41.0"')


@pytest.mark.parametrize("command", [["app"], ["executor", "--runs", "runs", "--superlink", "a:1"]])
def test_without_flowers_packing_nobody_knows_the_installed_app(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_keys(tmp_path / "keys", Wanted(stations=("north",)))
    monkeypatch.chdir(tmp_path)
    remove(monkeypatch, PACK_APP)
    keys = ["--keys", str(tmp_path / "keys" / "server")] if command[1:] else []
    assert run(["plant", *command, *keys]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"fedpatchcore: flwr 1.41.0 has no {PACK_APP.name} (")


def test_a_preflight_without_the_question_says_what_it_cannot_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_keys(tmp_path / "keys", Wanted(stations=("north",)))
    home = tmp_path / "keys/stations/north"
    (home / "station.toml").write_text(
        'station = "north"\ndata-root = "d"\ncache-dir = "c"\n[server]\naddress = "a:1"\n'
        'ca = "ca.crt"\nkey = "station.key"\ncertificate = "station.pem"\napp-key = "app.pub"\n'
    )
    file, report = read_station_file(home), Preflight(home, "north")
    remove(monkeypatch, ACTIVATE)
    line = Line([], "a", trusting(file.ca))
    assert check_registration(line, "a:1", read_station_key(file.key), file, report) is None
    assert [finding.kind for finding in report.findings] == ["registration-unknown"]


def start(grid: object, out: Path) -> None:
    """Start the server's app as Flower does."""
    settings = Settings(output_dir=str(out), min_stations=1)
    server_app(grid=grid, context=Context(5, 0, {}, RecordDict(), settings.to_run_config()))


@pytest.fixture
def grid() -> Iterator[object]:
    grid = require(HTTP_GRID)("127.0.0.1:1", insecure=True, token="t")
    yield grid
    grid.close()


def test_the_servers_app_starts_no_run_with_another_flower(
    grid: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove(monkeypatch, HTTP_GRID)
    with pytest.raises(InputError, match=r'pip install "flwr==1\.41\.0"$') as error:
        start(grid, tmp_path / "run")
    assert "has no flwr.superlink.grid.HttpGrid (" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("lost", ["", *RETRIES.needs])
def test_a_plants_run_without_a_way_to_ask_again_fails_at_its_start(
    lost: str, grid: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path))
    owner = require(RETRIES, grid) if lost else grid
    monkeypatch.delattr(owner, lost or RETRIES.name.partition(":")[2])
    with pytest.raises(InputError, match=r'pip install "flwr==1\.41\.0"$'):
        start(grid, tmp_path / "elsewhere")
    written = json.loads((tmp_path / "5" / "run.json").read_text())
    assert written["status"] == "failed"
    assert f"has no {RETRIES.name}" in written["error"]

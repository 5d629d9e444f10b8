"""Without a private name of Flower or uvicorn: what starts says in one line what to install."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from hook_cases import forget, losses, remove

from common.cli.main import run
from common.config import Settings
from common.errors import InputError
from common.hooks.lookup import require
from common.hooks.table import HTTP_GRID, RETRIES, Hook
from server_app.app import app as server_app

GATEWAY = "common.plant.server.gateway_server"
COMMANDS = {
    "uvicorn": ["gateway", "--superlink", "127.0.0.1:1"],
    "flwr": ["status", "--superlink", "127.0.0.1:1"],
}


def of_plant() -> list[object]:
    """What the commands of a plant need."""
    return [
        case for case in losses("flwr", "uvicorn") if case.values[0] not in (HTTP_GRID, RETRIES)
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
    command, *options = COMMANDS[hook.library]
    forget(monkeypatch, GATEWAY)
    remove(monkeypatch, hook, lost)
    assert run(["plant", command, "--keys", str(tmp_path), *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    missing = f"{hook.name}.{lost}" if lost else hook.name
    pin = f"{hook.library}=={hook.first}"
    assert line.startswith(f"fedpatchcore: {hook.library} {hook.first} has no {missing} (")
    assert line.endswith(f'tested with {pin.replace("==", " ")}: pip install "{pin}"')


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

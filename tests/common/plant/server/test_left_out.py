"""`plant run --without`: names are looked at before anything is submitted."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from common.cli.main import app
from common.config import Settings
from common.errors import InputError
from common.plant.server.administration import Plant, require_members


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    (folder / "stations").mkdir(parents=True)
    (folder / "ca.crt").touch()
    for name in ("gate", "mill"):
        (folder / "stations" / f"{name}.pub").touch()
    return folder


def test_names_of_the_plants_stations_pass(keys: Path) -> None:
    require_members(Plant(keys, "here:1"), ())
    require_members(Plant(keys, "here:1"), ("mill",))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("mil",), r"--without mil: no such station in .*; known ones are: gate, mill"),
        (("gate", "mill"), "all stations are left out: gate, mill"),
    ],
)
def test_others_are_one_clear_error(keys: Path, names: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        require_members(Plant(keys, "here:1"), names)


def test_the_command_says_so_and_submits_nothing(keys: Path) -> None:
    words = ["plant", "run", "--keys", str(keys), "--superlink", "127.0.0.1:1"]
    found = CliRunner().invoke(app, [*words, "--without", "mil", "--set", "without=gate"])
    assert isinstance(found.exception, InputError | SystemExit)
    told = str(found.exception) if isinstance(found.exception, InputError) else found.output
    assert "known ones are: gate, mill" in told


def test_several_names_in_one_setting() -> None:
    assert Settings(without=" mill, gate,mill,").left_out == ("gate", "mill")
    assert Settings().left_out == ()

"""Letting stations in and out at a real SuperLink, and what is said when it cannot be reached."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import MARK, free_port, marked, started, wait_for

from common.cli.main import run as run_command
from common.errors import InputError, RunError
from common.plant.keys.certificates import new_private_key
from common.plant.keys.making import Wanted, make_keys
from common.plant.keys.station_keys import private_openssh, read_station_key
from common.plant.preflight.connection import Line, resolve, trusting
from common.plant.preflight.findings import Preflight
from common.plant.preflight.registration import check_registration
from common.plant.server import daemons
from common.plant.server.administration import Plant, register, runs, stations
from common.plant.station.station_file import read_station_file

pytestmark = pytest.mark.flower


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A SuperLink with TLS and station keys; two stations have keys, none is registered."""
    root, port, mark = tmp_path_factory.mktemp("administered"), free_port(), uuid.uuid4().hex
    make_keys(root / "keys", Wanted(stations=("north", "south")))
    daemon = daemons.superlink(root / "keys" / "server", root / "state", "127.0.0.1", port)
    environment = {**daemon.environment, MARK: mark}
    with started(list(daemon.command), root / "superlink.log", environment):
        there = Plant(root / "keys" / "server", f"127.0.0.1:{port}")

        def answers() -> bool:
            try:
                return stations(there) == []
            except RunError:
                return False

        wait_for("the SuperLink's first answer", answers, 120)
        yield there
    wait_for("the end of all processes", lambda: not marked(mark), 30)


@pytest.fixture(autouse=True)
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose way to the world is a proxy: a plant's own SuperLink is not behind it."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "")


def test_stations_are_let_in_once_and_out_again(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register(plant) == {"north": "registered", "south": "registered"}
    assert register(plant) == {"north": "known already", "south": "known already"}
    first = {node.name: node for node in stations(plant)}
    assert {name: node.status for name, node in first.items()} == {
        "north": "registered",
        "south": "registered",
    }
    members, away = plant.keys / "stations", plant.keys.parent / "away"
    away.mkdir()

    # Who is to go must not come back with the next registration.
    with pytest.raises(InputError, match=r"still in .*south\.pub"):
        register(plant, ["south"])
    shutil.move(members / "south.pub", away / "south.pub")
    with pytest.raises(InputError, match="no station of this name; registered: north, south"):
        register(plant, ["west"])
    assert register(plant, ["south"]) == {"north": "known already", "south": "removed"}
    assert [node.name for node in stations(plant)] == ["north"]

    # One key, one name; one name, one key.
    shutil.copy(members / "north.pub", members / "other.pub")
    with pytest.raises(RunError, match=r"other\.pub: this key is registered as 'north'"):
        register(plant)
    (members / "other.pub").unlink()
    shutil.move(members / "north.pub", away / "north.pub")
    make_keys(plant.keys.parent.parent / "others", Wanted(stations=("north",)))
    other = plant.keys.parent.parent / "others" / "server" / "stations" / "north.pub"
    shutil.copy(other, members / "north.pub")
    with pytest.raises(RunError, match="north is registered with another key"):
        register(plant)
    shutil.move(away / "north.pub", members / "north.pub")

    # Flower takes no key twice: who comes back needs a new one.
    shutil.move(away / "south.pub", members / "south.pub")
    with pytest.raises(RunError, match=r"south\.pub: this key was removed before"):
        register(plant)
    new = Wanted(stations=("south",))
    make_keys(plant.keys.parent.parent / "anew", new)
    shutil.copy(
        plant.keys.parent.parent / "anew" / "server" / "stations" / "south.pub",
        members / "south.pub",
    )

    # What an administrator sees.
    where = ["--keys", str(plant.keys), "--superlink", plant.address]
    assert run_command(["plant", "status", *where]) == 0
    shown = capsys.readouterr().out
    assert "not registered" in shown
    assert runs(plant) == []
    assert run_command(["plant", "register", *where]) == 0
    assert "south: registered" in capsys.readouterr().out


def test_who_is_not_there_is_named(plant: Plant, tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    with pytest.raises(RunError, match=f"{nobody} cannot be reached"):
        stations(Plant(plant.keys, nobody))
    with pytest.raises(InputError, match=r"ca\.crt: no such file; --keys takes"):
        Plant(tmp_path, plant.address)


def test_another_plants_authority_is_not_trusted(
    plant: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_keys(tmp_path / "keys", Wanted(stations=("north",)))
    stranger = Plant(tmp_path / "keys" / "server", plant.address)
    with pytest.raises(RunError, match="certificate that is not to be trusted"):
        stations(stranger)
    where = ["--keys", str(stranger.keys), "--superlink", plant.address]
    assert run_command(["plant", "run", *where]) == 1
    shown = capsys.readouterr()
    assert "not to be trusted" in shown.err
    assert "submitted" not in shown.out


def test_settings_are_looked_at_before_anything_is_sent(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--keys", str(plant.keys), "--superlink", plant.address]
    assert run_command(["plant", "run", *where, "--set", "global-bank-sise=3"]) == 2
    assert "global-bank-size" in capsys.readouterr().err
    assert run_command(["plant", "status", *where, "first"]) == 2
    assert "expected digits" in capsys.readouterr().err
    assert os.environ["no_proxy"] == ""


def preflight_of(
    plant: Plant, name: str, key: Path | None = None, ahead: dt.timedelta = dt.timedelta()
) -> Preflight:
    """What a station's preflight finds when it asks the SuperLink about its key."""
    home = plant.keys.parent / "stations" / name
    file = home / "station.toml"
    file.write_text(
        f'station = "{name}"\ndata-root = "data"\ncache-dir = "cache"\n[server]\n'
        f'address = "{plant.address}"\nca = "ca.crt"\nkey = "{key or "station.key"}"\n'
        'certificate = "station.pem"\napp-key = "app.pub"\n'
    )
    station, report = read_station_file(file), Preflight(file, name)
    host, port = station.address
    line = Line(resolve(host, port), host, trusting(station.ca))
    now = dt.datetime.now(dt.UTC) + ahead
    check_registration(line, plant.address, read_station_key(station.key), station, report, now)
    return report


def test_a_preflight_asks_whether_a_key_is_registered_and_changes_nothing(
    plant: Plant, tmp_path: Path
) -> None:
    register(plant)
    before = stations(plant)
    for _ in range(2):
        report = preflight_of(plant, "north")
        assert report.findings == []
        assert report.facts == {"registered": "the server knows this station's key"}
    stranger = tmp_path / "stranger.key"
    stranger.write_bytes(private_openssh(new_private_key()))
    report = preflight_of(plant, "north", stranger)
    assert [finding.kind for finding in report.findings] == ["not-registered"]
    # As the SuperLink tells of it: neither online nor seen.
    assert stations(plant) == before


def test_a_preflight_meets_the_servers_own_limits_of_the_clock(plant: Plant) -> None:
    """Wrongly passed: 240 s ahead were fine by the preflight, 6 s are refused by the server."""
    register(plant)
    for seconds, expected in (
        *((0, []), (3, []), (-290, [])),
        *((6, ["key-refused"]), (240, ["key-refused"]), (-310, ["key-refused"])),
    ):
        report = preflight_of(plant, "north", ahead=dt.timedelta(seconds=seconds))
        assert [finding.kind for finding in report.findings] == expected, seconds

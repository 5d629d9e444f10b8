"""The systemd units: their commands exist, they are locked in, they write to their own folders."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from requirements import missing
from typer.testing import CliRunner

from common.cli.main import app

FOLDER = Path(__file__).parents[1] / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
PROGRAM = "/opt/fedpatchcore/.venv/bin/fedpatchcore"
LOCKED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "CapabilityBoundingSet": "",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "SystemCallFilter": "@system-service",
    "Restart": "always",
}


def service(path: Path) -> dict[str, str]:
    """The [Service] section; long lines joined."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text().replace("\\\n", " "))
    return dict(parser["Service"])


def environment(unit: dict[str, str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(unit.get("Environment", "")))


def command(path: Path, line: str = "") -> tuple[list[str], str, list[str]]:
    """Groups, verb and further words of a unit's command, of the station clip-inspection."""
    _, *words = shlex.split((line or service(path)["ExecStart"]).replace("%i", "clip-inspection"))
    groups = words[:1] if words[0] == "plant" else []
    verb, *more = words[len(groups) :]
    return groups, verb, more


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_is_a_unit_for_every_daemon() -> None:
    verbs = {command(path)[1] for path in UNITS}
    assert verbs == {"superlink", "executor", "gateway", "station", "serve"}


def test_its_command_is_one_of_ours_with_these_options(unit: Path) -> None:
    known = environment(service(unit))
    line = service(unit)["ExecStart"]
    assert set(re.findall(r"\$\{(\w+)\}", line)) == set(known)
    for name, value in known.items():
        line = line.replace(f"${{{name}}}", value)
    assert shlex.split(line)[0] == PROGRAM
    groups, verb, words = command(unit, line)
    # Click reads the very words; --help then ends it before anything is started.
    found = typer.main.get_command(app)
    for name in (*groups, verb):
        found = found.commands[name]  # type: ignore[attr-defined]
    context = found.make_context(verb, words)
    missing_ones = {name for name, value in context.params.items() if value is None}
    # `serve` has options that may stay away: its station file says the rest.
    assert "model" not in missing_ones if verb == "serve" else not missing_ones
    shown = CliRunner().invoke(app, [*groups, verb, "--help"])
    assert shown.exit_code == 0


def test_it_runs_locked_in_as_a_user_of_its_own(unit: Path) -> None:
    found = service(unit)
    assert {key: found[key] for key in LOCKED} == LOCKED
    assert found["User"] == found["Group"] == unit.stem.rstrip("@")
    assert f"u {found['User']} " in (FOLDER / "sysusers.conf").read_text()
    assert float(found["RestartSec"]) > 0
    assert re.fullmatch(r"\d+[MG]", found["MemoryMax"])


def test_it_may_write_to_its_own_folder_alone(unit: Path) -> None:
    found = service(unit)
    own = found.get("StateDirectory"), found.get("CacheDirectory")
    places = {f"/var/lib/{own[0]}", f"/var/cache/{own[1]}"}
    first, *more = found["ReadWritePaths"].split()
    assert first in places
    # The one folder that two share: the station writes its models, its service reads them.
    assert more == (["-/var/lib/fedpatchcore-models/%i"] if "station" in unit.stem else [])
    words = shlex.split(found["ExecStart"])
    for option in ("--state", "--runs"):
        if option in words:
            assert words[words.index(option) + 1].startswith(found["ReadWritePaths"])


def test_a_line_reads_the_models_of_its_station_and_nothing_else_of_it() -> None:
    line = service(FOLDER / "fedpatchcore-line@.service")
    station = service(FOLDER / "fedpatchcore-station@.service")
    users = (FOLDER / "sysusers.conf").read_text().splitlines()
    assert line["SupplementaryGroups"] == "fedpatchcore-models"
    assert "SupplementaryGroups" not in station
    assert [one.split()[1:3] for one in users if one.startswith("m ")] == [
        ["fedpatchcore-line", "fedpatchcore-models"]
    ]
    # New models are open to the group of their folder; the cache is not, nor is the journal.
    assert int(station["UMask"], 8) & 0o050 == 0
    assert (station["CacheDirectoryMode"], line["StateDirectoryMode"]) == ("0700", "0700")


def test_the_superlink_is_for_this_machine_until_told_otherwise() -> None:
    found = service(FOLDER / "fedpatchcore-superlink.service")
    assert environment(found)["SUPERLINK_HOST"] == "127.0.0.1"


def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        missing("systemd", "systemd-analyze is not installed")
    ours = str(Path(sys.executable).parent / "fedpatchcore")
    for path in UNITS:
        text = path.read_text()
        assert PROGRAM in text
        (tmp_path / path.name).write_text(text.replace(PROGRAM, ours))
    copies = [str(tmp_path / path.name) for path in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *copies],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Users are made by sysusers.conf, and are not looked up here.
    assert (done.returncode, done.stderr.strip()) == (0, "")

"""Preflight of a station's service at the line: each fault alone, and none where all is well."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import shutil
import socket
import threading
from collections import namedtuple
from pathlib import Path

import pytest
from model_versions import small_model, station_toml

from common.cli.main import run
from common.errors import InputError
from common.line.journal import Journal, Verdict
from common.line.journal.schema import DATABASE
from common.line.models import ModelVersions
from common.line.service.access import Tokens
from common.plant.keys.journal_keys import head_signer
from common.plant.keys.making import make_keys
from common.plant.keys.server_keys import Wanted
from common.plant.preflight import line as line_check
from common.plant.preflight.findings import Preflight
from common.plant.preflight.station_check import check_station

VERDICT = Verdict(
    part="4711",
    category="plate",
    score=1.0,
    threshold=2.0,
    anomalous=False,
    regions=[],
    threshold_source="merged",
    model_sha256="0" * 64,
    run_id="7",
    image_sha256="1" * 64,
    name="a.png",
    source="api",
    seconds=0.1,
    program_version="0",
    error=None,
)


def free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


@pytest.fixture
def station(tmp_path: Path) -> Path:
    """A station whose line lacks nothing."""
    keys = tmp_path / "keys"
    make_keys(keys, Wanted(stations=["mill"]))
    make_keys(keys, Wanted(service="mill", hosts=["mill.example"]))
    return written(tmp_path, free_port())


def written(folder: Path, port: int, more: str = 'host = "0.0.0.0"\nkeep-gb = 0.001\n') -> Path:
    path = station_toml(folder)
    line, own = folder / "keys/services/mill", folder / "keys/stations/mill"
    path.write_text(
        path.read_text()
        .replace('"station.key"', f'"{own}/station.key"')
        .replace('"ca.crt"', f'"{own}/ca.crt"')
        + f'[line]\njournal = "journal"\nport = {port}\ncertificate = "{line}/line.crt"\n'
        f'certificate-key = "{line}/line.key"\n{more}'
    )
    versions = ModelVersions(folder / "cache/models")
    if versions.active() is None:
        versions.store("7", "7", small_model(1))
        versions.activate("7", by="test", why="the first one")
        with Journal(folder / "journal", signing=head_signer(own / "station.key")) as journal:
            journal.add_verdict(VERDICT)
        Tokens(folder / "journal").add("line")
    return path


def look(station: Path) -> Preflight:
    return check_station(station, seconds=5, line_only=True)


def kinds(station: Path) -> list[str]:
    return [finding.kind for finding in look(station).findings]


def test_where_all_is_well_there_is_nothing_to_mend(station: Path) -> None:
    report = look(station)
    assert report.findings == []
    assert report.facts["line model"].startswith("7 (sha256 ")
    # The verdict and the heads of opening and closing.
    assert report.facts["line journal"].startswith("3 rows, head of row ")
    assert report.facts["line certificate"].startswith("mill.example, localhost, 127.0.0.1, until")
    assert report.facts["line tokens"] == "1 line"
    assert report.facts["line port"].endswith(" is free")


def test_the_command_tells_it_in_lines(station: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--station", "--line", str(station)]) == 0
    assert "mill: 0 errors, 0 warnings, 0 notes; ready" in capsys.readouterr().out
    shutil.rmtree(station.parent / "cache/models/7")
    assert run(["check", "--station", "--line", str(station), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["kind"] == "line-model-damaged"
    assert "names 7 as the active model, whose folder is gone" in finding["found"]
    assert run(["check", "--line", str(station)]) == 2
    assert "add --station" in capsys.readouterr().err


def test_the_whole_preflight_looks_at_it_too(station: Path) -> None:
    shutil.rmtree(station.parent / "journal")
    (station.parent / "journal").touch()
    found = [finding.kind for finding in check_station(station, seconds=1).findings]
    assert "line-journal" in found
    assert "data-folder" in found


def test_without_the_section_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no section \[line\]"):
        look(station_toml(tmp_path))


@pytest.mark.parametrize("file", ["model.json", "bank.safetensors"])
def test_a_changed_model_is_found(station: Path, file: str) -> None:
    path = station.parent / "cache/models/7" / file
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    assert kinds(station) == ["line-model-damaged"]


def test_no_active_model(station: Path) -> None:
    shutil.rmtree(station.parent / "cache")
    assert kinds(station) == ["line-model"]


def test_a_changed_journal_is_found(station: Path) -> None:
    import sqlite3

    with sqlite3.connect(station.parent / "journal" / DATABASE) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE verdicts SET score = 3.0")
    report = look(station)
    assert {finding.kind for finding in report.findings} == {"line-journal-changed"}
    assert any("row changed" in finding.found for finding in report.findings)


def test_a_journal_of_another_station_s_key_is_found(station: Path) -> None:
    make_keys(station.parent / "other", Wanted(stations=["mill"]))
    other = station.parent / "other/stations/mill/station.key"
    shutil.copy(other, station.parent / "keys/stations/mill/station.key")
    assert set(kinds(station)) == {"line-journal-changed"}


def test_a_journal_that_is_not_there_yet_is_no_fault(station: Path) -> None:
    (station.parent / "journal" / DATABASE).unlink()
    (station.parent / "journal/heads.jsonl").unlink()
    report = look(station)
    assert report.findings == []
    assert report.facts["line journal"].startswith("none yet")


def test_tokens(station: Path) -> None:
    path = station.parent / "journal/tokens.json"
    path.chmod(0o644)
    assert kinds(station) == ["line-tokens"]
    path.unlink()
    assert kinds(station) == ["line-tokens"]


def test_certificate_and_key(station: Path) -> None:
    home = station.parent / "keys/services/mill"
    (home / "line.key").chmod(0o640)
    assert kinds(station) == ["line-key-open-to-others"]
    (home / "line.key").chmod(0o600)
    keys = station.parent / "keys"
    for ago, days, kind in (
        (10, 9, "line-certificate-expired"),
        (0, 20, "line-certificate-ending"),
    ):
        made = dt.datetime.now(dt.UTC) - dt.timedelta(days=ago)
        make_keys(keys, Wanted(service="mill", renew=True, days=days), made)
        assert kinds(station) == [kind]
    make_keys(keys, Wanted(service="mill", hosts=["localhost"], renew=True))
    assert kinds(station) == ["line-names"]
    make_keys(keys, Wanted(stations=["press"]))
    make_keys(keys, Wanted(service="press"))
    shutil.copy(keys / "services/press/line.key", home / "line.key")
    assert kinds(station) == ["line-certificate", "line-names"]
    (home / "line.crt").unlink()
    assert kinds(station) == ["line-certificate"]


def test_another_plant_s_certificate_is_found(station: Path) -> None:
    keys = station.parent / "other"
    make_keys(keys, Wanted(stations=["mill"]))
    make_keys(keys, Wanted(service="mill", hosts=["mill.example"]))
    for name in ("line.crt", "line.key"):
        shutil.copy(keys / "services/mill" / name, station.parent / "keys/services/mill" / name)
    (finding,) = look(station).findings
    assert finding.kind == "line-certificate"
    assert "was not signed by" in finding.found


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_for_this_machine_alone_it_needs_neither_certificate_nor_tokens(
    station: Path, host: str
) -> None:
    written(station.parent, free_port(), f'host = "{host}"\nkeep-gb = 0.001\n')
    text = station.read_text().splitlines()
    station.write_text("\n".join(line for line in text if "line." not in line) + "\n")
    (station.parent / "journal/tokens.json").unlink()
    report = look(station)
    assert report.findings == []
    assert report.facts["line tokens"].startswith("none: ")


def test_an_open_address_without_a_certificate(station: Path) -> None:
    text = station.read_text().splitlines()
    station.write_text("\n".join(line for line in text if "line." not in line) + "\n")
    assert kinds(station) == ["line-certificate"]


@pytest.mark.parametrize("kind", ["silent", "web"])
def test_a_port_that_somebody_else_has(station: Path, kind: str) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *given: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        if kind == "web":
            threading.Thread(target=other.serve_forever, daemon=True).start()
        written(station.parent, other.server_port, 'host = "127.0.0.1"\nkeep-gb = 0.001\n')
        report = check_station(station, seconds=1, line_only=True)
        if kind == "web":
            other.shutdown()
    (finding,) = report.findings
    assert finding.kind == "line-port"
    assert "is taken, and not by this service" in finding.found


def test_an_address_of_another_machine(station: Path) -> None:
    written(station.parent, free_port(), 'host = "192.0.2.1"\nkeep-gb = 0.001\n')
    assert kinds(station) == ["line-names", "line-port"]


def test_no_room_for_pictures(station: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    # A disk that is nearly full cannot be made here.
    monkeypatch.setattr(line_check.shutil, "disk_usage", lambda path: usage(10, 9, 999_000))
    report = look(station)
    assert [finding.kind for finding in report.findings] == ["line-disk"]
    assert report.exit_code == 1

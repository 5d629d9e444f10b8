"""`serve STATION.toml`: the section `[line]` in the place of options, for real over TLS."""

from __future__ import annotations

import datetime as dt
import json
import signal
import ssl
from pathlib import Path

import httpx
import pytest
from line_service import PARTS, post, start
from model_versions import station_toml

from common.cli.main import run
from common.line.models.versions import ModelVersions
from common.line.service.access import Tokens
from common.patchcore.model_store import SavedModel
from common.plant.keys.making import make_keys
from common.plant.keys.server_keys import Wanted
from common.plant.preflight.station_check import check_station


@pytest.fixture
def station(tmp_path: Path, saved: Path) -> Path:
    """A station with a certificate for its line, a token file elsewhere, and an active model."""
    make_keys(tmp_path / "keys", Wanted(stations=["mill"]))
    make_keys(tmp_path / "keys", Wanted(service="mill", hosts=["mill.example"]))
    path = station_toml(tmp_path)
    line = tmp_path / "keys/services/mill"
    key = tmp_path / "keys/stations/mill/station.key"
    path.write_text(
        path.read_text().replace('"station.key"', f'"{key}"')
        + f'[line]\njournal = "journal"\nhost = "0.0.0.0"\ncertificate = "{line}/line.crt"\n'
        f'certificate-key = "{line}/line.key"\ntokens = "own/tokens.json"\n'
    )
    versions = ModelVersions(tmp_path / "cache" / "models")
    versions.store("7", "7", SavedModel.load(saved))
    versions.activate("7", by="test", why="the first one")
    return path


def token(station: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["serve", str(station), "--new-token", "line"]) == 0
    return capsys.readouterr().out.strip()


def test_it_serves_as_the_file_says(
    station: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own = token(station, capsys)
    assert Tokens(tmp_path, tmp_path / "own/tokens.json").role(own) == "line"
    assert not (tmp_path / "journal").exists()
    process, url = start(str(station), log=tmp_path / "log")
    try:
        # Told as it was dialled there: the file says all addresses.
        assert url.startswith("https://0.0.0.0:")
        url = url.replace("0.0.0.0", "localhost")
        context = ssl.create_default_context(cafile=str(tmp_path / "keys/ca.crt"))
        with httpx.Client(base_url=url, verify=context, timeout=60, trust_env=False) as client:
            assert client.get("/health").json() == {"status": "ok"}
            assert client.get(PARTS).status_code == 401
            client.headers["authorization"] = f"Bearer {own}"
            answer = post(client, pictures[1])
            assert (answer.status_code, answer.json()["model"]["run_id"]) == (200, "7")
        _the_preflight_knows_it(station, url)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    heads = (tmp_path / "journal/heads.jsonl").read_text().splitlines()
    assert json.loads(heads[-1])["signature"]


def _the_preflight_knows_it(station: Path, url: str) -> None:
    """Beside the service: its port is taken by itself, its journal is read while it writes."""
    port = url.rpartition(":")[2]
    station.write_text(station.read_text() + f"port = {port}\nkeep-gb = 0.001\n")
    report = check_station(station, seconds=10, line_only=True)
    assert report.facts["line port"] == f"0.0.0.0:{port}: the service is there"
    assert report.findings == []
    make_keys(station.parent / "keys", Wanted(service="mill", renew=True))
    renewed = check_station(station, seconds=10, line_only=True)
    assert [finding.kind for finding in renewed.findings] == ["line-certificate-not-in-use"]


def test_what_cannot_be_is_told_in_one_line(
    station: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def said(*words: str) -> str:
        assert run(["serve", *words]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    assert "own/tokens.json: holds no token" in said(str(station))
    token(station, capsys)
    assert "give both or none" in said(
        str(station_toml(tmp_path / "b")), "--journal", "j", "--certificate", "line.crt"
    )
    assert "section [line]" in said(str(station_toml(tmp_path / "b")))
    assert "--journal DIR" in said("--new-token", "line")
    key = tmp_path / "keys/services/mill/line.key"
    key.chmod(0o644)
    assert f"`chmod 600 {key}`" in said(str(station))
    key.chmod(0o600)
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=10)
    make_keys(tmp_path / "keys", Wanted(service="mill", renew=True, days=9), past)
    assert "line.crt: expired on" in said(str(station))


def test_a_token_file_of_its_own_needs_no_journal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "secrets" / "tokens.json"
    assert run(["serve", "--new-token", "operator", "--tokens", str(file)]) == 0
    assert Tokens(tmp_path, file).role(capsys.readouterr().out.strip()) == "operator"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_certificate_that_ends_soon_is_told_at_the_start(
    station: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    token(station, capsys)
    make_keys(tmp_path / "keys", Wanted(service="mill", renew=True, days=30))
    process, _ = start(str(station), log=tmp_path / "log")
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    told = " ".join((tmp_path / "log").read_text().split())
    assert "expires in 30 days" in told
    assert "--renew --service NAME" in told

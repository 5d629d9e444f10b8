"""Real processes: killed under load, ended by a signal, refused at the start."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import httpx
import pytest
from line_service import PARTS, post, running, start

from common.cli.main import run
from common.line.journal import Journal
from common.line.models.versions import ModelVersions
from common.line.service.access import Tokens
from common.patchcore.model_store import SavedModel
from common.plant.keys.making import make_keys
from common.plant.keys.server_keys import Wanted
from common.plant.keys.station_keys import fingerprint, read_station_key


class Load:
    """Clients that post until they are refused, and what was acknowledged."""

    def __init__(self, url: str, pictures: list[Path], clients: int = 4) -> None:
        self.acknowledged: list[tuple[int, str]] = []
        self.statuses: list[int] = []
        self.enough = threading.Event()
        self._threads = [
            threading.Thread(target=self._post, args=(url, pictures, n)) for n in range(clients)
        ]
        for thread in self._threads:
            thread.start()

    def _post(self, url: str, pictures: list[Path], own: int) -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            for number in range(1000):
                part = f"{own}-{number}"
                try:
                    answer = post(client, pictures[number % len(pictures)], part=part)
                except httpx.TransportError:
                    return
                self.statuses.append(answer.status_code)
                if answer.status_code != 200:
                    return
                self.acknowledged.append((answer.json()["id"], part))
                if len(self.acknowledged) >= 12:
                    self.enough.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(40)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_acknowledged_part_is_lost_or_doubled(
    saved: Path, pictures: list[Path], tmp_path: Path, number: signal.Signals
) -> None:
    journal = tmp_path / "journal"
    given = (str(saved), "--journal", str(journal), "--set", "device=cpu")
    process, url = start(*given, log=tmp_path / "log")
    load = Load(url, pictures)
    assert load.enough.wait(60)
    process.send_signal(number)
    code = process.wait(40)
    load.join()
    assert code == (-9 if number == signal.SIGKILL else 0)
    assert set(load.statuses) <= {200, 503}
    # The next process opens the same journal, and adds to it.
    with running(saved, journal) as one, one.client() as client:
        assert post(client, pictures[0], part="after").status_code == 200
        entries = list(one.service.journal.entries())
    found = {entry.id: entry.verdict.part for entry in entries}
    assert {id: found.get(id) for id, _ in load.acknowledged} == dict(load.acknowledged)
    parts = [entry.verdict.part for entry in entries]
    assert len(set(parts)) == len(parts)
    # What was judged and not acknowledged any more: at most one a client.
    assert len(parts) <= len(load.acknowledged) + 4 + 1
    assert list((journal / "incoming").iterdir()) == []


def test_unusable_starts_are_one_line(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = str(tmp_path / "journal")

    def said(*words: str) -> str:
        assert run(["serve", *words]) == 2
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    assert "no model here" in said(str(tmp_path / "nothing"), "--journal", journal, "--port", "0")
    assert not (tmp_path / "journal").exists()
    assert "give a MODEL" in said("--journal", journal)
    assert "--watch" in said(str(saved), "--journal", journal, "--category", "plate")
    with Journal(tmp_path / "journal"):
        text = said(str(saved), "--journal", journal, "--port", "0")
        assert "another process writes this journal" in text
    text = said(str(saved), "--journal", journal, "--port", "0", "--watch", str(tmp_path / "no"))
    assert "no such folder" in text
    assert "takes TLS" in said(str(saved), "--journal", journal, "--host", "0.0.0.0")
    assert "expected one of line" in said("--new-token", "admin", "--journal", journal)


def test_a_token_is_printed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--new-token", "operator", "--journal", str(tmp_path)]) == 0
    token = capsys.readouterr().out.strip()
    assert len(token) >= 43
    assert Tokens(tmp_path).role(token) == "operator"
    assert token not in (tmp_path / "tokens.json").read_text()


def test_reads_go_on_beside_a_journal_of_the_past(
    saved: Path, pictures: list[Path], tmp_path: Path
) -> None:
    with running(saved, tmp_path / "journal") as one, one.client() as client:
        first = post(client, pictures[1]).json()
    with running(saved, tmp_path / "journal") as one, one.client() as client:
        assert client.get(f"{PARTS}/{first['id']}").json()["score"] == first["score"]
        assert one.service.journal.summary().rows["switches"] == 1  # the same model went on


def test_a_station_file_stands_for_its_active_model(
    saved: Path, pictures: list[Path], tmp_path: Path
) -> None:
    """By the station's key, too, the journal's heads are signed."""
    make_keys(tmp_path / "keys", Wanted(stations=["paint-shop"]))
    own = tmp_path / "keys" / "stations" / "paint-shop"
    (own / "station.toml").write_text(
        f'station = "paint-shop"\ndata-root = "{tmp_path}"\ncache-dir = "{tmp_path / "cache"}"\n'
        'models-dir = "models"\ndevice = "cpu"\n[server]\naddress = "gateway:9443"\n'
        'ca = "ca.crt"\nkey = "station.key"\ncertificate = "station.pem"\napp-key = "app.pub"\n'
    )
    versions = ModelVersions(own / "models")
    versions.store("7", "7", SavedModel.load(saved))
    given = (str(own / "station.toml"), "--journal", str(tmp_path / "journal"))
    assert run(["serve", *given, "--port", "0"]) == 2  # none is active yet
    versions.activate("7", by="test", why="the first")
    process, url = start(*given, log=tmp_path / "log")
    try:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            assert client.get("/api/v1/status").json()["station"] == "paint-shop"
            answer = post(client, pictures[1]).json()
            assert answer["model"] == {"run_id": "7", "sha256": versions.get("7").sha256}
    finally:
        process.terminate()
        assert process.wait(40) == 0
    key = fingerprint(read_station_key(own / "station.key").public_key())
    with Journal.reading(tmp_path / "journal") as journal:
        head = journal.summary().head
    assert head is not None
    assert (head.key, head.why) == (key, "close")

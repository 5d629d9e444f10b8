"""`fetch autovi` as a person meets it, against a real server: once, whole, or one line."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fetch_cases import files_of, published, substitute, zip_of
from file_server import FileServer, file_server
from machine_cases import ROOT, fill, mounted, without_privilege

from common.cli.main import run
from common.data.fetch.autovi import Archive
from common.data.layout import index_data

YES = "--accept-licence"
PARTS = ("pipe_clip", "pipe_staple", "tank_screw")


@pytest.fixture(scope="session")
def zips(tiny_data: Path) -> dict[str, bytes]:
    return {name: content for name, content in published(tiny_data).items() if name[:-4] in PARTS}


@pytest.fixture
def server(zips: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """The publisher's, with three parts."""
    with file_server(files=dict(zips)) as served:
        substitute(monkeypatch, zips, served.address)
        yield served


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "autovi"


def fetch(to: Path, *words: object) -> int:
    return run(["fetch", "autovi", str(to), *map(str, words)])


def fails(capsys: pytest.CaptureFixture[str], code: int, to: Path, *words: object) -> str:
    """Run a fetch that must end with this code and one line."""
    assert fetch(to, *words) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert err.count("\n") == 1, err
    assert err.startswith("fedpatchcore: ")
    return err.removeprefix("fedpatchcore: ").rstrip()


def whole(to: Path, data: Path, *parts: str) -> None:
    """Exactly these parts are there, byte for byte, and nothing that is not whole."""
    assert sorted(path.name for path in to.iterdir()) == sorted(parts)
    for part in parts:
        assert files_of(to / part) == files_of(data / part)
    counts = [len(index_data(folder, parts).samples) for folder in (to, data)]
    assert counts[0] == counts[1]


def test_three_parts_and_a_second_call(
    server: FileServer, to: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(to, YES) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "CC BY-NC-SA 4.0" in out
    whole(to, tiny_data, *PARTS)
    assert sorted(server.asked) == [(f"/{part}.zip", "") for part in PARTS]
    index = index_data(tiny_data)
    for part in PARTS:
        samples = index.select(category=part)
        train = sum(s.split == "train" for s in samples)
        good = sum(s.split == "test" and not s.label for s in samples)
        bad = sum(s.split == "test" and s.label for s in samples)
        masks = sum(len(s.masks or ()) for s in samples)
        assert re.search(rf"{part}\W+{train}\W+{good}\W+{bad}\W+{masks}\W+fetched", out), out
        record = json.loads((to / part / ".fetched.json").read_text())
        assert record["source"] == server.url(f"{part}.zip")
        assert record["groups"]["train/good"] == train
        assert record["licence"] == "CC BY-NC-SA 4.0"

    before = {path: path.stat().st_mtime_ns for path in to.rglob("*")}
    assert fetch(to) == 0  # no licence is asked for what is there
    out, err = capsys.readouterr()
    assert err == ""
    assert "nothing to do" in out
    assert out.count("there already") == 4
    assert len(server.asked) == 3
    assert {path: path.stat().st_mtime_ns for path in to.rglob("*")} == before


def test_one_part_then_the_others(
    server: FileServer, to: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(to, YES, "--category", "pipe_clip", "--category", "pipe_clip") == 0
    whole(to, tiny_data, "pipe_clip")
    assert fetch(to, YES) == 0
    whole(to, tiny_data, *PARTS)
    assert sorted(server.asked) == [(f"/{part}.zip", "") for part in PARTS]
    line = fails(capsys, 2, to, YES, "--category", "pipe_clp")
    assert line == f"--category: found 'pipe_clp', expected one of {', '.join(PARTS)}"


def test_a_folder_of_the_data_set_is_one_for_every_command(
    server: FileServer, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the record nor what an interruption leaves is a fault."""
    (to / ".fetch").mkdir(parents=True)
    (to / ".fetch" / "underbody_pipes.zip.partial").write_bytes(b"half")
    assert fetch(to, YES) == 0
    assert (to / ".fetch").is_dir()
    capsys.readouterr()
    run(["check", str(to), "--json"])
    told = capsys.readouterr().out
    assert ".fetch" not in told


def test_the_licence(
    server: FileServer,
    to: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = fails(capsys, 2, to)
    assert "was not accepted and nobody can be asked here; give --accept-licence" in line
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    asked: list[str] = []

    def answer(text: str) -> bool:
        asked.append(text)
        return len(asked) > 1

    monkeypatch.setattr("typer.confirm", answer)
    assert "nothing was fetched" in fails(capsys, 2, to)
    assert server.asked == []
    assert not to.exists()
    assert fetch(to, "--category", "pipe_clip") == 0
    assert asked == ["Do you accept this licence?"] * 2


def test_images_that_went_are_told(
    server: FileServer, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second call does nothing, but not in silence where something is missing."""
    assert fetch(to, YES) == 0
    capsys.readouterr()
    image = to / "pipe_clip/train/good/0001.png"
    content = image.read_bytes()
    image.unlink()
    line = fails(capsys, 2, to)
    assert line == (
        f"{to}/pipe_clip: 3 files in train/good, 4 were fetched; move {to}/pipe_clip away to fetch "
        "it anew, or leave it out by --category"
    )
    image.write_bytes(content[:-1])
    assert "a file was changed or cut" in fails(capsys, 2, to)
    image.write_bytes(content)
    shutil.copy(image, image.with_name("0100.png"))  # a part of one's own
    assert fetch(to) == 0
    shutil.rmtree(to / "pipe_clip/train")
    shutil.rmtree(to / "pipe_clip/test")
    assert "0 files in train/good" in fails(capsys, 2, to, "--category", "pipe_clip")
    assert len(server.asked) == 3
    shutil.move(to / "pipe_clip", to.parent / "away")
    assert fetch(to, YES) == 0
    assert len(server.asked) == 4


def test_what_is_there_already_is_not_touched(
    server: FileServer, to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = to / "pipe_clip/train/good/mine.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    line = fails(capsys, 2, to, YES)
    assert line.startswith(f"{to}/pipe_clip: is there already, and no fetch has made it; move ")
    assert own.read_bytes() == b"mine"
    assert server.asked == []
    (to / "pipe_clip/.fetched.json").write_text("{")
    assert "not a record of a fetch" in fails(capsys, 2, to, YES)
    (to / "pipe_clip/.fetched.json").write_text('{"groups": {}, "size": 4, "sha256": "0"}')
    assert "was fetched from another pipe_clip.zip" in fails(capsys, 2, to, YES)
    to = to.parent / "file"
    to.touch()
    assert fails(capsys, 2, to, YES) == f"{to}: is a file; give a folder"


def test_from_a_folder(
    server: FileServer,
    zips: dict[str, bytes],
    to: Path,
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mirror = tmp_path / "mirror"
    assert fails(capsys, 2, to, YES, "--from", mirror).startswith(
        f"--from {mirror}: no such folder; expected the folder"
    )
    mirror.mkdir()
    for name, content in zips.items():
        (mirror / name).write_bytes(content)
    clip = mirror / "pipe_clip.zip"
    clip.unlink()
    line = fails(capsys, 2, to, YES, "--from", mirror)
    assert line.startswith(f"--from {mirror}: no file pipe_clip.zip in it")
    assert not to.exists()
    clip.write_bytes(zips["pipe_clip.zip"][:-1])
    size = len(zips["pipe_clip.zip"])
    only = ("--category", "pipe_clip")
    line = fails(capsys, 2, to, YES, "--from", mirror, *only)
    assert line.startswith(f"{clip}: {size - 1:,} bytes, expected {size:,}; copy it once more")
    clip.write_bytes(bytes(size))
    assert "its sha256 is" in fails(capsys, 2, to, YES, "--from", mirror, *only)
    assert os.listdir(to) == []
    clip.write_bytes(zips["pipe_clip.zip"])
    assert fetch(to, YES, "--from", mirror) == 0
    whole(to, tiny_data, *PARTS)
    assert sorted(path.name for path in mirror.iterdir()) == sorted(zips)
    assert server.asked == []


def test_from_an_address(
    server: FileServer, zips: dict[str, bytes], to: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    below = {f"mirror/of/{name}": content for name, content in zips.items()}
    with file_server(files=below) as other:
        source = other.url("mirror/of/?key=geheim").replace("//", "//me:geheim@")
        assert fetch(to, YES, "--from", source, "--category", "pipe_clip") == 0
        assert other.asked == [("/mirror/of/pipe_clip.zip?key=geheim", "")]
        record = (to / "pipe_clip/.fetched.json").read_text()
        assert "geheim" not in record + "".join(capsys.readouterr())
        assert other.url("mirror/of/pipe_clip.zip") in record
    for wrong in ("ftp://host/autovi", "file:///autovi", "https://", "http://[::1"):
        line = fails(capsys, 2, to, YES, "--from", wrong)
        assert line.startswith(f"--from {wrong.partition('/')[0]}")
        assert "address" in line
    assert server.asked == []


def test_cuts_in_mid_transfer(
    server: FileServer, to: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.cuts = [5_000, 1, 100, 5_000]
    assert fetch(to, YES) == 0
    whole(to, tiny_data, *PARTS)
    assert len(server.asked) == 7


def test_a_server_that_gives_up_and_a_second_call(
    server: FileServer, to: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.cuts, server.always = [5_000], {"cuts": 0}
    line = fails(capsys, 1, to, YES, "--category", "pipe_clip")
    assert line.endswith("the 5.0 kB that came are kept: the same command goes on from there")
    assert os.listdir(to) == [".fetch"]
    assert os.path.getsize(to / ".fetch/pipe_clip.zip.partial") == 5_000
    server.always, server.asked = {}, []
    assert fetch(to, YES, "--category", "pipe_clip") == 0
    assert server.asked == [("/pipe_clip.zip", "bytes=5000-")]
    whole(to, tiny_data, "pipe_clip")


def test_one_failure_stops_no_other(
    server: FileServer, to: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del server.files["pipe_clip.zip"]
    line = fails(capsys, 1, to, YES)
    assert line.startswith(f"{server.url('pipe_clip.zip')}: the server answers 404 Not Found")
    whole(to, tiny_data, "pipe_staple", "tank_screw")


def test_several_failures_are_told_apart(
    server: FileServer, to: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del server.files["pipe_clip.zip"]
    server.files["tank_screw.zip"] = bytes(len(server.files["tank_screw.zip"]))
    assert fetch(to, YES) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 3
    assert "pipe_clip: http" in err
    assert "404 Not Found" in err
    assert "tank_screw.zip: not the expected file: its sha256 is" in err
    assert "fedpatchcore: 2 of 3 categories could not be fetched, see above" in err
    whole(to, tiny_data, "pipe_staple")


def test_no_network(
    zips: dict[str, bytes],
    to: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line for all, soon."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        substitute(monkeypatch, zips, f"http://127.0.0.1:{taken.getsockname()[1]}")
        line = fails(capsys, 1, to, YES)
    assert "the server cannot be reached (" in line
    assert line.endswith("check the network and the address, or name another source")
    assert os.listdir(to) == []


def test_what_meets_all_stops_the_others(
    server: FileServer,
    to: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk, say: nobody waits for the other five to find it out."""
    begun: list[str] = []

    def refuse(archive: Archive, *words: object, **more: object) -> None:
        begun.append(archive.category)
        raise OSError(errno.ENOSPC, "No space left on device", str(to))

    monkeypatch.setattr("common.data.fetch.categories.fetch_category", refuse)
    monkeypatch.setattr("common.data.fetch.categories.AT_A_TIME", 1)
    assert "the disk is full" in fails(capsys, 1, to, YES)
    assert len(begun) == 1
    begun.clear()
    monkeypatch.setattr("common.data.fetch.categories.meets_all", lambda error: False)
    assert fetch(to, YES) == 1
    assert len(begun) == 3


def test_an_archive_with_faults_is_kept_and_told(
    server: FileServer,
    zips: dict[str, bytes],
    to: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is what was published: to be mended, not to be withheld."""
    odd = zip_of([("pipe_clip/train/good/0.png", b"0"), ("pipe_clip/train/odd.txt", b"1")])
    server.files["pipe_clip.zip"] = odd
    substitute(monkeypatch, {**zips, "pipe_clip.zip": odd}, server.address)
    assert fetch(to, YES, "--category", "pipe_clip") == 0
    out = capsys.readouterr().out
    assert f"Note: {to}/pipe_clip/train/odd.txt: misplaced;" in out
    assert f"see `fedpatchcore check {to}`" in out


def test_a_verified_zip_that_is_none(
    server: FileServer,
    to: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that leads out, in a zip whose hash is in the table."""
    for content, told in (
        (b"no zip at all", "not a whole zip"),
        (zip_of([("pipe_clip/train/good/0.png", b""), ("../x", b"")]), "leads out of the folder"),
    ):
        server.files["pipe_clip.zip"] = content
        substitute(monkeypatch, {"pipe_clip.zip": content}, server.address)
        assert told in fails(capsys, 1, to, YES)
        assert os.listdir(to) == [".fetch"]
        assert sorted(os.listdir(to / ".fetch")) == ["lock", "pipe_clip.zip"]
        shutil.rmtree(to)
    assert not (to.parent / "x").exists()


def test_too_small_a_disk_is_told_first(
    server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        fill(disk, leave=32 * 1024)
        line = fails(capsys, 2, disk / "autovi", YES)
        assert line.startswith(f"{disk}/autovi: 32.8 kB are free on its disk, about ")
        assert server.asked == []
        assert os.listdir(disk) == ["filler"]


def test_a_disk_that_fills_up(
    zips: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While it is fetched, and while it is unpacked: what was verified is not fetched again."""
    content = zip_of([("pipe_clip/train/good/0.png", bytes(400_000) + os.urandom(100_000))])
    with (
        mounted(tmp_path / "disk", "size=2m") as disk,
        file_server(files={"pipe_clip.zip": content}) as server,
    ):
        substitute(monkeypatch, {"pipe_clip.zip": content}, server.address)
        monkeypatch.setattr("common.data.fetch.categories._require_room", lambda *words: None)
        to = disk / "autovi"
        fill(disk, leave=64 * 1024)
        line = fails(capsys, 1, to, YES)
        assert line == (
            f"{to}/.fetch/pipe_clip.zip.partial: the disk is full; make room on it, or give a "
            "folder on another disk"
        )
        kept = (to / ".fetch/pipe_clip.zip.partial").stat().st_size
        assert 0 < kept < len(content)
        (disk / "filler").unlink()
        fill(disk, leave=300 * 1024)
        line = fails(capsys, 1, to, YES)
        assert re.search(
            r"/\.fetch/unpacking-pipe_clip/pipe_clip/train/good/0\.png: the disk is full", line
        )
        assert sorted(os.listdir(to / ".fetch")) == ["lock", "pipe_clip.zip"]
        (disk / "filler").unlink()
        assert fetch(to, YES) == 0
        assert [asked for _, asked in server.asked] == ["", f"bytes={kept}-"]
        assert os.listdir(to) == ["pipe_clip"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/pipe_clip.zip").touch()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    words = ("--category", "pipe_clip", YES, "--from", tmp_path / "mirror")
    code, said = without_privilege("fetch", "autovi", closed / "autovi", *words)
    assert code == 2
    assert said.startswith(f"fedpatchcore: {closed}/autovi: the user ")
    assert said.count("\n") == 1
    assert os.listdir(closed) == []


def test_two_at_once(server: FileServer, to: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (to / ".fetch").mkdir(parents=True)
    with (to / ".fetch/lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        line = fails(capsys, 2, to, YES)
    assert line == f"{to}: another process is fetching into it; wait for it"
    assert fetch(to, YES) == 0


def test_what_a_killed_process_left(
    server: FileServer, to: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = to / ".fetch/unpacking-pipe_clip/pipe_clip/train/good"
    left.mkdir(parents=True)
    (left / "0000.png").write_bytes(b"half")
    assert fetch(to, YES) == 0
    whole(to, tiny_data, *PARTS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption(
    zips: dict[str, bytes], to: Path, tiny_data: Path, tmp_path: Path, number: int
) -> None:
    """Soon over, said in one line, and the next call goes on."""
    with file_server(files=dict(zips), pace=0.2) as server:
        for name, content in zips.items():
            (tmp_path / name).write_bytes(content)
        script = (
            "import sys; from pathlib import Path; sys.path.insert(0, 'tests/helpers')\n"
            "import pytest; from fetch_cases import substitute\n"
            "zips = {path.name: path.read_bytes() for path in Path(sys.argv[1]).glob('*.zip')}\n"
            "substitute(pytest.MonkeyPatch(), zips, sys.argv[2])\n"
            "from common.cli.entry import main; sys.argv[1:] = sys.argv[3:]; main()\n"
        )
        words = [sys.executable, "-c", script, str(tmp_path), server.address]
        words += ["fetch", "autovi", str(to), YES]
        process = subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until = time.monotonic() + 60
        while len(server.asked) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.5)
        process.send_signal(number)
        asked = time.monotonic()
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, "fedpatchcore: interrupted\n"), out
        assert time.monotonic() - asked < 10
        assert os.listdir(to) == [".fetch"]
        parts = {path.name: path.stat().st_size for path in to.glob(".fetch/*.partial")}
        assert len(parts) == 3
        server.pace, server.asked = 0.0, []
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert sorted(server.asked) == [
            (f"/{part}.zip", f"bytes={parts[f'{part}.zip.partial']}-") for part in PARTS
        ]
        whole(to, tiny_data, *PARTS)


@pytest.mark.parametrize("words", [["--help"], ["autovi", "--help"], ["weights", "--help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fetch", *words]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert len(words) == 1 or f"Example: fedpatchcore fetch {words[0]}" in out

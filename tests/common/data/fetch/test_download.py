"""A download against a real server that cuts, stalls, lies and refuses: whole, or one line."""

from __future__ import annotations

import doctest
import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from file_server import FileServer, file_server
from machine_cases import fill, mounted

from common.data.fetch import trouble
from common.data.fetch.download import download
from common.data.fetch.transfer import Patience
from common.data.fetch.trouble import DownloadError, StoppedError
from common.errors import InputError

CONTENT = random.Random(1).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(stall=10.0, total=60.0, tries=3, pause=0.01)
NERVOUS = replace(QUICK, stall=1.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server(files={"a.zip": CONTENT}) as served:
        yield served


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "a.zip"


def part(to: Path) -> Path:
    return to.with_name("a.zip.partial")


def get(server: FileServer, to: Path, **more: object) -> Path:
    options = {"sha256": SHA256, "size": len(CONTENT), "patience": QUICK, **more}
    return download(server.url("a.zip"), to, **options)  # type: ignore[arg-type]


def fails(server: FileServer, to: Path, **more: object) -> str:
    """What is said; nothing that looks whole is left."""
    with pytest.raises(DownloadError) as caught:
        get(server, to, **more)
    assert not to.exists()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{server.url('a.zip')}: ")
    return str(caught.value)


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("digits", [64, 8])
def test_a_whole_file(server: FileServer, to: Path, size: int | None, digits: int) -> None:
    told: list[tuple[int, int | None]] = []
    done = get(
        server, to, size=size, sha256=SHA256[:digits].upper(), progress=lambda *n: told.append(n)
    )
    assert done == to
    assert to.read_bytes() == CONTENT
    assert os.listdir(to.parent) == ["a.zip"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [here for here, _ in told] == sorted(here for here, _ in told)


def test_a_file_that_is_there_is_not_asked_for(server: FileServer, to: Path) -> None:
    get(server, to)
    get(server, to)
    assert len(server.asked) == 1
    to.write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match="299,999 bytes, expected 300,000; remove it, then"):
        get(server, to)
    to.write_bytes(b"x" + CONTENT[1:])
    with pytest.raises(InputError, match="its sha256 is"):
        get(server, to, size=None)


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_cuts_are_followed_up(server: FileServer, to: Path, size: int | None) -> None:
    """Each connection goes on where the one before ended."""
    server.cuts = [100_000, 50_000, 1]
    assert get(server, to, size=size).read_bytes() == CONTENT
    ranges = [asked for _, asked in server.asked]
    assert ranges == ["", "bytes=100000-", "bytes=150000-", "bytes=150001-"]


def test_a_cut_server_leaves_a_part_and_the_next_call_goes_on(server: FileServer, to: Path) -> None:
    server.cuts, server.always = [200_000], {"cuts": 0}
    said = fails(server, to)
    assert "the connection broke off" in said
    assert "3 times in a row; the 200.0 kB that came are kept: the same command goes on" in said
    assert part(to).read_bytes() == CONTENT[:200_000]
    server.always, server.asked = {}, []
    assert get(server, to).read_bytes() == CONTENT
    assert server.asked == [("/a.zip", "bytes=200000-")]
    assert not part(to).exists()


def test_without_ranges_it_starts_again(server: FileServer, to: Path) -> None:
    server.ranges, server.cuts = False, [100_000, 250_000]
    told: list[int] = []
    get(server, to, progress=lambda here, total: told.append(here))
    assert to.read_bytes() == CONTENT
    assert told != sorted(told)
    assert [asked for _, asked in server.asked] == ["", "bytes=100000-", "bytes=250000-"]


def test_without_ranges_and_always_cut_it_ends(server: FileServer, to: Path) -> None:
    """The same half again is nothing new."""
    server.ranges, server.always = False, {"cuts": 150_000}
    assert "3 times in a row" in fails(server, to)
    assert len(server.asked) == 4  # the first brought something


def test_a_cut_without_a_length(server: FileServer, to: Path) -> None:
    """A body that ends with the connection: only the size tells that it was cut."""
    server.chunked, server.cuts = True, [100_000]
    assert get(server, to).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["", "bytes=100000-"]


def test_wrong_bytes(server: FileServer, to: Path) -> None:
    server.files["a.zip"] = CONTENT[:-1] + b"!"
    said = fails(server, to)
    found = hashlib.sha256(server.files["a.zip"]).hexdigest()
    assert f"its sha256 is {found[:16]}..., expected {SHA256[:16]}..." in said
    assert "it was thrown away" in said
    assert os.listdir(to.parent) == []
    assert len(server.asked) == 1


def test_a_stale_part_costs_time_and_nothing_else(server: FileServer, to: Path) -> None:
    """Of an earlier, other file, or with holes after a power failure."""
    to.parent.mkdir()
    part(to).write_bytes(bytes(100_000))
    assert get(server, to).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["bytes=100000-", ""]


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_part_that_is_whole_or_too_long(server: FileServer, to: Path, size: int | None) -> None:
    to.parent.mkdir()
    part(to).write_bytes(CONTENT)
    get(server, to, size=size)
    assert [asked for _, asked in server.asked] == ([] if size else ["bytes=300000-"])
    to.unlink()
    part(to).write_bytes(CONTENT + b"more")
    assert get(server, to, size=size).read_bytes() == CONTENT


def test_a_whole_part_of_another_file(server: FileServer, to: Path) -> None:
    to.parent.mkdir()
    part(to).write_bytes(bytes(len(CONTENT)))
    assert get(server, to).read_bytes() == CONTENT


def test_a_server_that_knows_nothing_of_the_rest(server: FileServer, to: Path) -> None:
    """416 to every range."""
    server.cuts, server.statuses = [100_000], [None, 416]
    assert get(server, to).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["", "bytes=100000-", ""]


def test_a_server_that_sends_another_part(server: FileServer, to: Path) -> None:
    server.cuts, server.shift = [100_000], 7
    assert get(server, to).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["", "bytes=100000-", ""]


def test_another_size_than_published(server: FileServer, to: Path) -> None:
    """An error page that calls itself a success; what was there before is kept."""
    to.parent.mkdir()
    part(to).write_bytes(CONTENT[:1000])
    server.ranges = False
    server.files["a.zip"] = b"<html>please log in</html>"
    said = fails(server, to)
    assert "the server has 26 bytes, expected 300,000; is it an error page" in said
    assert len(server.asked) == 1
    assert part(to).read_bytes() == CONTENT[:1000]


def test_a_longer_body_than_published(server: FileServer, to: Path) -> None:
    server.chunked = True
    server.files["a.zip"] = CONTENT + b"and more"
    assert "the server has more bytes, expected 300,000" in fails(server, to)


@pytest.mark.parametrize("length", [len(CONTENT) - 10, len(CONTENT) + 10])
def test_a_wrong_content_length(server: FileServer, to: Path, length: int) -> None:
    server.always = {"lengths": length}
    assert f"the server has {length:,} bytes, expected 300,000" in fails(server, to)


@pytest.mark.parametrize("length", [len(CONTENT) - 10, len(CONTENT) + 10])
def test_a_wrong_content_length_of_unknown_size(server: FileServer, to: Path, length: int) -> None:
    """Ten bytes short: the digest tells. Ten bytes promised that never come: a cut."""
    server.always = {"lengths": length}
    server.ranges = False
    said = fails(server, to, size=None)
    assert ("not the expected file" if length < len(CONTENT) else "times in a row") in said


def test_a_stall_is_given_up(server: FileServer, to: Path) -> None:
    server.cuts, server.stall, server.lengths = [100_000, 0, 0, 0], 30.0, []
    said = fails(server, to, patience=NERVOUS)
    assert "the server stopped sending, 3 times in a row" in said
    assert part(to).stat().st_size == 100_000


def test_a_stall_is_followed_up(server: FileServer, to: Path) -> None:
    server.cuts, server.stall = [100_000], 30.0
    assert get(server, to, patience=NERVOUS).read_bytes() == CONTENT


def test_a_trickle_has_an_end(server: FileServer, to: Path) -> None:
    """Never silent for long, and never done: 300,000 bytes at 40 kB a second."""
    server.pace = 0.1
    said = fails(server, to, patience=replace(QUICK, total=3.0))
    assert "not done after 3 s; the " in said
    assert 0 < part(to).stat().st_size < len(CONTENT)


@pytest.mark.parametrize(
    ("status", "name"), [(404, "Not Found"), (403, "Forbidden"), (410, "Gone")]
)
def test_a_refusal_is_final(server: FileServer, to: Path, status: int, name: str) -> None:
    server.always = {"statuses": status}
    assert f"the server answers {status} {name}, expected the file" in fails(server, to)
    assert len(server.asked) == 1
    assert os.listdir(to.parent) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: FileServer, to: Path, status: int) -> None:
    server.statuses, server.headers = [status, status], {"Retry-After": "0"}
    assert get(server, to).read_bytes() == CONTENT
    server.always = {"statuses": status}
    to.unlink()
    said = fails(server, to)
    assert f"the server answers {status}" in said
    assert "3 times in a row; try again later" in said


def test_a_packed_answer(server: FileServer, to: Path) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    assert "packs the file (gzip) unasked" in fails(server, to)


def test_nobody_there(tmp_path: Path, to: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.zip"
        with pytest.raises(DownloadError, match=r"cannot be reached .*check the network") as caught:
            download(url, to, sha256=SHA256, patience=QUICK)
    assert caught.value.everywhere
    assert os.listdir(to.parent) == []


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/a.zip", "http://", "http://[::1/a.zip"])
def test_no_address(to: Path, url: str) -> None:
    with pytest.raises(InputError, match="not an address that can be fetched from"):
        download(url, to, sha256=SHA256, patience=QUICK)


def test_a_redirection_in_a_circle(server: FileServer, to: Path) -> None:
    server.always, server.headers = {"statuses": 302}, {"Location": "/a.zip"}
    assert "redirected in a circle" in fails(server, to)


def test_a_full_disk_keeps_the_part(server: FileServer, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        fill(disk, leave=100 * 1024)
        with pytest.raises(OSError, match="No space left") as caught:
            get(server, disk / "a.zip")
        partial = disk / "a.zip.partial"
        assert caught.value.filename == str(partial)
        kept = partial.read_bytes()
        assert kept
        assert CONTENT.startswith(kept)
        (disk / "filler").unlink()
        server.asked = []
        assert get(server, disk / "a.zip").read_bytes() == CONTENT
        assert server.asked == [("/a.zip", f"bytes={len(kept)}-")]


def test_a_stop_keeps_the_part(server: FileServer, to: Path) -> None:
    stop = threading.Event()

    def progress(here: int, total: int | None) -> None:
        if here >= 100_000:
            stop.set()

    with pytest.raises(StoppedError):
        get(server, to, stop=stop, progress=progress)
    assert part(to).stat().st_size >= 100_000
    assert CONTENT.startswith(part(to).read_bytes())
    assert not to.exists()


def test_a_stop_after_the_first_bytes_keeps_them(server: FileServer, to: Path) -> None:
    """Fewer than a file's buffer holds: they were lost when the part was found empty."""
    server.pace, stop = 0.02, threading.Event()
    with pytest.raises(StoppedError):
        get(server, to, stop=stop, progress=lambda here, total: stop.set())
    kept = part(to).read_bytes()
    assert 0 < len(kept) < 8192
    assert CONTENT.startswith(kept)


def test_one_process_at_a_time(server: FileServer, to: Path) -> None:
    server.pace = 0.02
    first = threading.Thread(target=get, args=(server, to))
    first.start()
    while not server.asked:
        time.sleep(0.01)
    with pytest.raises(InputError, match=r"a\.zip\.partial: another process is fetching this file"):
        get(server, to)
    first.join()
    assert to.read_bytes() == CONTENT


def test_no_secret_is_shown(server: FileServer, to: Path) -> None:
    del server.files["a.zip"]
    url = server.url("a.zip?token=geheim").replace("http://", "http://me:geheim@")
    with pytest.raises(DownloadError) as caught:
        download(url, to, sha256=SHA256, patience=QUICK)
    assert "geheim" not in str(caught.value)
    assert server.asked == [("/a.zip?token=geheim", "")]


def test_examples() -> None:
    assert doctest.testmod(trouble) == doctest.TestResults(0, 4)

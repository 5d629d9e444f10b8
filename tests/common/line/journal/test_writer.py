"""What is acknowledged is there, whole and once: threads, a kill, a full disk, a second writer."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from journal_cases import change, small_journal, station_key, verdict

from common.errors import InputError, RunError
from common.line.journal import Journal, verify
from common.line.journal.journal import sign_beside

ROOT = Path(__file__).parents[4]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    regions = [{"area": 3, "peak": 2.5, "peak_row": 1, "peak_column": 7}]
    told, image = verdict(1, score=0.1 + 0.2, anomalous=True, regions=regions, name="a.png")
    with Journal(tmp_path) as journal:
        written = journal.add_verdict(told, image)
        review = journal.add_review(written.id, "unsure", "ann", "look again")
        switch = journal.add_switch("c" * 64, "run-2", "eve", "better")
        changed = journal.add_threshold("bottle", None, 2.5, "by hand", "eve", "alarms")
        assert written.verdict == told
        assert written.image_kept
        assert journal.image(written.id) == image
    with Journal.reading(tmp_path) as reader:
        again = reader.entry(written.id)
        assert again == replace(written, review=review)
        assert reader.switches() == [switch]
        assert reader.threshold_changes("bottle") == [changed]
        assert reader.threshold_changes("other") == []
        assert reader.reviews(written.id) == [review]
        assert list(reader.entries()) == [again]


def test_four_threads(tmp_path: Path) -> None:
    """Rows of all threads are in one chain; each thread finds its own ones acknowledged."""
    written: dict[int, str] = {}
    with Journal(tmp_path) as journal:
        commits: list[str] = []
        connection = journal._open_queue.connection
        connection.set_trace_callback(
            lambda text: commits.append(text) if "COMMIT" in text else None
        )

        def work(start: int) -> None:
            for number in range(start, start + 40):
                written[journal.add_verdict(*verdict(number)).id] = f"P{number}"

        began = time.perf_counter()
        threads = [threading.Thread(target=work, args=(start,)) for start in (0, 40, 80, 120)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        print(f"4 threads: {160 / seconds:.0f} rows/s, {160 / len(commits):.1f} rows a commit")
        assert len(commits) <= 120  # several wait for the disk together
        assert {entry.id: entry.verdict.part for entry in journal.entries()} == written
    assert len(written) == 160
    assert verify(tmp_path).whole


def test_one_of_a_group_is_refused_alone(tmp_path: Path) -> None:
    """A review of no part does not undo the verdicts that are written with it."""
    with Journal(tmp_path) as journal:
        refusals: list[str] = []

        def review() -> None:
            for _ in range(20):
                with pytest.raises(InputError, match="no part of this id") as caught:
                    journal.add_review(10**6, "good", "ann")
                refusals.append(str(caught.value))

        thread = threading.Thread(target=review)
        thread.start()
        for number in range(20):
            journal.add_verdict(*verdict(number))
        thread.join()
        assert len(refusals) == 20
        assert journal.summary().rows["verdicts"] == 20
        assert journal.summary().rows["reviews"] == 0


_WRITE = """
import sys
sys.path.insert(0, "tests/helpers")
from pathlib import Path
from journal_cases import verdict
from common.line.journal import Journal, KeepRule
journal = Journal(Path(sys.argv[1]), keep=KeepRule(one_in=2), head_every=0.02)
number = 0
while True:
    print(journal.add_verdict(*verdict(number)).id, flush=True)
    number += 1
"""


def test_kill_while_writing(tmp_path: Path) -> None:
    """Every acknowledged row is there once, the next writer goes on, and verify finds nothing."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    acknowledged = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITE, str(tmp_path)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(25)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines()
        process.wait()
        acknowledged += len([line for line in lines if line.strip()])
        with Journal.reading(tmp_path) as reader:
            found = [entry.id for entry in reader.entries()]
        whole = [int(line) for line in lines if line.strip()]
        assert set(whole) <= set(found)
        assert len(found) - acknowledged in (0, 1, 2, 3)  # written, and killed before it said so
    with Journal(tmp_path) as journal:
        assert journal.summary().rows["verdicts"] >= acknowledged
    findings = verify(tmp_path)
    assert findings.found == {}
    stored = [path for path in (tmp_path / "images").rglob("*") if path.is_file()]
    assert len(stored) == findings.images > 0


def test_a_head_whose_row_a_crash_left_out(tmp_path: Path) -> None:
    signer, key = station_key(tmp_path)
    small_journal(tmp_path / "journal", signer)
    change(tmp_path / "journal", "DELETE FROM heads WHERE seq = 23")
    with (tmp_path / "journal/heads.jsonl").open("ab") as file:
        file.write(b'{"half of a li')
    Journal(tmp_path / "journal", signing=signer).close()
    findings = verify(tmp_path / "journal", key)
    assert (findings.found, findings.last) == ({}, 23)


def test_a_full_database(tmp_path: Path) -> None:
    """SQLite itself refuses a page more: one line, no half row, and the journal goes on."""
    with Journal(tmp_path) as journal:
        kept = journal.add_verdict(*verdict(1))
        connection = journal._open_queue.connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")
        long = replace(verdict(2)[0], threshold_source="x" * 2000, anomalous=True)

        def fill() -> None:
            for _ in range(10):
                journal.add_verdict(long, verdict(2)[1])

        with pytest.raises(RunError, match="the disk is full; make room on it") as caught:
            fill()
        assert "\n" not in str(caught.value)
        before = [entry.id for entry in journal.entries()]
        assert before[0] == kept.id
        connection.execute("PRAGMA max_page_count=100000")
        after = journal.add_verdict(*verdict(3))
        assert [entry.id for entry in journal.entries()] == [*before, after.id]
    assert verify(tmp_path).whole


_LIMITED = """
import resource, signal, sys
sys.path.insert(0, "tests/helpers")
from dataclasses import replace
from pathlib import Path
from journal_cases import verdict
from common.errors import RunError
from common.line.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
number = 0
try:
    while True:
        journal.add_verdict(*verdict(number))
        number += 1
except RunError as error:
    print(number, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(journal.add_verdict(*verdict(9999)).id)
journal.close()
"""


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """The system refuses to write: one line, and the acknowledged rows, no more and no less."""
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    written = int(first.split()[0])
    assert written > 3
    assert "cannot be read or written" in first or "the disk is full" in first
    with Journal.reading(tmp_path) as reader:
        parts = [entry.verdict.part for entry in reader.entries()]
        assert reader.entry(int(last)).verdict.part == "P9999"
    assert parts == [*(f"P{number}" for number in range(written)), "P9999"]
    assert verify(tmp_path).whole


def test_an_image_that_cannot_be_written(tmp_path: Path) -> None:
    told, image = verdict(1, anomalous=True)
    with Journal(tmp_path) as journal:
        (tmp_path / "images").write_text("in the way")
        with pytest.raises(RunError, match="images"):
            journal.add_verdict(told, image)
        assert journal.summary().rows["verdicts"] == 0
        with pytest.raises(InputError, match="image sha256"):
            journal.add_verdict(told, b"another image")


def test_one_writer(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        with pytest.raises(InputError, match="another process writes this journal"):
            Journal(tmp_path)
        journal.add_verdict(*verdict(1))
    with Journal(tmp_path) as journal:
        assert len(journal.parts()) == 1
    journal.close()
    for call in (lambda: journal.parts(), lambda: journal.add_verdict(*verdict(2))):
        with pytest.raises(InputError, match="the journal is closed"):
            call()


def test_databases_that_are_no_journal(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no journal here"):
        Journal.reading(tmp_path / "none")
    for name, statement in (("other", "CREATE TABLE a (b)"), ("newer", "PRAGMA user_version=99")):
        folder = tmp_path / name
        if name == "newer":
            Journal(folder).close()
        else:
            folder.mkdir()
        change(folder, statement)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "journal.sqlite").write_text("no database" * 500)
    for name, said in (
        ("other", "no journal of fedpatchcore"),
        ("newer", "version 99 of the journal; this program knows versions up to 1"),
        ("text", "is no database"),
    ):
        for opened in (Journal, Journal.reading, verify):
            with pytest.raises(InputError, match=said) as caught:
                opened(tmp_path / name)
            assert "\n" not in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        Journal(tmp_path / "file")


def test_the_database_is_durable(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        connection = journal._open_queue.connection
        asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in asked]
        assert found == ["wal", 2, 1, 10000]  # 2: FULL
    with Journal.reading(tmp_path) as reader, pytest.raises(sqlite3.OperationalError):
        reader._connection.execute("DELETE FROM heads")


def test_heads_every_hour_at_close_and_beside(tmp_path: Path) -> None:
    signer, key = station_key(tmp_path)
    folder = tmp_path / "journal"
    with Journal(folder, signing=signer, head_every=0.02) as journal:
        journal.add_verdict(*verdict(1))
        deadline = time.monotonic() + 20
        while journal.summary().rows["heads"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)  # nothing new: no further head
        beside = sign_beside(folder, signer)
        assert journal.summary().rows["heads"] == 2
        journal.add_verdict(*verdict(2))
    lines = [json.loads(line) for line in (folder / "heads.jsonl").read_text().splitlines()]
    assert [line["why"] for line in lines][:3] == ["open", "hour", "export beside the writer"]
    assert beside.seq == lines[2]["seq"] == 3
    findings = verify(folder, key)
    assert findings.found == {}
    assert findings.heads == len(lines)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("part", "a\nb", "U\\+000A"),
        ("part", "\x1b[31m", "U\\+001B"),
        ("part", "abc\u202edef", "U\\+202E"),
        ("part", "x" * 201, "201 characters; expected at most 200"),
        ("part", "", "is empty"),
        ("category", "a\x00", "U\\+0000"),
        ("score", float("nan"), "finite number"),
        ("source", "mail", "expected api or watch"),
        ("image_sha256", "../../etc/passwd", "64 hexadecimal digits"),
        ("anomalous", "yes", "expected true, false or none"),
    ],
)
def test_fields_that_are_refused(tmp_path: Path, field: str, value: object, said: str) -> None:
    with Journal(tmp_path) as journal:
        with pytest.raises(InputError, match=said):
            journal.add_verdict(replace(verdict(1)[0], **{field: value}))  # type: ignore[arg-type]
        assert journal.summary().rows["verdicts"] == 0


def test_reviews_that_are_refused(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        part = journal.add_verdict(*verdict(1)).id
        for said, arguments in (
            ("expected good, defect, unsure", (part, "<b>", "ann", "")),
            ("by: is empty", (part, "good", " ", "")),
            ("note: holds the control character", (part, "good", "ann", "a\x07")),
            ("at most 2000", (part, "good", "ann", "x" * 2001)),
            ("no part of this id", (part - 1, "good", "ann", "")),
            ("no part of this id", (2**70, "good", "ann", "")),
        ):
            with pytest.raises(InputError, match=said):
                journal.add_review(*arguments)
        assert journal.summary().rows["reviews"] == 0
        assert journal.entry(part).review is None


def test_names_of_files_are_kept_whatever_they_are(tmp_path: Path) -> None:
    odd = os.fsdecode(b"/in/a\xff\n\x1b.png")
    told, _ = verdict(1, name=odd, source="watch")
    with Journal(tmp_path) as journal:
        entry = journal.add_verdict(told)
        assert entry.verdict.name == "/in/a\\xff\\x0a\\x1b.png"
        assert journal.is_judged(odd, told.image_sha256)
        assert not journal.is_judged(odd, "0" * 64)
        assert journal.judged_files(Path("/in")) == {(entry.verdict.name, told.image_sha256)}
        assert journal.judged_files(Path("/i")) == set()

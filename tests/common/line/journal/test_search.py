"""Pages of parts: what they hold, by a plain twin; what they cost, among a million rows."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from journal_cases import PLAIN, verdict

from common.errors import InputError
from common.line.journal import Entry, Journal, JournalReader, verify
from common.line.journal.chain import Chain, canonical
from common.line.journal.checks import verdict_fields
from common.line.journal.schema import COLUMNS, DATABASE, INDEXES

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def plain_twin(
    entries: list[Entry],
    since: str | None,
    until: str | None,
    after: int | None,
    **asked: Any,
) -> list[int]:
    """Ids of all that fit, the newest first."""
    places = {entry.id: (entry.judged_at, entry.id) for entry in entries}
    found = []
    for entry in entries:
        own = {
            "part": entry.verdict.part,
            "category": entry.verdict.category,
            "anomalous": entry.verdict.anomalous,
            "reviewed": entry.review is not None,
        }
        fits = all(value is None or own[name] == value for name, value in asked.items())
        fits = fits and (since is None or entry.judged_at >= since)
        fits = fits and (until is None or entry.judged_at < until)
        if fits and (after is None or places[entry.id] < places[after]):
            found.append(entry.id)
    return sorted(found, key=lambda one: places[one], reverse=True)


def test_every_combination_is_the_plain_twin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the clock was set back, and two parts were judged at the same moment."""
    rng = np.random.default_rng(5)
    minutes = iter([*rng.integers(0, 40, size=200)])
    monkeypatch.setattr(
        "common.line.journal.journal.now",
        lambda: (BEGIN + timedelta(minutes=int(next(minutes)))).isoformat(timespec="microseconds"),
    )
    with Journal(tmp_path) as journal:
        ids = []
        for number in range(60):
            told, _ = verdict(
                number,
                part=[None, "A", "B"][rng.integers(3)],
                category=["bottle", "nut"][rng.integers(2)],
                anomalous=[None, True, False][rng.integers(3)],
            )
            ids.append(journal.add_verdict(told).id)
        for number in rng.choice(ids, size=25):
            journal.add_review(int(number), "good", "ann")
        entries = list(journal.entries())
        times: tuple[Any, ...] = (None, entries[10].judged_at, entries[30].judged_at)
        compared = matched = 0
        for since, until, part, category, anomalous, reviewed, after in itertools.product(
            times, times, (None, "A", "C"), (None, "nut"), (None, True, False),
            (None, True, False), (None, ids[20]),
        ):  # fmt: skip
            asked = {
                "part": part,
                "category": category,
                "anomalous": anomalous,
                "reviewed": reviewed,
            }
            expected = plain_twin(entries, since, until, after, **asked)
            page = journal.parts(since=since, until=until, after=after, limit=7, **asked)
            assert [entry.id for entry in page] == expected[:7]
            compared, matched = compared + 1, matched + bool(expected)
        assert compared == 3 * 3 * 3 * 2 * 3 * 3 * 2
        assert matched > 200
        # Page by page is all of them, each once.
        found: list[int] = []
        while page := journal.parts(after=found[-1] if found else None, limit=7):
            found += [entry.id for entry in page]
        assert found == plain_twin(entries, None, None, None)


def test_arguments_that_are_refused(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.add_verdict(*verdict(1))
        for said, asked in (
            ("since 'yesterday': is no time", {"since": "yesterday"}),
            ("limit 0: expected 1 to 1000", {"limit": 0}),
            ("limit 1001", {"limit": 1001}),
            ("after 99: no part has this id", {"after": 99}),
            ("after -1: no part", {"after": -1}),
            ("no part has this id", {"after": 2**80}),
        ):
            with pytest.raises(InputError, match=said):
                journal.parts(**asked)  # type: ignore[arg-type]
        assert journal.parts(part="' OR 1=1 --") == []
        # A zone is heeded, and without one it is UTC.
        assert len(journal.parts(since="2020-01-01", until="2199-12-31T23:00:00+14:00")) == 1


CATEGORIES = ("bottle", "bottle", "bottle", "cable", "nut", "rare")


def fill(folder: Path, count: int) -> None:
    """Write verdicts with a real chain, a hundred times as fast as one by one.

    Hardest for an index: of a category one verdict alone, nearly all reviewed or nearly none, the
    same part number in half of the rows.
    """
    Journal(folder).close()
    connection = sqlite3.connect(folder / DATABASE, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA journal_mode=OFF")
    for index in INDEXES[:3]:
        connection.execute(f"DROP INDEX {index.split()[2]}")
    chain = Chain.read(connection)
    first = chain.seq + 1
    columns = COLUMNS["verdicts"]
    varied = {name: f"<{name}>" for name in ("judged_at", "part", "category", "anomalous")}
    fields = {"judged_at": "", **verdict_fields(PLAIN), **varied}
    # What `row_hash` takes, with blanks: that it is the same is told by `verify` of fewer rows.
    form = canonical(["<previous>", "<seq>", "verdicts", fields]).decode().replace("%", "%%")
    for name, mark in (
        ("<previous>", '"%s"'), ("<seq>", "%d"), ("<anomalous>", "%d"), ("<category>", '"%s"'),
        ("<judged_at>", '"%s"'), ("<part>", '"%s"'),
    ):  # fmt: skip
        form = form.replace(f'"{name}"', mark)
    days = [(BEGIN + timedelta(days=day)).date().isoformat() for day in range(count // 2880 + 1)]
    fixed = tuple(fields[name] for name in columns[3:5]), tuple(fields[n] for n in columns[6:])

    def rows() -> Iterator[tuple[Any, ...]]:
        previous = chain.hash
        for seq in range(first, first + count):
            number = seq - first
            day, half = divmod(number, 2880)  # one every 30 seconds
            hour, half = divmod(half, 120)
            when = f"{days[day]}T{hour:02d}:{half // 2:02d}:{half % 2 * 30:02d}.000000+00:00"
            category = CATEGORIES[number * 7 % 6]
            anomalous = number % 50 == 7 and category != "rare"
            part = "common" if number % 2 else f"P{number}"
            text = form % (previous.hex(), seq, anomalous, category, when, part)
            previous = hashlib.sha256(text.encode()).digest()
            reviewed = number % 997 != 0
            yield (seq, when, part, category, *fixed[0], anomalous, *fixed[1], reviewed, previous)

    marks = ", ".join("?" * (len(columns) + 3))
    named = f"(seq, {', '.join(columns)}, reviewed, hash)"
    connection.execute("BEGIN")
    connection.executemany(f"INSERT INTO verdicts {named} VALUES ({marks})", rows())
    for index in INDEXES[:3]:
        connection.execute(index)
    connection.execute("COMMIT")
    connection.close()


def slowest(reader: JournalReader, middle: int, mean: str) -> tuple[float, float, dict[str, Any]]:
    """The dearest page of every combination: processor time, wall time, what was asked."""
    worst: tuple[float, float, dict[str, Any]] = (0.0, 0.0, {})
    for since, until, part, category, anomalous, reviewed, after in itertools.product(
        (None, mean), (None, mean), (None, "common", "P500"), (None, "bottle", "rare"),
        (None, True, False), (None, True, False), (None, middle),
    ):  # fmt: skip
        asked = {
            "since": since,
            "until": until,
            "part": part,
            "category": category,
            "anomalous": anomalous,
            "reviewed": reviewed,
            "after": after,
        }
        processor, wall = time.process_time(), time.perf_counter()
        reader.parts(**asked)
        took = time.process_time() - processor, time.perf_counter() - wall
        worst = max(worst, (*took, asked), key=lambda one: one[0])
    return worst


def test_ten_thousand_rows(tmp_path: Path) -> None:
    fill(tmp_path, 10_000)
    with Journal.reading(tmp_path) as reader:
        mean = (BEGIN + timedelta(seconds=150_000)).isoformat()
        worst = slowest(reader, 5_000, mean)
    print(f"10,000 rows: {worst[0] * 1e3:.1f} ms processor, {worst[1] * 1e3:.1f} ms for {worst[2]}")
    assert worst[0] < 0.2
    found = verify(tmp_path).found
    assert set(found) == {"review mark"}  # that they were reviewed is all that is not true


def test_a_million_rows(tmp_path: Path) -> None:
    began = time.perf_counter()
    fill(tmp_path, 1_000_000)
    built = time.perf_counter() - began
    try:
        with Journal.reading(tmp_path) as reader:
            mean = (BEGIN + timedelta(seconds=15_000_000)).isoformat()
            worst = slowest(reader, 500_000, mean)
            page = reader.parts(category="rare", anomalous=False, reviewed=False)
        size = (tmp_path / DATABASE).stat().st_size
    finally:
        shutil.rmtree(tmp_path)
    print(
        f"1,000,000 rows ({size / 1e6:.0f} MB) written in {built:.1f} s; dearest page "
        f"{worst[0] * 1e3:.1f} ms processor, {worst[1] * 1e3:.1f} ms wall: {worst[2]}"
    )
    assert worst[0] < 0.3
    assert len(page) == 100
    assert {entry.verdict.category for entry in page} == {"rare"}

"""Whatever is changed in a journal by one without the key, `verify` finds it and names the row."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from journal_cases import change, small_journal, station_key

from common.line.journal import Journal, verify
from common.line.journal.schema import COLUMNS

ALL = [(kind, column) for kind, own in COLUMNS.items() for column in (*own, "hash", "seq")]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ec.EllipticCurvePublicKey]:
    folder = tmp_path_factory.mktemp("journal")
    signer, key = station_key(folder)
    small_journal(folder / "journal", signer)
    return folder / "journal", key


@pytest.fixture
def journal(
    original: tuple[Path, ec.EllipticCurvePublicKey], tmp_path: Path
) -> tuple[Path, ec.EllipticCurvePublicKey]:
    """A copy to be spoilt."""
    shutil.copytree(original[0], tmp_path / "journal")
    return tmp_path / "journal", original[1]


def flipped(value: Any) -> Any:
    """The same value but for one bit; something in the place of nothing."""
    if value is None:
        return 1
    if isinstance(value, str):
        return chr(ord(value[0]) ^ 1) + value[1:] if value else "x"
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    return value + 1 if isinstance(value, int) else value * (1 + 2**-52)


def rows(folder: Path, kind: str, column: str) -> Iterator[tuple[int, Any]]:
    connection = sqlite3.connect(folder / "journal.sqlite")
    yield from connection.execute(f"SELECT seq, {column} FROM {kind} ORDER BY seq").fetchall()
    connection.close()


def test_an_untouched_journal_is_whole(
    original: tuple[Path, ec.EllipticCurvePublicKey],
) -> None:
    findings = verify(*original)
    assert findings.found == {}
    assert findings.notes == []
    # 7 verdicts, 2 reviews, 2 switches, 2 thresholds, 7 kept images; heads: open, export, close.
    own = {"verdicts": 7, "reviews": 2, "switches": 2, "thresholds": 2, "heads": 3, "images": 7}
    assert findings.rows == own
    assert (findings.last, findings.heads, findings.images) == (23, 3, 7)
    assert findings.head is not None
    assert findings.head.seq == 22
    assert findings.head.why == "close"


@pytest.mark.parametrize(("kind", "column"), ALL)
def test_a_flipped_byte_in_any_column(
    journal: tuple[Path, ec.EllipticCurvePublicKey], kind: str, column: str
) -> None:
    folder, key = journal
    seq, value = list(rows(folder, kind, column))[-1]
    new = 1000 if column == "seq" else flipped(value)
    assert change(folder, f"UPDATE {kind} SET {column} = ? WHERE seq = ?", new, seq) == 1
    findings = verify(folder, key)
    assert not findings.whole
    if column not in ("seq", "hash"):
        own = findings.found[f"row changed ({kind})"]
        assert (own.kind, own.row, own.count) == ("row changed", seq, 1)
    assert not verify(folder).whole  # without the key, too


def test_a_flipped_mark(journal: tuple[Path, ec.EllipticCurvePublicKey]) -> None:
    folder, key = journal
    change(folder, "UPDATE verdicts SET reviewed = 1 - reviewed WHERE part = 'P0'")
    assert set(verify(folder, key).found) == {"review mark"}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_removed_row(journal: tuple[Path, ec.EllipticCurvePublicKey], kind: str) -> None:
    folder, key = journal
    seq = next(rows(folder, kind, "seq"))[0]
    change(folder, f"DELETE FROM {kind} WHERE seq = ?", seq)
    found = verify(folder, key).found["row missing"]
    assert (found.row, found.count) == (seq, 1)
    assert f"row {seq} is missing" in found.what


def test_the_first_of_each_table(journal: tuple[Path, ec.EllipticCurvePublicKey]) -> None:
    folder, key = journal
    change(folder, "UPDATE verdicts SET run_id = 'another'")
    change(folder, "UPDATE reviews SET author = 'nobody'")
    found = verify(folder, key).found
    assert set(found) == {"row changed (verdicts)", "row changed (reviews)"}
    first, second = found.values()
    assert (first.row, first.count) == (3, 7)
    assert (second.row, second.count) == (next(rows(folder, "reviews", "seq"))[0], 2)


def test_two_rows_swapped(journal: tuple[Path, ec.EllipticCurvePublicKey]) -> None:
    folder, key = journal
    first, second = [seq for seq, _ in rows(folder, "verdicts", "seq")][1:3]
    for old, new in ((first, 500), (second, first), (500, second)):
        change(folder, "UPDATE verdicts SET seq = ? WHERE seq = ?", new, old)
    assert verify(folder, key).found["row changed (verdicts)"].row == first


def test_a_row_copied(journal: tuple[Path, ec.EllipticCurvePublicKey]) -> None:
    folder, key = journal
    columns = ", ".join((*COLUMNS["verdicts"], "hash"))
    copied = f"INSERT INTO verdicts (seq, {columns}) SELECT ?, {columns} FROM verdicts LIMIT 1"
    change(folder, copied, 24)
    assert verify(folder, key).found["row changed (verdicts)"].row == 24


def test_a_place_taken_twice(journal: tuple[Path, ec.EllipticCurvePublicKey]) -> None:
    folder, key = journal
    place = next(rows(folder, "reviews", "seq"))[0]
    columns = ", ".join((*COLUMNS["switches"], "hash"))
    change(
        folder,
        f"INSERT INTO switches (seq, {columns}) SELECT ?, {columns} FROM switches LIMIT 1",
        place,
    )
    assert verify(folder, key).found["row twice"].row == place


@pytest.mark.parametrize("kept", [0, 10, 21, 22])
def test_the_end_cut(journal: tuple[Path, ec.EllipticCurvePublicKey], kept: int) -> None:
    """Row 23 is the last head, of row 22."""
    folder, key = journal
    for kind in COLUMNS:
        change(folder, f"DELETE FROM {kind} WHERE seq > ?", kept)
    findings = verify(folder, key)
    if kept == 22:
        assert findings.found["head missing"].row == 22
    else:
        assert findings.found["end cut"].row == kept + 1
        assert findings.found["end cut"].count == 22 - kept


def test_both_cut_back_to_one_head(
    journal: tuple[Path, ec.EllipticCurvePublicKey],
) -> None:
    """That goes unseen, as the documentation says, but for a copy of the file elsewhere."""
    folder, key = journal
    path = folder / "heads.jsonl"
    copy = path.read_bytes()
    lines = copy.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert verify(folder, key).found["head missing"].row == 23
    head = json.loads(lines[1])["seq"] + 1
    for kind in COLUMNS:
        change(folder, f"DELETE FROM {kind} WHERE seq > ?", head)
    assert verify(folder, key).whole
    path.write_bytes(copy)
    assert verify(folder, key).found["end cut"].row == head + 1


def edited(lines: list[bytes], name: str) -> list[bytes]:
    if name == "a line removed":
        return [lines[0], *lines[2:]]
    if name == "lines swapped":
        return [lines[1], lines[0], *lines[2:]]
    if name == "half of the last line":
        return [*lines[:-1], lines[-1][:-9]]
    if name == "no line":
        return []
    if name == "no JSON":
        return [lines[0], b"[[[\n", *lines[2:]]
    if name == "a long line":
        return [lines[0], b"x" * 20000 + b"\n", *lines[1:]]
    facts = json.loads(lines[1])
    facts[name] = flipped(facts[name])
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return [lines[0], text.encode() + b"\n", *lines[2:]]


@pytest.mark.parametrize(
    "name",
    [
        "a line removed",
        "lines swapped",
        "half of the last line",
        "no line",
        "no JSON",
        "a long line",
        *("journal", "seq", "hash", "signed_at", "why", "key", "signature"),
    ],
)
def test_edited_heads(journal: tuple[Path, ec.EllipticCurvePublicKey], name: str) -> None:
    folder, key = journal
    path = folder / "heads.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(edited(lines, name)))
    for found in (verify(folder, key).found, verify(folder).found):
        assert {"head", "head missing", "signature"} & set(found)


def test_no_file_of_heads(journal: tuple[Path, ec.EllipticCurvePublicKey]) -> None:
    folder, key = journal
    (folder / "heads.jsonl").unlink()
    assert verify(folder, key).found["head missing"].count == 3


def test_a_chain_made_anew(original: tuple[Path, Any], tmp_path: Path) -> None:
    """By one without the key, who signs with another, or not at all."""
    stranger, _ = station_key(tmp_path)
    small_journal(tmp_path / "other", stranger)
    small_journal(tmp_path / "unsigned", None)
    key = original[1]
    assert verify(tmp_path / "other").whole
    assert verify(tmp_path / "other", key).found["signature"].row == 0
    assert "not signed by the key" in verify(tmp_path / "other", key).found["signature"].what
    assert set(verify(tmp_path / "unsigned", key).found) == {"signature"}
    unsigned = verify(tmp_path / "unsigned")
    assert unsigned.whole
    assert "no head is signed" in unsigned.notes[0]


def test_an_image_changed_and_one_removed(
    journal: tuple[Path, ec.EllipticCurvePublicKey],
) -> None:
    folder, key = journal
    first, second = [path for path in sorted((folder / "images").rglob("*")) if path.is_file()][:2]
    first.write_bytes(b"another")
    assert first.name in verify(folder, key).found["image"].what
    first.unlink()
    second.unlink()
    assert verify(folder, key).found["image"].count == 2
    assert verify(folder, key, images=False).whole


def test_a_byte_in_an_index(journal: tuple[Path, ec.EllipticCurvePublicKey]) -> None:
    """A search would not find the part: its name in the index of parts is another."""
    folder, key = journal
    change(folder, "PRAGMA wal_checkpoint(TRUNCATE)")
    path = folder / "journal.sqlite"
    content = path.read_bytes()
    # Part and category are neighbours in the table and in one index.
    places = [at for at in range(len(content)) if content.startswith(b"P3bottle", at)]
    assert len(places) == 2
    kinds = set()
    for at in places:
        path.write_bytes(content[: at + 1] + b"9" + content[at + 2 :])
        found = verify(folder, key).found
        assert "database" in found  # the two do not fit
        kinds.add("row changed (verdicts)" in found)
    assert kinds == {True, False}


def test_a_trigger_that_was_added(journal: tuple[Path, ec.EllipticCurvePublicKey]) -> None:
    folder, key = journal
    change(
        folder,
        "CREATE TRIGGER gone AFTER INSERT ON verdicts BEGIN DELETE FROM verdicts; END",
    )
    assert "gone was added" in verify(folder, key).found["database"].what


def test_verifying_beside_the_writer(tmp_path: Path) -> None:
    """No finding, whatever the writer is doing at that moment."""
    import threading

    from journal_cases import verdict

    signer, key = station_key(tmp_path)
    with Journal(tmp_path / "journal", signing=signer, head_every=0.005) as journal:

        def write() -> None:
            for number in range(60):
                journal.add_verdict(*verdict(number))

        writer = threading.Thread(target=write)
        writer.start()
        looks = 0
        while writer.is_alive():
            assert verify(tmp_path / "journal", key).found == {}
            looks += 1
        writer.join()
    assert looks > 1
    findings = verify(tmp_path / "journal", key)
    assert findings.whole
    assert findings.heads > 3

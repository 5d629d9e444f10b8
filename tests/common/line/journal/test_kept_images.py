"""Which images are kept, for how long, and that their removal is no tampering."""

from __future__ import annotations

from pathlib import Path

import pytest
from journal_cases import change, station_key, verdict

from common.errors import InputError
from common.line.journal import Journal, KeepRule, verify


def stored(folder: Path) -> set[str]:
    return {path.name for path in (folder / "images").rglob("*") if path.is_file()}


def test_rejected_ones_and_one_in_n(tmp_path: Path) -> None:
    told = [verdict(n) for n in range(200)]
    expected = {one.image_sha256 for one, _ in told if int(one.image_sha256[:16], 16) % 10 == 0}
    assert 8 <= len(expected) <= 35
    with Journal(tmp_path, keep=KeepRule(one_in=10)) as journal:
        for one, image in told:
            journal.add_verdict(one, image)
        assert stored(tmp_path) == expected
        rejected, image = verdict(1000, anomalous=True)
        failed, other = verdict(1001, anomalous=None, score=None, error="cannot be read")
        assert journal.add_verdict(rejected, image).image_kept
        assert journal.add_verdict(failed, other).image_kept
        place = tmp_path / "images" / rejected.image_sha256[:2] / rejected.image_sha256
        assert place.read_bytes() == image
        # The same image once more is the same file, and no row of its own.
        rows = journal.summary().rows["images"]
        assert journal.add_verdict(rejected, image).image_kept
        assert journal.summary().rows["images"] == rows


def test_none_of_the_passed_and_none_at_all(tmp_path: Path) -> None:
    with Journal(tmp_path / "a", keep=KeepRule(one_in=0)) as journal:
        assert not journal.add_verdict(*verdict(1)).image_kept
        assert journal.add_verdict(*verdict(1, anomalous=True)).image_kept
    with Journal(tmp_path / "b", keep=KeepRule(one_in=1, gigabytes=0)) as journal:
        entry = journal.add_verdict(*verdict(1, anomalous=True))
        assert not entry.image_kept
        assert journal.image(entry.id) is None
    with pytest.raises(InputError, match="expected 0 or more"):
        KeepRule(one_in=-1)


def test_the_oldest_go_first(tmp_path: Path) -> None:
    """1,000 bytes in all, 300 an image: the three newest stay."""
    signer, key = station_key(tmp_path)
    folder = tmp_path / "journal"
    with Journal(folder, signing=signer, keep=KeepRule(one_in=1, gigabytes=1e-6)) as journal:
        ids = []
        for number in range(6):
            from journal_cases import sha256

            image = bytes([number]) * 300
            told, _ = verdict(number, image_sha256=sha256(image))
            ids.append(journal.add_verdict(told, image).id)
        journal.tidy()
        assert [journal.entry(one).image_kept for one in ids] == [False] * 3 + [True] * 3
        assert [journal.image(one) is None for one in ids] == [True] * 3 + [False] * 3
        assert (journal.summary().images, journal.summary().image_bytes) == (3, 900)
        # One that is seen again is kept again.
        image = bytes(300)
        told, _ = verdict(0, image_sha256=sha256(image))
        again = journal.add_verdict(told, image)
        assert again.image_kept
        assert journal.image(ids[0]) == image
    findings = verify(folder, key)
    assert findings.found == {}
    assert findings.rows["images"] >= 6 + 3 + 1


def test_too_old(tmp_path: Path) -> None:
    with Journal(tmp_path, keep=KeepRule(one_in=1, days=1e-9)) as journal:
        entry = journal.add_verdict(*verdict(1))
        assert journal.tidy() == 1
        assert not journal.entry(entry.id).image_kept
        assert stored(tmp_path) == set()
    assert verify(tmp_path).found == {}


def test_a_limit_is_kept_without_being_asked(tmp_path: Path) -> None:
    import time

    with Journal(tmp_path, keep=KeepRule(one_in=1, gigabytes=50e-9)) as journal:
        for number in range(20):  # of 7 or 8 bytes
            journal.add_verdict(*verdict(number))
        deadline = time.monotonic() + 20
        while journal.summary().image_bytes > 50:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert len(stored(tmp_path)) <= 7


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    with Journal(tmp_path, keep=KeepRule(one_in=1)) as journal:
        kept = journal.add_verdict(*verdict(1)).verdict.image_sha256
    orphan = tmp_path / "images" / kept[:2] / (kept[:2] + "0" * 62)
    half = orphan.with_name(".1.2.partial")
    foreign = orphan.with_name("note.txt")
    for path in (orphan, half, foreign):
        path.write_bytes(b"x")
    Journal(tmp_path).close()
    assert stored(tmp_path) == {kept, "note.txt"}


def test_an_image_removed_by_hand_is_a_finding(tmp_path: Path) -> None:
    with Journal(tmp_path, keep=KeepRule(one_in=1)) as journal:
        entry = journal.add_verdict(*verdict(1))
    change(tmp_path, "DELETE FROM images")
    assert "row missing" in verify(tmp_path).found
    assert entry.image_kept

"""A letter is obeyed once, also after a restart; what is remembered of it stays small."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_cases import fill, mounted

from client_app import obeyed
from client_app.failures import failure_code
from client_app.obeyed import FURTHEST, ObeyedLetters
from common.config import LONGEST_ROUND_SECONDS
from common.errors import InputError, RunError
from common.protocol.letters import Letter, SealError

NOW = 1_800_000_000


def letter(number: int, until: int = NOW + 600) -> Letter:
    return Letter(
        run=7,
        station="press",
        kind="train",
        round=1,
        part=0,
        settings="0" * 64,
        nonce=f"{number:032x}",
        until=until,
    )


def take(cache: Path, one: Letter, now: int = NOW) -> None:
    """As a process of its own does it, which knows nothing but the disk."""
    ObeyedLetters(cache).take(one, now)


def content(cache: Path) -> dict[str, dict[str, int]]:
    return json.loads((cache / "letters" / "obeyed.json").read_text())


def test_a_second_time_is_refused(tmp_path: Path) -> None:
    take(tmp_path, letter(1))
    take(tmp_path, letter(2))
    with pytest.raises(SealError, match="was obeyed before"):
        take(tmp_path, letter(1), NOW + 5)
    take(tmp_path, letter(3))


def test_another_process_knows_it_too(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from client_app.obeyed import ObeyedLetters; "
        "from common.protocol.letters import Letter; "
        "ObeyedLetters(Path(sys.argv[1])).take(Letter.model_validate_json(sys.argv[2]))"
    )
    words = [
        sys.executable,
        "-c",
        code,
        str(tmp_path),
        letter(1, int(time.time()) + 600).model_dump_json(),
    ]
    first, second = (
        subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert "it was obeyed before" in second.stderr


def test_an_old_one_is_refused_and_forgotten(tmp_path: Path) -> None:
    take(tmp_path, letter(1, NOW + 60))
    take(tmp_path, letter(2, NOW + 600), NOW + 61)
    assert list(content(tmp_path)["obeyed"]) == [letter(2).nonce]
    with pytest.raises(SealError, match="its time was over 1 s ago"):
        take(tmp_path, letter(1, NOW + 60), NOW + 61)
    with pytest.raises(SealError, match="its time was over 0 s ago"):
        take(tmp_path, letter(3, NOW + 70), NOW + 70)


def test_a_clock_that_is_set_back_brings_nothing_back(tmp_path: Path) -> None:
    take(tmp_path, letter(1, NOW + 60))
    take(tmp_path, letter(2, NOW + 600), NOW + 61)  # forgets the first
    with pytest.raises(SealError, match="its time was over"):
        take(tmp_path, letter(1, NOW + 60), NOW - 1000)
    with pytest.raises(SealError, match="obeyed before"):
        take(tmp_path, letter(2, NOW + 600), NOW - 1000)
    # Far ahead for a while, then right again: new letters are obeyed all the same.
    with pytest.raises(SealError, match="its time was over"):
        take(tmp_path, letter(3, NOW + 900), NOW + 10**7)
    take(tmp_path, letter(4, NOW + 900), NOW + 70)


YEAR = 365 * 86_400


def test_after_a_time_ahead_the_refusal_says_how_to_go_on(tmp_path: Path) -> None:
    """Server and station a year ahead, two runs there, then both set right."""
    took = letter(1)
    take(tmp_path, took)
    ahead = [letter(2, NOW + YEAR + 3660), letter(3, NOW + YEAR + 10_860)]
    take(tmp_path, ahead[0], NOW + YEAR)
    take(tmp_path, ahead[1], NOW + YEAR + 7200)
    told = (
        r"this station's clock was ahead when it obeyed letters that end 365\.0 days from now.*"
        r"remove letters/obeyed\.json in cache-dir when no run is under way"
    )
    with pytest.raises(SealError, match=told):
        take(tmp_path, letter(4, NOW + 8000), NOW + 100)
    # What was obeyed stays refused; once the file is removed, by its time.
    with pytest.raises(SealError):
        take(tmp_path, took, NOW + 100)
    for one in ahead:
        with pytest.raises(SealError):
            take(tmp_path, one, NOW + 100)
    (tmp_path / "letters" / "obeyed.json").unlink()
    take(tmp_path, letter(5, NOW + 8000), NOW + 700)
    for one in (took, *ahead):
        with pytest.raises(SealError):
            take(tmp_path, one, NOW + 700)


def test_after_a_time_a_little_ahead_it_says_how_long(tmp_path: Path) -> None:
    take(tmp_path, letter(1, NOW + 5000 + 60), NOW + 5000)
    take(tmp_path, letter(2, NOW + 5000 + 600), NOW + 5000 + 61)  # forgets the first
    with pytest.raises(SealError, match=r"clock was ahead for a while.*again in 5000 s at the"):
        take(tmp_path, letter(3, NOW + 70), NOW + 60)
    take(tmp_path, letter(4, NOW + 5061), NOW + 5060)


def test_a_letter_that_ends_later_than_any_can_leaves_nothing(tmp_path: Path) -> None:
    take(tmp_path, letter(1))
    before = content(tmp_path)
    with pytest.raises(
        SealError, match=r"365\.0 days from now.*no letter is good for more than 30"
    ):
        take(tmp_path, letter(2, NOW + YEAR))
    assert content(tmp_path) == before
    with pytest.raises(SealError, match="the server's clock is ahead"):
        take(tmp_path, letter(3, NOW + FURTHEST + 1))
    take(tmp_path, letter(4, NOW + FURTHEST))


def test_the_longest_round_is_obeyed_though_the_servers_clock_is_a_little_ahead(
    tmp_path: Path,
) -> None:
    take(tmp_path, letter(1, NOW + 300 + LONGEST_ROUND_SECONDS + 61))


def test_an_old_letter_is_told_as_one_though_the_clock_was_ahead(tmp_path: Path) -> None:
    take(tmp_path, letter(1, NOW + YEAR + 60), NOW + YEAR)
    take(tmp_path, letter(2, NOW + YEAR + 600), NOW + YEAR + 61)
    with pytest.raises(SealError, match=r"its time was over .* an old one sent again"):
        take(tmp_path, letter(3, NOW - 5), NOW)


def test_it_never_grows_above_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obeyed, "MOST_LETTERS", 5)
    for number in range(9):
        take(tmp_path, letter(number, NOW + 600 + number))
    assert len(content(tmp_path)["obeyed"]) == 5
    for number in range(9):  # those that were dropped are not obeyed again either
        with pytest.raises(SealError):
            take(tmp_path, letter(number, NOW + 600 + number))


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(-50, 50), st.integers(-50, 50)), max_size=40)
)
def test_nothing_is_ever_obeyed_twice(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[int, int, int]]
) -> None:
    """Whatever letters come in whatever order, and whatever the clock says; small bound."""
    cache = tmp_path_factory.mktemp("cache")
    ends: dict[int, int] = {}
    done: set[int] = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(obeyed, "MOST_LETTERS", 3)
        patch.setattr("client_app.obeyed.replacing", _quick(cache))
        for number, end, clock in calls:
            until = NOW + ends.setdefault(number, end)
            try:
                take(cache, letter(number, until), NOW + clock)
            except SealError:
                continue
            assert number not in done
            done.add(number)


def _quick(cache: Path) -> object:
    """Without waiting for the disk, which thousands of examples would."""
    from common.system.files import replacing

    return lambda path, durable: replacing(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 2, "forgotten_until": 0, "obeyed": {}}',
        '{"format": 1, "obeyed": {}}',
        '{"format": 1, "forgotten_until": 0, "obeyed": {"x": 1}}',
        '{"format": 1, "forgotten_until": 0, "obeyed": {"%s": "1"}}' % ("0" * 32),
        "\xff",
    ],
)
def test_a_damaged_memory_is_said_to_be_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "obeyed.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"obeyed\.json: is damaged.*remove it when no run"):
        take(tmp_path, letter(1))


def test_on_a_full_disk_nothing_is_obeyed(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k", "nr_inodes=40") as disk:
        take(disk, letter(1))
        fill(disk)
        with pytest.raises(RunError, match="the disk is full; make room on it") as error:
            take(disk, letter(2))
        assert failure_code(error.value) == "no-space"
        assert "obeyed only when it is noted" in str(error.value)
        (disk / "filler").unlink()
        take(disk, letter(2))  # with room again all is well, and nothing was lost
        with pytest.raises(SealError, match="obeyed before"):
            take(disk, letter(1))
        assert sorted(path.name for path in (disk / "letters").iterdir()) == ["lock", "obeyed.json"]

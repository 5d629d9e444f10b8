"""Which letters of the server this station has obeyed: none is obeyed twice."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, Final

from common.errors import InputError, RunError, explained
from common.paths import locked
from common.protocol.letters import LONGEST_LIFE, Letter, SealError
from common.system.files import replacing

MOST_LETTERS: Final = 10_000
"""Letters remembered at a time; a station is sent a few in each round of a run."""
FURTHEST: Final = LONGEST_LIFE + 3600
"""Seconds ahead of this clock after which no letter's time can end.

An hour is for clocks of server and station that differ: that spoils no letter.
"""
_FORMAT: Final = 1
_NONCE: Final = re.compile(r"[0-9a-f]{32}")


class ObeyedLetters:
    """The letters obeyed, on disk, so that they are known after a restart as well.

    Parameters
    ----------
    cache : Path
        The station's private cache. Who empties it lets letters of the last hours be obeyed again,
        until their time is over.

    Notes
    -----
    A letter is forgotten when its time is over, by this machine's clock; should they be too many,
    those that end first. Whatever ends no later than a forgotten one is not obeyed any more: so a
    clock that is set back, and any number of letters, bring none of them back. A letter whose time
    ends further ahead than any letter's can is not taken, so that a server with a wrong clock
    leaves nothing here. Where both clocks were ahead for a time, letters of that time were obeyed
    and forgotten: when the clocks are right again, nothing is obeyed until somebody removes the
    file. The letters of the wrong time are then too far ahead to be obeyed, until it comes.
    """

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "letters"
        self._path = self._folder / "obeyed.json"

    def take(self, letter: Letter, now: float | None = None) -> None:
        """Remember a letter before anything in it is done.

        Parameters
        ----------
        letter : Letter
            One of the server's: others cannot fill this memory.
        now : float, optional
            Unix time; default this machine's clock.

        Raises
        ------
        SealError
            If its time is over, or it was obeyed before.
        InputError
            If what was remembered cannot be read.
        RunError
            If it cannot be remembered, on a full disk for example: then it must not be obeyed.
        """
        now = time.time() if now is None else now
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self._folder / "lock"):
                forgotten, obeyed = self._read()
                if letter.nonce in obeyed:
                    raise SealError("it was obeyed before: somebody sends it a second time")
                _check_time(letter, now, forgotten)
                self._write({**obeyed, letter.nonce: letter.until}, forgotten, now)
        except OSError as error:
            raise RunError(
                f"{explained(error)}; a letter of the server is obeyed only when it is noted there "
                "that it was"
            ) from error

    def _write(self, obeyed: dict[str, int], forgotten: int, now: float) -> None:
        in_time = {nonce: until for nonce, until in obeyed.items() if until > now}
        latest = sorted(in_time, key=in_time.__getitem__)[-MOST_LETTERS:]
        kept = {nonce: in_time[nonce] for nonce in latest}
        forgotten = max([forgotten, *(obeyed[nonce] for nonce in obeyed.keys() - kept.keys())])
        content = {"format": _FORMAT, "forgotten_until": forgotten, "obeyed": kept}
        with replacing(self._path, durable=True) as file:
            file.write(json.dumps(content).encode())

    def _read(self) -> tuple[int, dict[str, int]]:
        try:
            content = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return 0, {}
        except ValueError:
            content = None
        if not _is_whole(content):
            raise InputError(
                f"{self._path}: is damaged, so nobody knows which letters of the server were obeyed"
                " already; remove it when no run is under way"
            )
        return content["forgotten_until"], content["obeyed"]


def _check_time(letter: Letter, now: float, forgotten: int) -> None:
    """Refuse a letter whose time is over, or cannot be what it says."""
    ahead = letter.until - now
    if ahead > FURTHEST:
        raise SealError(
            f"its time ends {_days(ahead)} from now by this station's clock, and no letter is good "
            f"for more than {_days(LONGEST_LIFE)}: the server's clock is ahead, or this one "
            "behind; set the wrong one right"
        )
    if letter.until > now and forgotten > now + FURTHEST:
        # A letter is obeyed only when it ends no further ahead than that: so the clock was wrong.
        raise SealError(
            "this station's clock was ahead when it obeyed letters that end "
            f"{_days(forgotten - now)} from now, and it obeys none that ends before one that it "
            "has forgotten; if it is right now, remove letters/obeyed.json in cache-dir when no "
            "run is under way"
        )
    if letter.until <= max(now, forgotten):
        text = (
            f"its time was over {max(now, forgotten) - letter.until:.0f} s ago: it is "
            "an old one sent again, or the clocks of server and station differ"
        )
        if letter.until > now:
            text += (
                ", or this station's clock was ahead for a while: then it obeys again in "
                f"{forgotten - now:.0f} s at the latest"
            )
        raise SealError(text)


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days"


def _is_whole(content: Any) -> bool:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return False
    obeyed = content.get("obeyed")
    return (
        type(content.get("forgotten_until")) is int
        and isinstance(obeyed, dict)
        and all(_NONCE.fullmatch(nonce) and type(u) is int for nonce, u in obeyed.items())
    )

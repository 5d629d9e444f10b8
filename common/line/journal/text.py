"""Text that people and machines send: bounded, and nothing in it that steers a screen."""

from __future__ import annotations

import re
from typing import Final

from common.errors import InputError
from common.paths import path_text

LONGEST: Final = {
    "part": 200,
    "category": 255,
    "by": 100,
    "note": 2000,
    "why": 500,
    "threshold source": 2000,
    "run id": 200,
    "program version": 100,
    "error": 2000,
    "file name": 4096,
}
"""Characters; whatever is longer is refused, of errors and file names the end is cut off."""

_STEERING: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, those that turn the direction of writing, line ends, half characters."""
_FORMULA: Final = ("=", "+", "-", "@")


def checked(text: str, what: str, needed: bool = True) -> str:
    """Refuse text that is too long or steers a terminal.

    Parameters
    ----------
    text : str
    what : str
        A name of `LONGEST`, for the message.
    needed : bool
        Whether "" is refused.

    Raises
    ------
    InputError
        Saying what was found and what is expected.
    """
    if not isinstance(text, str):
        raise InputError(f"{what}: found {type(text).__name__}; expected text")
    if needed and not text.strip():
        raise InputError(f"{what}: is empty; expected text")
    if len(text) > LONGEST[what]:
        raise InputError(f"{what}: {len(text)} characters; expected at most {LONGEST[what]}")
    if found := _STEERING.search(text):
        raise InputError(
            f"{what}: holds the control character U+{ord(found[0]):04X} at place "
            f"{found.start() + 1}; expected one line of plain text"
        )
    return text


def file_text(name: str, what: str = "file name") -> str:
    """Text of a file name or an error message: escaped and cut, never refused."""
    text = _STEERING.sub(lambda found: f"\\x{ord(found[0]):02x}", path_text(name))
    return text[: LONGEST[what]]


def spreadsheet_text(text: str) -> str:
    """Text of a CSV cell, of which no spreadsheet makes a formula: an apostrophe in front."""
    return f"'{text}" if text.startswith(_FORMULA) else text

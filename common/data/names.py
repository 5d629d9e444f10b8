"""What the name of a category or a defect type may be, and how a file of that name is found.

One rule for all who meet such a name: the walk over a data folder, `check`, and the messages
between server and stations.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import Final

from common.paths import LONGEST_NAME

_JOINERS: Final = "\u200c\u200d"
"""Invisible, and part of how Persian, Hindi and others are written."""


def normal(name: str) -> str:
    """One spelling of a name: composed (NFC), as most systems and keyboards write it.

    macOS decomposes letters with accents (NFD), so that one name has two spellings in bytes.
    """
    return unicodedata.normalize("NFC", name)


def refusal(name: str) -> str | None:
    """Why a name cannot be that of a category or a defect type.

    Parameters
    ----------
    name : str

    Returns
    -------
    str or None
        None for every name that can be shown, written to a file and given to a folder: printable
        characters of any script and spaces, in the normal spelling.
    """
    if not name:
        return "it is empty"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "its bytes are no UTF-8 text"
    if name.startswith("."):
        return "it starts with a dot"
    if strange := [letter for letter in name if letter in "/\\" or not _is_shown(letter)]:
        return f"it holds the character {strange[0]!a}"
    if name != normal(name):
        return "it is not in Unicode's composed form (NFC)"
    if len(name.encode()) > LONGEST_NAME:
        return f"it takes more than {LONGEST_NAME} bytes"
    return None


def _is_shown(letter: str) -> bool:
    return letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs"


def find_spelling(folder: Path, name: str) -> Path:
    """Path of a file or folder in another, however its name's letters are composed.

    Parameters
    ----------
    folder : Path
    name : str
        In the normal spelling.

    Returns
    -------
    Path
        `folder / name` if that is there or nothing is.
    """
    plain = folder / name
    if name.isascii() or plain.exists() or not folder.is_dir():
        return plain
    alike = (entry for entry in folder.iterdir() if normal(entry.name) == name)
    return next(alike, plain)


def free_word(word: str, taken: Collection[str]) -> str:
    """A word of the program for a table beside names of the user's: never one of these."""
    while word in taken:
        word += " (of all)"
    return word

"""Values of a station file: taken out of TOML, or refused with file, key, found and expected."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from common.errors import InputError


def refuse_unknown(path: Path, table: dict[str, Any], known: tuple[str, ...], prefix: str) -> None:
    """Refuse the first key that nothing reads, with the one that it may stand for."""
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"{path}: unknown key {prefix + key!r}; {hint}")


def path_value(path: Path, table: dict[str, Any], key: str, meaning: str, prefix: str = "") -> Path:
    """A path, relative to the file's folder, that Flower can pass on."""
    text = text_value(path, table, key, meaning, prefix)
    # Flower's reader knows no escape for a quote, and a line break would end the value.
    if "'" in text or not text.isprintable():
        raise wrong(path, prefix + key, text, "a path without quotes and line breaks")
    try:
        found = path.parent / Path(text).expanduser()
    except RuntimeError as error:  # ~somebody, whom this machine does not know
        raise wrong(path, prefix + key, text, f"a path ({error})") from error
    if "'" in str(found) or not str(found).isprintable():
        raise wrong(path, prefix + key, str(found), "a path without quotes and line breaks")
    return found


def text_value(path: Path, table: dict[str, Any], key: str, meaning: str, prefix: str = "") -> str:
    """Text that is not empty."""
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise wrong(path, prefix + key, value, meaning)
    return value


def wrong(path: Path, key: str, found: object, expected: str) -> InputError:
    """The error that says what a key was and what was expected."""
    said = "is missing" if found is None else f"is {found!r}"
    return InputError(f"{path}: {key} {said}; expected {expected}")

"""Reading the two files of a model, and saying what is wrong with one that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from common.errors import InputError, explained

FORMAT: Final = 1
_MEND: Final = "copy the model folder again from where it was made, or train anew"


def read_facts(path: Path) -> dict[str, Any]:
    """Read `model.json`.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict
        Of the format that this version reads.

    Raises
    ------
    InputError
        If the file may not be read, is empty, cut off, no JSON, or of another format.
    """
    content = _bytes(path)
    if not content:
        raise InputError(f"{path}: is empty; {_MEND}")
    try:
        # A text editor may have put a mark of its encoding in front.
        facts = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text ({error.reason}); {_MEND}") from None
    except json.JSONDecodeError as error:
        cut = error.pos >= len(content.decode("utf-8-sig").rstrip())
        found = "ends in the middle" if cut else f"is not JSON ({error})"
        raise InputError(f"{path}: {found}; {_MEND}") from None
    if not isinstance(facts, dict) or "format" not in facts:
        raise InputError(
            f"{path}: holds {type(facts).__name__} without the key 'format'; expected the "
            f"{path.name} of a model; {_MEND}"
        )
    if facts["format"] != FORMAT:
        raise InputError(
            f"{path}: format {facts['format']!r}; this version reads {FORMAT}; use the version of "
            "fedpatchcore that wrote it"
        )
    return facts


def read_rows(path: Path) -> dict[str, NDArray[Any]]:
    """Read `bank.safetensors`.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of bank to array

    Raises
    ------
    InputError
        If the file is missing, may not be read, is empty, cut off, or something else.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
        size = path.stat().st_size
        if not start:
            raise InputError(f"{path}: is empty; {_MEND}")
        return load_file(path)
    except OSError as error:
        raise unreadable(path, error) from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        own = start[8:] == b"{"  # after the header's length comes its JSON
        found = "is not whole" if own else "is no safetensors file"
        raise InputError(f"{path}: {found} ({size} bytes: {error}); {_MEND}") from error


def unreadable(path: Path, error: OSError) -> InputError:
    """Say why the system does not let a file of a model be read."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: is missing; {_MEND}")
    return InputError(explained(error))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error

"""Reading the two files of a model, and saying what is wrong with one that cannot be read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from common.errors import InputError, explained
from common.patchcore.model_folder import FACTS, MODEL, ROWS, RUN

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


def facts_digest(facts: Mapping[str, Any]) -> str:
    """Sha256 (hex) of the facts of `model.json` but for the digests that it keeps itself."""
    told = {name: value for name, value in facts.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def require_whole(folder: Path, facts: Mapping[str, Any]) -> None:
    """Refuse a model whose files are not those that were written.

    Parameters
    ----------
    folder : Path
        The model folder.
    facts : mapping
        Of its `model.json`. The first version kept no digests: its models are taken as they are.

    Raises
    ------
    InputError
        Naming the file that has changed.
    """
    told = facts.get("sha256")
    if told is None and "sha256" not in facts:
        return
    for name in (FACTS, ROWS):
        expected = told.get(name) if isinstance(told, Mapping) else None
        found = facts_digest(facts) if name == FACTS else file_digest(folder / name)
        if found != expected:
            raise InputError(
                f"{folder / name}: has changed since it was written (sha256 {found[:12]}..., "
                f"{FACTS} says {str(expected)[:12]}...); {_MEND}"
            )


def require_of_run(folder: Path, facts: Mapping[str, Any]) -> None:
    """Refuse the model of a run folder that is not the one that the run wrote there.

    A model that has grown since (`add`) tells so itself, and is the run's no more.
    """
    run = folder.parent / RUN
    if folder.name != MODEL or dict(facts.get("provenance", {})).get("added"):
        return
    try:
        told = json.loads(run.read_text(encoding="utf-8")).get("model_sha256")
    except (OSError, ValueError, AttributeError):
        return  # no run folder, or one whose own reader says what is wrong with it
    if told is not None and told != (found := file_digest(folder / FACTS)):
        raise InputError(
            f"{folder / FACTS}: is not the model that {run} tells of (sha256 {found[:12]}..., "
            f"expected {str(told)[:12]}...); {_MEND}"
        )


def file_digest(path: Path) -> str:
    """Sha256 (hex) of a file of a model."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


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

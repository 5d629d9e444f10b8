"""One model version: a folder with the model and `version.json`, which tells where it is from."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from common.errors import InputError, explained
from common.patchcore.model_files import file_digest, read_facts
from common.patchcore.model_folder import FACTS, ROWS, sync_folder
from common.paths import json_text
from common.system.files import replacing

LABEL: Final = "version.json"
_FORMAT: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")

State = Literal["active", "waiting", "kept", "refused"]


@dataclass(frozen=True)
class Version:
    """One model of a station.

    Attributes
    ----------
    name : str
        Of its folder: the run id, or `<run id>.<n>` for a version that was made at the station.
    folder : Path
        Holds model.json, bank.safetensors and version.json.
    run_id : str
        Of the run that the model, or its first ancestor, comes from.
    made_at : str
        When it was stored here, ISO 8601, UTC.
    parent : str or None
        Name of the version that it was made from at the station; None of a delivered one.
    sha256 : str
        See `model_sha256`.
    state : "active", "waiting", "kept" or "refused"
        `kept` was active before, `waiting` never was.
    acceptance : dict or None
        What the acceptance test found (`Acceptance.to_json`); None where there was none.
    reason : str or None
        Why it was refused, or what it was made for.
    known : bool
        Whether storing it found the very same version there already.
    """

    name: str
    folder: Path
    run_id: str
    made_at: str
    parent: str | None
    sha256: str
    state: State
    acceptance: dict[str, Any] | None = None
    reason: str | None = None
    known: bool = False

    def to_json(self) -> dict[str, Any]:
        """For programs: all but where the folder is."""
        told = asdict(self)
        del told["folder"], told["known"]
        return told


@dataclass(frozen=True)
class Label:
    """What `version.json` says; its attributes are those of `Version`."""

    name: str
    run_id: str
    made_at: str
    parent: str | None
    sha256: str
    refused: bool = False
    acceptance: dict[str, Any] | None = None
    reason: str | None = None


def model_sha256(folder: Path) -> str:
    """Return the one digest by which a model is named: sha256 (hex) of its `model.json`.

    Parameters
    ----------
    folder : Path
        Model folder.

    Raises
    ------
    InputError
        If a file of it cannot be read.

    Notes
    -----
    `model.json` holds the sha256 of `bank.safetensors`, so the digest covers both; it is what
    `run.json` calls `model_sha256`. Of a model of the first version, which held none, it is the
    sha256 of both files, one after the other.
    """
    path = folder / FACTS
    if "sha256" in read_facts(path):
        return file_digest(path)
    both = file_digest(path) + file_digest(folder / ROWS)
    return hashlib.sha256(bytes.fromhex(both)).hexdigest()


def checked_name(name: str) -> str:
    """Refuse a name that is no plain folder name.

    Raises
    ------
    InputError
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"model version {name!r}: expected a run id, or <run id>.<n>: up to 120 letters, "
            "digits, dots, hyphens and underscores, a letter or digit first"
        )
    return name


def write_label(folder: Path, label: Label) -> None:
    """Write `version.json`, whole or not at all, and return when it is durable."""
    with replacing(folder / LABEL, durable=True) as file:
        file.write((json_text({"format": _FORMAT, **asdict(label)}) + "\n").encode())
    sync_folder(folder)


def read_label(folder: Path) -> Label:
    """Read `version.json` of a version's folder.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    InputError
        If it is not what this version writes.
    """
    path = folder / LABEL
    mend = "move the folder away, and have the model delivered again"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(os.fspath(path)) from None
    except OSError as error:
        raise InputError(explained(error)) from error
    except ValueError as error:
        raise InputError(f"{path}: is no JSON ({error}); {mend}") from error
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else type(facts).__name__
        raise InputError(f"{path}: format {found!r}; this version reads {_FORMAT}")
    try:
        label = Label(**{key: value for key, value in facts.items() if key != "format"})
    except TypeError as error:
        raise InputError(f"{path}: not the facts of a model version ({error}); {mend}") from error
    texts = (label.name, label.run_id, label.made_at, label.sha256)
    if not all(isinstance(text, str) for text in texts) or label.name != folder.name:
        raise InputError(
            f"{path}: is of the version {label.name!r}; expected {folder.name!r}, as the folder "
            f"is called; {mend}"
        )
    return label

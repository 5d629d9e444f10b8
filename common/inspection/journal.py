"""What a watched folder's images were judged to be: no crash loses or doubles one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

from common.data.images import require_file
from common.errors import InputError
from common.paths import json_text
from common.system.ending import shielded

NAME: Final = "journal.jsonl"
_FORMAT: Final = 1


class Journal:
    """An append-only file: one line a judged image, on disk before the next one is judged.

    Parameters
    ----------
    out : Path
        Folder of the results; made if absent.
    header : dict
        What judges (model, category, threshold, folder); a journal of another judge is refused.

    Attributes
    ----------
    entries : list of dict
        Everything judged so far, as written.

    Raises
    ------
    InputError
        If another process is watching with the same `out`, or the journal there belongs to
        another model, threshold or folder.

    Notes
    -----
    A line is whole or, after a crash in the middle of it, the last one without an end: that one
    is cut off, and its image is judged again. The lock ends with the process, however that ends.
    """

    def __init__(self, out: Path, header: dict[str, Any]) -> None:
        out.mkdir(parents=True, exist_ok=True)
        path = out / NAME
        self.entries: list[dict[str, Any]] = []
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InputError(
                f"{out}: another process is watching into this folder; stop it or give another"
            ) from error
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise InputError(f"{path}: damaged ({error}); give a new --out folder") from error
        header = {"journal": _FORMAT, **header}
        if not lines:
            self._append(header)
            _sync_folder(out)
        elif lines[0] != header:
            changed = sorted(k for k in header if lines[0].get(k) != header[k])
            raise InputError(
                f"{path}: was written with another {', '.join(changed)}; one folder of results "
                "belongs to one model, threshold and watched folder: give a new --out"
            )
        self.entries = lines[1:]

    def add(self, entry: dict[str, Any]) -> None:
        """Write one judged image; it is on disk when this returns."""
        with shielded():  # on disk and not among the entries: an interrupted watch would forget it
            self._append(entry)
            self.entries.append(entry)

    def close(self) -> None:
        """Let go of the file and its lock."""
        self._file.close()

    def _append(self, entry: dict[str, Any]) -> None:
        line = json_text(entry, indent=None).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())


def file_digest(path: Path) -> str:
    """Sha256 (hex) of a file's bytes."""
    require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a new file's name itself survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

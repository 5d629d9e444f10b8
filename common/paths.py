"""Paths: as the user gives them, as text, names made from names, own folders, locks."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from common.errors import InputError, explained

RUN_FILE: Final = "run.json"
"""What a run folder says of its run."""
RUNS_VARIABLE: Final = "FEDPATCHCORE_RUNS"
"""Names the server's folder of runs on a real plant; else `DEFAULT_RUNS`."""
DEFAULT_RUNS: Final = "~/.fedpatchcore/runs"
STATIONS_VARIABLE: Final = "FEDPATCHCORE_STATIONS"
"""Names the server's folder of the stations' keys."""
APP_KEY_VARIABLE: Final = "FEDPATCHCORE_APP_KEY"
"""Names the file of the server's app key, by which it signs its requests."""
APP_VARIABLE: Final = "FEDPATCHCORE_APP"
"""Tells a plant's ServerApp which app it is: the hash of the one that was looked at."""
SUPERLINK_VARIABLE: Final = "FEDPATCHCORE_SUPERLINK"
"""HOST:PORT of the SuperLink that the server's processes belong to."""
DEFAULT_CACHE_GB: Final = 20.0
"""GiB that a station's cache may grow to, where its file or node config says nothing else."""
DEFAULT_KEPT_MODELS: Final = 5
"""Model versions that a station keeps, where its file or node config says nothing else."""
LONGEST_NAME: Final = 255
"""Bytes that file systems allow for one name."""


def given_path(text: str | Path) -> Path:
    """Make a path of the user's whole, once and for all: nothing later depends on where it is read.

    Parameters
    ----------
    text : str or Path
        As typed: `~`, `~user`, relative to the working folder, `.` and `..`.

    Returns
    -------
    Path
        Absolute. A symbolic link keeps its own name; `..` is looked up where links lead.

    Raises
    ------
    InputError
        If there is no such user as in `~user`.
    """
    try:
        path = Path(text).expanduser().absolute()
    except RuntimeError as error:
        found = f"{path_text(Path(text).parts[0])} is nobody's home folder on this machine"
        raise InputError(f"{path_text(text)}: {found}; give the whole path") from error
    return path.resolve() if ".." in path.parts else path


def path_text(path: str | Path) -> str:
    r"""Text of a path or name that can always be written: bytes that are no text as `\xNN`.

    Example
    -------
    >>> path_text(os.fsdecode(b"part-\xff.png"))
    'part-\\xff.png'
    """
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, as only a JSON file can bring it
        return str(path).encode("utf-8", "backslashreplace").decode()


def json_text(content: Any, indent: int | None = 2) -> str:
    """JSON of a value, in which every text can be written; no NaN.

    Names that are no text are shown by `path_text`: strict readers refuse half surrogate pairs.
    """
    text = json.dumps(content, indent=indent, allow_nan=False, ensure_ascii=False)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        cleaned = _cleaned(content)
        text = json.dumps(cleaned, indent=indent, allow_nan=False, ensure_ascii=False)
    return text


def finite(content: Any) -> tuple[Any, list[str]]:
    """Put None in the place of every number that JSON has no word for; say where.

    Returns
    -------
    tuple of (content, list of str)
        A copy, and what was left out, as `stations.2.seconds (inf)`.
    """
    left_out: list[str] = []

    def copied(value: Any, place: str) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            left_out.append(f"{place} ({value})")
            return None
        if isinstance(value, Mapping):
            return {
                key: copied(own, f"{place}.{key}" if place else key) for key, own in value.items()
            }
        if isinstance(value, list | tuple):
            return [copied(own, f"{place}.{i}") for i, own in enumerate(value)]
        return value

    return copied(content, ""), left_out


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return path_text(value)
    if isinstance(value, Mapping):
        return {_cleaned(key): _cleaned(own) for key, own in value.items()}
    return [_cleaned(own) for own in value] if isinstance(value, list | tuple) else value


def derived_name(name: str, ending: str = "", prefix: str = "") -> str:
    """Make a file name from another: `prefix`, name and `ending`, or a shorter one if too long.

    Parameters
    ----------
    name, ending, prefix : str

    Returns
    -------
    str
        At most 255 bytes; of a longer name the begin, `~` and twelve digits of its digest. The same
        for the same name, another for another.
    """
    whole = f"{prefix}{name}{ending}"
    if len(os.fsencode(whole)) <= LONGEST_NAME:
        return whole
    digest = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
    room = LONGEST_NAME - len(os.fsencode(prefix + digest + ending))
    return f"{prefix}{os.fsencode(name)[:room].decode('utf-8', 'ignore')}{digest}{ending}"


def beside(path: Path, ending: str, prefix: str = "") -> Path:
    """Path of a file or folder beside another, with a name made from its name."""
    return path.with_name(derived_name(path.name, ending, prefix))


def cache_root() -> Path:
    """Private cache of this user: `$FEDPATCHCORE_CACHE`, else `fedpatchcore` in the XDG cache."""
    chosen = os.environ.get("FEDPATCHCORE_CACHE")
    if chosen:
        return given_path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return given_path(base) / "fedpatchcore"
    except InputError as error:
        raise InputError(
            f"this user (id {os.getuid()}) has no home folder for the cache; name a folder that "
            "can be written by FEDPATCHCORE_CACHE"
        ) from error


def cache_folder(*names: str) -> Path:
    """Return a folder of the cache, made if it was not there, for this user alone.

    Raises
    ------
    InputError
        If the system does not allow it.
    """
    folder = cache_root().joinpath(*names)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(
            f"the cache cannot be used: {explained(error)}; or name a folder that can be written "
            "by FEDPATCHCORE_CACHE"
        ) from error
    return folder


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; it ends with the process, however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

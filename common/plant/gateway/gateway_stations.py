"""Which stations the gateway's key folder names, by the public keys in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from common.errors import InputError
from common.plant.keys.station_keys import read_public_key, sent_key
from common.protocol.station_names import STATION_PATTERN

STATIONS: Final = "stations"
SHOWN: Final = 20
"""Names in one message, files that are left out in one log."""
LONGEST_KEY: Final = 16_384
"""Bytes; a key has some two hundred."""


def read_stations(keys: Path) -> tuple[dict[str, str], list[str]]:
    """Read the stations' keys.

    Returns
    -------
    stations : dict of str to str
        Name to its Flower key, as its SuperNode sends it.
    left_out : list of str
        Each other file, and why it is no station's key. Somebody's copy of a key shuts nobody out,
        and keeps no revocation from being taken over.

    Raises
    ------
    InputError
        If two stations have the same key, or the folder cannot be read.
    """
    found: dict[str, str] = {}
    owners: dict[str, Path] = {}
    left_out = []
    try:
        paths = sorted(path for path in (keys / STATIONS).iterdir() if path.name.endswith(".pub"))
    except FileNotFoundError:
        paths = []
    except OSError as error:
        raise InputError(
            f"{keys / STATIONS}: cannot be read ({error.strerror}); expected the folder of the "
            "stations' .pub files, readable for this user"
        ) from error
    for path in paths:
        try:
            key = _station_key(path)
        except InputError as error:
            left_out.append(str(error))
            continue
        if other := owners.get(key):
            raise InputError(
                f"{path}: holds the same key as {other.name}, so one would be taken for the other; "
                "leave the one whose name is that of the certificate"
            )
        found[path.stem], owners[key] = key, path
    return found, left_out


def _station_key(path: Path) -> str:
    if not re.fullmatch(STATION_PATTERN, path.stem):
        raise InputError(
            f"{path}: {path.stem!r} is no name of a station; expected up to 64 letters, "
            "digits, dots, hyphens and underscores, first a letter or digit"
        )
    # A pipe would be read for ever.
    if path.exists() and not (path.is_file() and path.stat().st_size <= LONGEST_KEY):
        raise InputError(f"{path}: is no file of at most {LONGEST_KEY} bytes, as a key is")
    return sent_key(read_public_key(path))


def changes(old: dict[str, str], new: dict[str, str]) -> str:
    """What is different about the stations, in words."""
    parts = [
        f"{what} {', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}"
        for what, names in (
            ("new", sorted(new.keys() - old.keys())),
            ("gone", sorted(old.keys() - new.keys())),
            ("another key of", sorted(n for n in new if n in old and new[n] != old[n])),
        )
        if names
    ]
    count = f"{len(new)} stations" if new else "no station at all"
    return "; ".join([count, *parts])

"""What an app is made of: its files, and one hash over all of them.

Not the archive is hashed in which Flower ships it: another library packs other bytes. Nor is
`pyproject.toml` hashed as it is written, for Flower writes it anew into each archive: what it says
counts.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from common.errors import InputError

PROJECT: Final = "pyproject.toml"
PROJECT_BYTES: Final = 16 * 1024
"""A longest one: reading TOML takes quadratic time, a second for so many bytes at the worst."""
_PREFIX: Final = "fedpatchcore app 1\n"


@dataclass(frozen=True)
class AppFile:
    """One file of an app, as the hash knows it.

    Attributes
    ----------
    path : str
        From the app's folder on, with slashes.
    length : int
        Bytes of its content; of `pyproject.toml` those of what it says, as JSON with sorted keys.
    sha256 : str
        Of the same.
    """

    path: str
    length: int
    sha256: str


@dataclass(frozen=True)
class App:
    """An app's files.

    Attributes
    ----------
    contents : mapping of str to bytes
        By path; `pyproject.toml` is one of them.

    Raises
    ------
    InputError
        If there is no `pyproject.toml`, or none that says which app it is.
    """

    contents: Mapping[str, bytes]

    def __post_init__(self) -> None:
        if not self.name or not self.version:
            raise InputError(f"{PROJECT} of the app names no publisher, name and version")

    @cached_property
    def files(self) -> tuple[AppFile, ...]:
        """All files in order of their paths."""
        counted = {path: self._counted(path) for path in sorted(self.contents)}
        return tuple(
            AppFile(path, len(content), hashlib.sha256(content).hexdigest())
            for path, content in counted.items()
        )

    @cached_property
    def hash(self) -> str:
        """SHA-256, in hex, over path, length and hash of every file."""
        lines = [f"{file.path}\0{file.length}\0{file.sha256}\n" for file in self.files]
        return hashlib.sha256((_PREFIX + "".join(lines)).encode()).hexdigest()

    @property
    def name(self) -> str:
        """As Flower names an app: PUBLISHER/NAME; empty if it has none."""
        publisher = _at(self._project, "tool", "flwr", "app", "publisher")
        name = _at(self._project, "project", "name")
        return f"{publisher}/{name}" if publisher and name else ""

    @property
    def version(self) -> str:
        """Of its project; empty if it has none."""
        return _at(self._project, "project", "version")

    @cached_property
    def _project(self) -> dict[str, Any]:
        return _read_project(self.contents.get(PROJECT))

    def _counted(self, path: str) -> bytes:
        if path != PROJECT:
            return self.contents[path]
        return json.dumps(self._project, sort_keys=True, default=repr).encode()


def _read_project(content: bytes | None) -> dict[str, Any]:
    """Read a project file; Flower drops one section when it packs an app."""
    if content is None:
        raise InputError(f"the app has no {PROJECT}")
    if len(content) > PROJECT_BYTES:
        raise InputError(f"{PROJECT} of the app has {len(content)} bytes, {PROJECT_BYTES} may be")
    try:
        project = tomllib.loads(content.decode())
        json.dumps(project, default=repr)
    except (ValueError, RecursionError) as error:  # no text, no TOML, or nested without end
        raise InputError(f"{PROJECT} of the app is no TOML file ({type(error).__name__})") from None
    flower = project.get("tool", {}).get("flwr") if isinstance(project.get("tool"), dict) else None
    if isinstance(flower, dict):
        flower.pop("federations", None)
    return project


def _at(table: object, *keys: str) -> str:
    """Text at a place of nested tables; empty if there is none."""
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, str) else ""

"""AutoVI in small: drawn parts in zips as they are published, and a table of these."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from common.data.fetch.autovi import Archive
from common.data.fetch.transfer import Patience

QUICK = Patience(stall=10.0, total=30.0, tries=3, pause=0.01)


def zip_of(entries: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """Pack entries in this order."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return packed.getvalue()


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there; hidden ones are not data."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def published(data: Path, prefix: str = "{}/") -> dict[str, bytes]:
    """The zips of a data folder by name, each with its category below `prefix`."""
    return {
        f"{folder.name}.zip": zip_of(
            (prefix.format(folder.name) + name, content)
            for name, content in files_of(folder).items()
        )
        for folder in sorted(data.iterdir())
        if folder.is_dir()
    }


def archive_of(name: str, content: bytes) -> Archive:
    """Its line in the table."""
    category = name.removesuffix(".zip")
    return Archive(category, len(content), hashlib.sha256(content).hexdigest())


def substitute(patch: pytest.MonkeyPatch, zips: dict[str, bytes], home: str) -> None:
    """Let the command take these zips for the published ones, without its long patience."""
    table = {one.category: one for one in (archive_of(*item) for item in zips.items())}
    patch.setattr("common.data.fetch.autovi.ARCHIVES", table)
    patch.setattr("common.data.fetch.autovi.HOME", home)
    patch.setattr("common.data.fetch.transfer.PATIENCE", QUICK)

"""Archives of apps, honest ones and others, written by hand."""

from __future__ import annotations

import hashlib
import io
import zipfile

PROJECT = b"""[project]
name = "small"
version = "1.0"

[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "a.b:app"
clientapp = "a.b:app"
"""
MINIMAL = {"pyproject.toml": PROJECT}
MANIFEST = ".info/CONTENT"


def manifest(contents: dict[str, bytes]) -> bytes:
    """Flower's list of files."""
    lines = [
        f"{path},{hashlib.sha256(content).hexdigest()},{8 * len(content)}"
        for path, content in contents.items()
        if path != MANIFEST
    ]
    return "\n".join(lines).encode()


def pack(
    contents: dict[str, bytes],
    level: int | None = None,
    date: tuple[int, int, int, int, int, int] = (1980, 1, 1, 0, 0, 0),
) -> bytes:
    """An archive; stored or packed with a level."""
    entries = [(name, content) for name, content in contents.items() if name != MANIFEST]
    return pack_entries([*entries, (MANIFEST, manifest(dict(entries)))], level, date)


def pack_entries(
    entries: list[tuple[str | zipfile.ZipInfo, bytes]],
    level: int | None = None,
    date: tuple[int, int, int, int, int, int] = (1980, 1, 1, 0, 0, 0),
) -> bytes:
    """An archive of just these entries, in this order, sensible or not."""
    buffer = io.BytesIO()
    kind = zipfile.ZIP_STORED if level is None else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries:
            info = zipfile.ZipInfo(name, date) if isinstance(name, str) else name
            file.writestr(info, content, None if isinstance(name, zipfile.ZipInfo) else kind, level)
    return buffer.getvalue()


def unpack(archive: bytes) -> dict[str, bytes]:
    """What an archive holds, Flower's list included."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}

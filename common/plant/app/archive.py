"""Reading the archive in which Flower ships an app, without unpacking it to the disk.

It comes from whoever submitted the run. What two readers could take for two different apps is
refused, whatever it would do: one reading is hashed here, and the same must be unpacked later.
"""

from __future__ import annotations

import hashlib
import io
import stat
import unicodedata
import zipfile
from typing import Final

from common.errors import InputError
from common.paths import path_text
from common.plant.app.content import App

MANIFEST: Final = ".info/CONTENT"
"""Flower's own list of the files, made by it when it packs an app."""
MOST_BYTES: Final = 10 * 1024 * 1024
"""Of the archive, as Flower has it, and of all files in it: the app has 1.5 MB."""
MOST_FILES: Final = 2000
_PLAIN: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_archive(archive: bytes) -> App:
    """Read the app in an archive that Flower ships.

    Parameters
    ----------
    archive : bytes
        As it came; at most 10 MiB, and no more when it is unpacked.

    Returns
    -------
    App

    Raises
    ------
    InputError
        Naming what is wrong: no archive, a name twice or in two spellings, a path that leaves the
        folder, a link or a folder, a file that Flower's list has not or has otherwise, too much.
    """
    if len(archive) > MOST_BYTES:
        raise _refused(f"has {len(archive)} bytes, {MOST_BYTES} may be")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            contents = _read_all(opened)
    except InputError:
        raise
    except Exception as error:  # whatever a library says to a stranger's bytes
        raise _refused(f"cannot be read ({type(error).__name__}: {_shown(str(error))})") from None
    _check_manifest(contents)
    return App({path: content for path, content in contents.items() if path != MANIFEST})


def _read_all(opened: zipfile.ZipFile) -> dict[str, bytes]:
    entries = opened.infolist()
    if len(entries) > MOST_FILES:
        raise _refused(f"holds {len(entries)} files, {MOST_FILES} may be")
    promised = sum(entry.file_size for entry in entries)
    if promised > MOST_BYTES:
        raise _refused(f"unpacks to {promised} bytes, {MOST_BYTES} may be")
    contents: dict[str, bytes] = {}
    spellings: dict[str, str] = {}
    for entry in entries:
        _check_entry(entry)
        if entry.filename in contents:
            raise _refused(f"holds {_shown(entry.filename)} twice")
        _check_spelling(entry.filename, spellings)
        with opened.open(entry) as file:
            content = file.read(entry.file_size + 1)
        if len(content) != entry.file_size:
            raise _refused(f"holds {_shown(entry.filename)} with another length than it promises")
        contents[entry.filename] = content
    folders = {path[:place] for path in contents for place in _slashes(path)}
    for path in sorted(folders & contents.keys()):
        raise _refused(f"holds {_shown(path)} as a file and as a folder")
    return contents


def _check_entry(entry: zipfile.ZipInfo) -> None:
    """Refuse what is no plain file at a plain path below the app's folder."""
    name = entry.filename
    if name.endswith("/"):
        raise _refused(f"holds the folder {_shown(name)}; files alone may be")
    # Zip files keep Unix's mode in the upper half; 0 is what Flower's have.
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        what = "a link" if kind == stat.S_IFLNK else "no plain file"
        raise _refused(f"holds {_shown(name)}, which is {what}")
    if entry.flag_bits & 0x1 or entry.compress_type not in _PLAIN:
        raise _refused(f"holds {_shown(name)} enciphered, or packed in an unusual way")
    if name != entry.orig_filename or not name.isprintable() or set('\\:*?"<>|,') & set(name):
        raise _refused(f"holds the name {_shown(entry.orig_filename)}, with an unusual sign")
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise _refused(f"holds the path {_shown(name)}, which is not plainly within its folder")


def _check_spelling(name: str, spellings: dict[str, str]) -> None:
    """Refuse a path that some disks take for another one: capitals, composed letters."""
    for place in (*_slashes(name), len(name)):
        path = name[:place]
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        known = spellings.setdefault(folded, path)
        if known != path:
            raise _refused(f"holds {_shown(known)} and {_shown(path)}, one path on some disks")


def _check_manifest(contents: dict[str, bytes]) -> None:
    """Hold Flower's list and the files against each other."""
    if MANIFEST not in contents:
        raise _refused(f"has no {MANIFEST}: it was not packed by Flower")
    listed: dict[str, str] = {}
    for line in contents[MANIFEST].decode("utf-8", "replace").strip().split("\n"):
        path, digest, *rest = [*line.split(","), "", ""]
        if path in listed or len(rest) != 3:
            raise _refused(f"has a list {MANIFEST} that names {_shown(path)} twice or not whole")
        listed[path] = digest
    files = contents.keys() - {MANIFEST}
    for path in sorted(files - listed.keys()):
        raise _refused(f"holds {_shown(path)}, which is not on its list {MANIFEST}")
    for path in sorted(listed.keys() - files):
        raise _refused(f"lacks {_shown(path)}, which is on its list {MANIFEST}")
    for path, digest in listed.items():
        if hashlib.sha256(contents[path]).hexdigest() != digest:
            raise _refused(f"holds {_shown(path)}, which is not what its list {MANIFEST} says")


def _slashes(path: str) -> list[int]:
    return [place for place, sign in enumerate(path) if sign == "/"]


def _shown(text: str) -> str:
    """A name out of a stranger's archive, fit to be shown."""
    shown = path_text(text)[:100]
    return repr(shown) if shown.isprintable() else ascii(shown)


def _refused(what: str) -> InputError:
    return InputError(f"the app's archive {what}")

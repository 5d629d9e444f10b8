"""Where files come from: their publisher, a mirror, or a folder of this machine."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import httpx

from common.data.fetch.download import download
from common.data.fetch.transfer import Patience, Progress
from common.data.fetch.trouble import shown_url
from common.data.fetch.verify import BLOCK, wrong_content
from common.errors import InputError
from common.paths import given_path
from common.system.files import replacing


@dataclass(frozen=True)
class Source:
    """Where the zips are: a folder of this machine, or the address of one.

    Attributes
    ----------
    folder : Path or None
    address : str
        Empty for a folder.
    """

    folder: Path | None
    address: str

    def place(self, name: str) -> str:
        """Return path or address of a file, as it is shown; no password in it."""
        return str(self.folder / name) if self.folder else shown_url(self.url(name))

    def url(self, name: str) -> str:
        """Address of a file; a query, as that of a signed address, stays."""
        base = httpx.URL(self.address)
        return str(base.copy_with(path=f"{base.path.rstrip('/')}/{name}"))


def find_source(given: str | None, publisher: str) -> Source:
    """Read what `--from` says.

    Parameters
    ----------
    given : str or None
        A folder, or an `http` or `https` address.
    publisher : str
        Address of the folder where the files are published; taken where nothing is given.

    Raises
    ------
    InputError
        If it is neither.
    """
    if given is None:
        return Source(None, publisher)
    if "://" in given:
        try:
            url = httpx.URL(given)
        except httpx.InvalidURL as error:
            raise InputError(f"--from {given}: not an address ({error})") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise InputError(
                f"--from {shown_url(given)}: expected a folder, or an address that begins with "
                "https:// or http://"
            )
        return Source(None, given)
    folder = given_path(given)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise InputError(f"--from {folder}: {found}; expected the folder with the files, or a URL")
    return Source(folder, "")


def require_content(
    path: Path,
    sha256: str,
    size: int | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Refuse a file of a source folder that is not the published one; see `wrong_content`.

    Raises
    ------
    InputError
        If it is another.
    """
    if found := wrong_content(path, sha256, size, progress, stop):
        raise InputError(f"{path}: {found}; copy it once more, or fetch it without --from")


def bring(
    source: Source,
    name: str,
    to: Path,
    *,
    sha256: str,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> bool:
    """Bring one file of a source to its place, verified.

    Parameters
    ----------
    source : Source
    name : str
        The file's, at the source.
    to : Path
    sha256 : str
        Digest in hexadecimal, or the first digits of it.
    patience : Patience, optional
    progress : callable (bytes here, bytes in all or None), optional

    Returns
    -------
    bool
        False if it was there already.

    Raises
    ------
    InputError, RunError, OSError
        As `download`; `to` appears whole or not at all.
    """
    if to.exists():
        if found := wrong_content(to, sha256):
            raise InputError(f"{to}: {found}; remove it, then fetch it again")
        return False
    if not source.folder:
        download(source.url(name), to, sha256=sha256, patience=patience, progress=progress)
        return True
    packed = source.folder / name
    if not packed.is_file():
        raise InputError(f"--from {source.folder}: no file {name} in it; put it there")
    require_content(packed, sha256, progress=progress)
    with packed.open("rb") as file, replacing(to, durable=True) as copy:
        shutil.copyfileobj(file, copy, BLOCK)
    return True

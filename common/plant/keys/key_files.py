"""Where the files of a key folder are, and how they are written: whole, and readable by one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError, RunError
from common.paths import beside

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644


@dataclass(frozen=True)
class KeyFolder:
    """The places of a plant's keys below one folder.

    ::

        ca.key, ca.crt             the authority; ca.key stays with the administrator, offline
        stations-ca.key, .crt      the stations' authority below it; stays with the administrator
        revoked.pem                revocation lists of both
        certificates/NAME.crt      every certificate that a station has been given
        server/                    goes to the server's host
            ca.crt superlink.crt superlink.key executor.secret app.key app.pub stations/NAME.pub
            stations/images.toml   how many images a station may count for, if registered
        gateway/                   goes to the gateway's host
            ca.crt gateway.crt gateway.key stations-ca.crt revoked.pem stations/NAME.pub
        stations/NAME/             goes to that station, and to nobody else
            ca.crt app.pub station.key station.pub station.pem
        services/NAME/             goes to that station, too, if it serves others than itself
            ca.crt line.crt line.key
    """

    root: Path

    @property
    def authority(self) -> Path:
        """Certificate of the authority."""
        return self.root / "ca.crt"

    @property
    def authority_key(self) -> Path:
        """Key of the authority: whoever has it can pass for the plant's server."""
        return self.root / "ca.key"

    @property
    def stations_authority(self) -> Path:
        """Certificate of the authority that signs stations' certificates."""
        return self.root / "stations-ca.crt"

    @property
    def stations_authority_key(self) -> Path:
        """Its key: whoever has it can come through the gateway under any name."""
        return self.root / "stations-ca.key"

    @property
    def revoked(self) -> Path:
        """Revocation lists of both authorities."""
        return self.root / "revoked.pem"

    def issued(self, name: str) -> Path:
        """All certificates that a station has been given, the newest last."""
        return self.root / "certificates" / f"{name}.crt"

    @property
    def server(self) -> Path:
        """All that the server's host gets."""
        return self.root / "server"

    @property
    def gateway(self) -> Path:
        """All that the gateway gets."""
        return self.root / "gateway"

    @property
    def server_certificates(self) -> tuple[Path, Path]:
        """Certificates of SuperLink and gateway."""
        return self.server / "superlink.crt", self.gateway / "gateway.crt"

    @property
    def executor_secret(self) -> Path:
        """What SuperLink and executor share."""
        return self.server / "executor.secret"

    @property
    def app_key(self) -> Path:
        """Key with which the server's app signs what it asks of stations."""
        return self.server / "app.key"

    @property
    def app_public(self) -> Path:
        """Its public half, which every station is given."""
        return self.server / "app.pub"

    @property
    def members(self) -> Path:
        """Public keys of the stations: who belongs to the plant."""
        return self.server / "stations"

    @property
    def registered_images(self) -> Path:
        """How many training images a station may count for, where that is registered."""
        return self.members / "images.toml"

    def member(self, name: str) -> Path:
        """Public key by which the server knows a station."""
        return self.members / f"{name}.pub"

    def let_in(self, name: str) -> Path:
        """The same key at the gateway, which binds it to the station's certificate."""
        return self.gateway / "stations" / f"{name}.pub"

    def station(self, name: str) -> Path:
        """All that one station gets."""
        return self.root / "stations" / name

    def service(self, name: str) -> Path:
        """What the service at the line of one station gets, where others are to reach it."""
        return self.root / "services" / name

    def service_files(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of that service."""
        return self.service(name) / "line.crt", self.service(name) / "line.key"

    def service_names(self) -> list[str]:
        """Stations whose service has a certificate here, in alphabetical order."""
        return sorted(path.parent.name for path in self.root.glob("services/*/line.crt"))

    def station_names(self) -> list[str]:
        """Stations that have a key here or at the server's, in alphabetical order."""
        registered = {path.name.removesuffix(".pub") for path in self.members.glob("*.pub")}
        own = {path.parent.name for path in self.root.glob("stations/*/station.key")}
        return sorted(registered | own)


@dataclass(frozen=True)
class NewFile:
    """One file to be written."""

    path: Path
    content: bytes
    mode: int = PUBLIC
    replace: bool = False


def write_files(root: Path, files: Sequence[NewFile]) -> None:
    """Write files below a folder, in the order given, each of them whole or not at all.

    Parameters
    ----------
    root : Path
        Folders from here down are made with mode 700.
    files : sequence of NewFile

    Raises
    ------
    RunError
        If the disk does not take a file, or if one that must not be replaced is there.
    """
    for file in files:
        partial = beside(file.path, f".{os.getpid()}.partial", prefix=".")
        try:
            for folder in reversed(file.path.relative_to(root).parents):
                (root / folder).mkdir(mode=0o700, exist_ok=True)
            if not file.replace and file.path.exists():
                raise FileExistsError(f"{file.path} is there already")
            partial.unlink(missing_ok=True)
            number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
            with os.fdopen(number, "wb") as stream:
                os.fchmod(number, file.mode)  # the umask must not close a public file
                stream.write(file.content)
                stream.flush()
                os.fsync(number)
            partial.replace(file.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise RunError(
                f"{file.path}: cannot be written ({error}); mend that and run the command again, "
                "it goes on where it stopped"
            ) from error


@contextlib.contextmanager
def held(root: Path) -> Iterator[None]:
    """Make a folder of keys if need be and keep other processes of ours out of it.

    Raises
    ------
    InputError
        If it cannot be made or opened.
    RunError
        If another process has it.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(f"{root}: no folder for keys can be made here ({error})") from error
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(f"{root}: another `fedpatchcore keys` is at work here") from error
        yield
    finally:
        os.close(number)

"""The server's two daemons: what they need, and the very commands of Flower's that they are."""

from __future__ import annotations

import datetime as dt
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from common.errors import InputError, RunError
from common.paths import APP_KEY_VARIABLE, RUNS_VARIABLE, STATIONS_VARIABLE, SUPERLINK_VARIABLE
from common.plant.app.programs import EXECUTOR, SUPERLINK, own_program
from common.plant.app.trust import INSTALLED, SERVER, Trust
from common.plant.keys.app_keys import read_app_key
from common.plant.keys.certificates import read_certificate, read_private_key, same_key, signed_by
from common.runs.processes import flower_environment

DATABASE: Final = "state.db"
"""The SuperLink's, in its folder."""


@dataclass(frozen=True)
class Daemon:
    """One program of Flower's, ready to be started.

    Attributes
    ----------
    command : tuple of str
    environment : dict of str to str
    folder : Path
        Its working directory, which it may write to.
    """

    command: tuple[str, ...]
    environment: dict[str, str]
    folder: Path

    def become(self) -> NoReturn:
        """Let this process become the program: signals and exit codes are then its own."""
        os.chdir(self.folder)
        try:
            os.execve(self.command[0], list(self.command), self.environment)
        except OSError as error:
            raise RunError(f"{self.command[0]} cannot be started ({error})") from error


def superlink(keys: Path, state: Path, host: str, port: int) -> Daemon:
    """Prepare the SuperLink: TLS, stations known by their keys, runs in a process elsewhere.

    Parameters
    ----------
    keys : Path
        Folder `server` that `fedpatchcore keys` made.
    state : Path
        Folder for its database: registrations, runs and messages outlive a restart.
    host, port : str, int
        Where gateway, executor and administrators reach it; stations must not.

    Raises
    ------
    InputError
        If a file is missing, readable by others, expired or does not fit another.
    """
    key, certificate = keys / "superlink.key", keys / "superlink.crt"
    _check_files(keys, private=("superlink.key", "executor.secret"))
    require_valid(certificate)
    if not same_key(read_certificate(certificate), read_private_key(key)):
        raise InputError(
            f"{certificate}: was not made for {key}; give the pair that belongs together"
        )
    if not signed_by(read_certificate(certificate), read_certificate(keys / "ca.crt")):
        raise InputError(
            f"{certificate}: was not signed by {keys / 'ca.crt'}, so nobody who trusts that would "
            "connect; give both from one plant's key folder"
        )
    state = _writable(state, "--state")
    command = (
        *own_program(SUPERLINK),
        f"--host={host}",
        f"--port={port}",
        f"--ssl-ca-certfile={keys / 'ca.crt'}",
        f"--ssl-certfile={certificate}",
        f"--ssl-keyfile={key}",
        "--enable-supernode-auth",
        # The ServerApp outlives a SuperLink that is killed, and only who has the secret may run it.
        "--isolation=process",
        f"--superexec-auth-secret-file={keys / 'executor.secret'}",
        f"--database={state / DATABASE}",
        "--disable-runtime-dependency-installation",
    )
    return Daemon(command, flower_environment(state), state)


def executor(
    keys: Path, address: str, runs: Path, trusted: str | Sequence[str] = INSTALLED
) -> Daemon:
    """Prepare the executor: it runs the ServerApp, which writes the runs.

    Parameters
    ----------
    keys : Path
        Folder `server`; of it `ca.crt`, `executor.secret`, `app.key` and `stations/` are needed.
    address : str
        HOST:PORT of the SuperLink.
    runs : Path
        Folder of the runs, `<runs>/<run-id>/`.
    trusted : str or sequence of str
        Apps that it may run, as `Trust.of` takes them.

    Raises
    ------
    InputError
    """
    _check_files(keys, private=("executor.secret", "app.key"))
    read_app_key(keys / "app.key")
    members = keys / "stations"
    if not any(members.glob("*.pub")):
        raise InputError(
            f"{members}: holds no <name>.pub file, so no station belongs to this plant; "
            "`fedpatchcore keys` makes them"
        )
    runs = _writable(runs, "--runs")
    home = _writable(runs / ".flower", "--runs")
    command = (
        *own_program(EXECUTOR, Trust.of(trusted, SERVER).words),
        f"--runtime-api-address={address}",
        f"--root-certificates={keys / 'ca.crt'}",
        f"--superexec-auth-secret-file={keys / 'executor.secret'}",
    )
    environment = {
        # A service's user may have no home: these would be made anew in every run.
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "NUMBA_CACHE_DIR": str(home / "numba"),
        **flower_environment(home),
        RUNS_VARIABLE: str(runs),
        STATIONS_VARIABLE: str(members),
        APP_KEY_VARIABLE: str(keys / "app.key"),
        SUPERLINK_VARIABLE: address,
    }
    return Daemon(command, environment, home)


def _check_files(keys: Path, private: Sequence[str]) -> None:
    """Find all files that a daemon needs, and private ones readable by this user alone."""
    if not keys.is_dir():
        raise InputError(
            f"--keys {keys}: is no folder; give the folder `server` that `fedpatchcore keys` made"
        )
    for name in ("ca.crt", *private):
        path = keys / name
        try:
            mode = path.stat().st_mode
            with path.open("rb"):
                pass
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); --keys takes the folder `server` that "
                "`fedpatchcore keys` made, readable for this user"
            ) from error
        if name in private and mode & 0o077:
            raise InputError(
                f"{path}: can be read by others (mode {stat.S_IMODE(mode):o}); make it private: "
                f"chmod 600 {path}"
            )


def require_valid(path: Path) -> None:
    """Refuse a server's certificate that is expired or not yet valid.

    Raises
    ------
    InputError
    """
    certificate, now = read_certificate(path), dt.datetime.now(dt.UTC)
    if now > certificate.not_valid_after_utc:
        raise InputError(
            f"{path}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}; make a new one with "
            "`fedpatchcore keys --renew`"
        )
    if now < certificate.not_valid_before_utc:
        raise InputError(
            f"{path}: is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, but "
            f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC; set the clock"
        )


def _writable(folder: Path, option: str) -> Path:
    folder = folder.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"{option} {folder}: cannot be made ({error.strerror})") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{option} {folder}: this user may not write there")
    return folder

"""Who may do what: tokens with roles, own host names alone, nothing from another site."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from common.errors import InputError, explained
from common.patchcore.model_folder import sync_folder

HOST: Final = "127.0.0.1"
PORT: Final = 8600
"""Where a service listens that was told nothing else."""
TOKENS: Final = "tokens.json"
ROLES: Final = ("line", "operator", "engineer")
"""Each may do what those before it may: post and read, review, switch models."""
OWN_ADDRESSES: Final = ("127.0.0.1", "::1", "localhost")
"""Where a service listens that only this machine can reach."""
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_FORMAT: Final = 1
_READERS: Final = 0o077


def may(role: str, needed: str) -> bool:
    """Whether a role reaches as far as another."""
    return ROLES.index(role) >= ROLES.index(needed)


class Tokens:
    """The tokens of a journal's service: a file that holds their sha256 alone.

    Parameters
    ----------
    folder : Path
        The journal's.
    file : Path, optional
        Where they are; by default in that folder, as `tokens.json`.

    Notes
    -----
    A token is 256 random bits, so that its sha256 cannot be guessed back. The file is read again
    when it changes: a line that is taken out of it shuts its token out at once.
    """

    def __init__(self, folder: Path, file: Path | None = None) -> None:
        self.path = folder / TOKENS if file is None else file
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._known: list[dict[str, Any]] = []

    def add(self, role: str) -> str:
        """Make a token; it is told here and never again.

        Raises
        ------
        InputError
            If there is no such role, or the file cannot be used.
        """
        if role not in ROLES:
            raise InputError(f"--new-token {role}: expected one of {', '.join(ROLES)}")
        token = secrets.token_urlsafe(32)
        known = self._read()
        made_at = datetime.now(UTC).isoformat(timespec="seconds")
        own = {"role": role, "sha256": _digest(token).hex(), "made_at": made_at}
        building = self.path.with_name(f".{TOKENS}.{os.getpid()}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            number = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(number, "w") as file:
                os.fchmod(number, 0o600)
                json.dump({"format": _FORMAT, "tokens": [*known, own]}, file, indent=1)
                file.flush()
                os.fsync(number)
            building.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise InputError(f"{explained(error)}; no token was made") from error
        finally:
            with contextlib.suppress(OSError):
                building.unlink()
        return token

    def any(self) -> bool:
        """Whether there are tokens: then nobody is let in without one."""
        with self._lock:
            self._refresh()
            return bool(self._known)

    def roles(self) -> dict[str, int]:
        """How many tokens there are of each role.

        Raises
        ------
        InputError
            If the file cannot be used.
        """
        found = [str(one["role"]) for one in self._read()]
        return {role: found.count(role) for role in ROLES if role in found}

    def role(self, token: str) -> str | None:
        """The role of a token; None if nobody has it. Compares all, each in constant time."""
        digest, found = _digest(token), None
        with self._lock:
            self._refresh()
            for one in self._known:
                if hmac.compare_digest(digest, bytes.fromhex(one["sha256"])):
                    found = str(one["role"])
        return found

    def _refresh(self) -> None:
        try:
            facts = self.path.stat()
            stamp = (facts.st_mtime_ns, facts.st_ino)
        except FileNotFoundError:
            # Taken away while the service runs: that opens nothing.
            self._known = [] if self._stamp is None else self._known
            return
        if stamp != self._stamp:
            self._known, self._stamp = self._read(), stamp

    def _read(self) -> list[dict[str, Any]]:
        try:
            if self.path.stat().st_mode & _READERS:
                raise InputError(
                    f"{self.path}: others may read it; `chmod 600` it, or make new tokens"
                )
            facts = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(explained(error)) from error
        except ValueError as error:
            raise InputError(f"{self.path}: is no JSON ({error}); make new tokens") from error
        try:
            tokens = facts["tokens"]
            fine = facts["format"] == _FORMAT and all(
                one["role"] in ROLES and len(bytes.fromhex(one["sha256"])) == 32 for one in tokens
            )
        except (LookupError, TypeError, ValueError, AttributeError):
            fine = False
        if not fine:
            raise InputError(f"{self.path}: holds no tokens of this service; make new ones")
        return list(tokens)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True)
class Refusal:
    """Why a request is not even looked at."""

    status: int
    sentence: str


class Door:
    """Looks at a request's headers before anything of it is read.

    Parameters
    ----------
    tokens : Tokens
    names : iterable of str
        The host names and addresses that the service answers to.
    port : int
    secure : bool
        Whether it speaks TLS.
    """

    def __init__(self, tokens: Tokens, names: Iterable[str], port: int, secure: bool) -> None:
        self.tokens, self.secure = tokens, secure
        self.scheme = "https" if secure else "http"
        usual = 443 if secure else 80
        self.hosts = {f"{name.lower()}:{port}" for name in names}
        if port == usual:
            self.hosts |= {name.lower() for name in names}

    def refusal(self, method: str, headers: list[tuple[bytes, bytes]]) -> Refusal | None:
        """Refuse foreign host names, and what a page of another site sends."""
        host = _only(headers, b"host")
        if host is None or host.lower() not in self.hosts:
            return Refusal(421, "this service does not answer to that host name")
        if method in ("GET", "HEAD"):
            return None
        origin = _only(headers, b"origin")
        site = _only(headers, b"sec-fetch-site")
        if origin is not None and origin.lower() != f"{self.scheme}://{host.lower()}":
            return Refusal(403, "requests from pages of other sites are refused")
        if site is not None and site not in ("same-origin", "none"):
            return Refusal(403, "requests from pages of other sites are refused")
        return None

    def role(self, headers: list[tuple[bytes, bytes]]) -> str | Refusal:
        """The role that a request has: without tokens, on this machine alone, every one."""
        if not self.secure and not self.tokens.any():
            return ROLES[-1]
        given = _only(headers, b"authorization") or ""
        kind, _, token = given.partition(" ")
        role = self.tokens.role(token.strip()) if kind.lower() == "bearer" else None
        if role is None:
            return Refusal(401, "expected `Authorization: Bearer TOKEN` with a token that is known")
        return role


def _only(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    """A header's value; of several an unusable one, which nothing equals."""
    found = [value for key, value in headers if key == name]
    if len(found) > 1:
        return "\x00"
    return found[0].decode("latin-1") if found else None

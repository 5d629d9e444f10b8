"""How much the service takes, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from common.errors import FedPatchCoreError, InputError

RETRY: Final = 5
"""Seconds after which another try makes sense, where nobody knows better."""


class NotNow(FedPatchCoreError):
    """A part cannot be taken at the moment; nothing of it is kept.

    `seconds` says when another try makes sense.
    """

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class TooLarge(InputError):
    """A file, or the picture in it, is larger than the service takes."""


@dataclass(frozen=True)
class Bounds:
    """Limits of the service; every one is there whatever a client does.

    Attributes
    ----------
    places : int
        Parts in the house at once: being decoded, waiting, being judged, being written down.
    upload_bytes : int
        Largest image file.
    pixels : int
        Largest picture, width x height.
    body_seconds : float
        A request must have arrived within so many seconds, its headers within the same.
    json_bytes : int
        Largest body of all other requests.
    connections : int
        Open connections; more are answered 503.
    listeners : int
        Open event streams among them.
    memory_bytes : int or None
        What the process should use at most: beyond it a new model is not loaded beside the old one
        but in its place. None leaves it to the machine and to the container.
    """

    places: int = 16
    upload_bytes: int = 50_000_000
    pixels: int = 50_000_000
    body_seconds: float = 30.0
    json_bytes: int = 65_536
    connections: int = 128
    listeners: int = 16
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.places < 1 or self.upload_bytes < 1 or self.pixels < 1 or self.connections < 1:
            raise InputError("queue, largest upload and largest picture: expected 1 or more")
        if not self.body_seconds > 0:
            raise InputError(f"upload timeout {self.body_seconds:g}: expected seconds above 0")

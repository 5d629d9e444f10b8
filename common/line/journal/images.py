"""Image files that a journal keeps: which, for how long, and where."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError
from common.line.journal.rows import Verdict
from common.patchcore.model_folder import sync_folder
from common.system.files import replacing

FOLDER: Final = "images"
KEPT: Final = "kept"
REMOVED: Final = "removed"
_NAME: Final = re.compile("[0-9a-f]{64}")
_SHARD: Final = re.compile("[0-9a-f]{2}")


@dataclass(frozen=True)
class KeepRule:
    """Which images are kept, and for how long.

    Attributes
    ----------
    one_in : int
        Of the images that passed, one in so many is kept: the same ones whoever asks, since the
        image's own sha256 decides. 1: all; 0: none. Rejected ones (anomalous, or not to be judged)
        are always kept.
    days : float
        Images that are older are removed.
    gigabytes : float
        Beyond so much (10^9 bytes) in all, the oldest are removed.
    """

    one_in: int = 100
    days: float = 365.0
    gigabytes: float = 20.0

    def __post_init__(self) -> None:
        if self.one_in < 0 or not self.days > 0 or not self.gigabytes >= 0:
            raise InputError(
                f"images to keep: 1 in {self.one_in}, {self.days:g} days, {self.gigabytes:g} GB; "
                "expected 0 or more, more than 0 days, 0 GB or more"
            )

    @property
    def bytes(self) -> int:
        """The limit in bytes."""
        return int(self.gigabytes * 1e9)

    def why(self, verdict: Verdict) -> str | None:
        """Why an image is kept: `anomalous`, `error` or `sample`; None if it is not."""
        if self.bytes == 0:
            return None
        if verdict.error is not None:
            return "error"
        if verdict.anomalous:
            return "anomalous"
        sampled = self.one_in and int(verdict.image_sha256[:16], 16) % self.one_in == 0
        return "sample" if sampled else None


class ImageStore:
    """The files, each named by its sha256: `images/ab/ab12...`."""

    def __init__(self, journal: Path) -> None:
        self.folder = journal / FOLDER

    def path(self, image_sha256: str) -> Path:
        """Where an image is, or would be."""
        return self.folder / image_sha256[:2] / image_sha256

    def write(self, image_sha256: str, content: bytes) -> None:
        """Write an image durably, whole or not at all; one that is there already stays."""
        path = self.path(image_sha256)
        with contextlib.suppress(OSError):
            if path.stat().st_size == len(content):
                return
        new = not path.parent.is_dir()
        with replacing(path, durable=True) as file:
            file.write(content)
        sync_folder(path.parent)
        if new:
            sync_folder(self.folder)

    def read(self, image_sha256: str) -> bytes | None:
        """An image's bytes; None if it is not there."""
        try:
            return self.path(image_sha256).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, image_sha256: str) -> None:
        """Remove an image if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.path(image_sha256).unlink()

    def files(self) -> Iterator[Path]:
        """All files that the store has written, and what a crash left of others."""
        if not self.folder.is_dir():
            return
        for shard in sorted(self.folder.iterdir()):
            if _SHARD.fullmatch(shard.name) and shard.is_dir():
                yield from sorted(path for path in shard.iterdir() if _is_ours(path, shard.name))


def _is_ours(path: Path, shard: str) -> bool:
    whole = _NAME.fullmatch(path.name) and path.name.startswith(shard)
    return bool(whole) or path.name.endswith(".partial")

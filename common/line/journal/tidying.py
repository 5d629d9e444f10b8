"""Which images are kept now, and which are to go: too old, or too many."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from common.errors import RunError, explained
from common.line.journal.images import KEPT, REMOVED, ImageStore, KeepRule
from common.line.journal.queue import Append, WriteQueue
from common.line.journal.times import normalized, now

_REMOVED_AT_ONCE: Final = 500
_OLDEST: Final = """
    SELECT k.seq, k.image_sha256, k.bytes, k.noted_at FROM images k
    WHERE k.event = 'kept' AND k.seq > ? AND NOT EXISTS (
        SELECT 1 FROM images r WHERE r.image_sha256 = k.image_sha256 AND r.seq > k.seq)
    ORDER BY k.seq LIMIT ?"""
"""Kept, and nothing was noted of it since; from a place on, before which all are gone."""


class Tidying:
    """The rows of `images`, and the files that belong to them.

    Parameters
    ----------
    queue : WriteQueue
    store : ImageStore
    keep : KeepRule

    Notes
    -----
    A file is written before its row and removed after the row that says so: after a crash there may
    be a file too many, which `sweep` removes, and never one too few.
    """

    def __init__(self, queue: WriteQueue, store: ImageStore, keep: KeepRule) -> None:
        self.queue, self.store, self.keep = queue, store, keep
        self._gone = 0
        self._bytes = self._counted()

    def is_kept(self, image_sha256: str) -> bool:
        """Whether an image is kept, as the writer sees it."""
        row = self.queue.connection.execute(
            "SELECT event FROM images WHERE image_sha256 = ? ORDER BY seq DESC LIMIT 1",
            (image_sha256,),
        ).fetchone()
        return row is not None and row[0] == KEPT

    def row(self, event: str, image_sha256: str, size: int, why: str) -> dict[str, Any]:
        """A row that says what happened to an image."""
        return {
            "noted_at": now(),
            "event": event,
            "image_sha256": image_sha256,
            "bytes": size,
            "why": why,
        }

    def is_full(self, size: int) -> bool:
        """Count an image that may be new; whether it is time to tidy up."""
        self._bytes += size  # not exact among threads, or for one that was there: `tidy` counts
        return self._bytes > self.keep.bytes

    def tidy(self) -> int:
        """Remove what is too old or too much, the oldest first; returns how many."""
        removed = 0
        with self.queue.turn:
            self._bytes = self._counted()
        while batch := self._batch():
            removed += batch
        return removed

    def sweep(self) -> None:
        """Remove files that no row knows: a crash left them."""
        with self.queue.turn:
            for path in self.store.files():
                if not self.is_kept(path.name):
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _batch(self) -> int:
        """One transaction, so that nobody waits for all of them."""
        with self.queue.turn:
            going = self._going()
            if not going:
                return 0

            def work(append: Append) -> None:
                for _, sha256, size, why in going:
                    append("images", self.row(REMOVED, sha256, size, why))

            self.queue.write_now(work)
            self._gone = going[-1][0]
            self._bytes -= sum(size for _, _, size, _ in going)
            try:
                for _, sha256, _, _ in going:
                    self.store.remove(sha256)
            except OSError as error:
                raise RunError(explained(error)) from error
            return len(going)

    def _counted(self) -> int:
        total = "SELECT total(CASE event WHEN 'kept' THEN bytes ELSE -bytes END) FROM images"
        return int(self.queue.connection.execute(total).fetchone()[0])

    def _going(self) -> list[tuple[int, str, int, str]]:
        total = self._bytes
        oldest = normalized(datetime.now(UTC) - timedelta(days=self.keep.days), "oldest")
        going = []
        kept = self.queue.connection.execute(_OLDEST, (self._gone, _REMOVED_AT_ONCE))
        for seq, sha256, size, noted_at in kept:
            if noted_at < oldest:
                why = f"older than {self.keep.days:g} days"
            elif total > self.keep.bytes:
                why = f"more than {self.keep.gigabytes:g} GB"
            else:
                break
            total -= size
            going.append((seq, sha256, size, why))
        return going

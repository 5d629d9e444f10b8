"""The one writer of a station's journal."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO, Final

from common.errors import FedPatchCoreError, InputError, RunError, explained
from common.line.journal.chain import Chain
from common.line.journal.checks import digest, number, review_fields, verdict_fields, verdict_of
from common.line.journal.heads import (
    BESIDE,
    Signer,
    add_line,
    head_fields,
    head_line,
    last_head,
    make_head,
    writing_heads,
)
from common.line.journal.images import KEPT, KeepRule
from common.line.journal.queue import Append, WriteQueue
from common.line.journal.reader import JournalReader
from common.line.journal.rows import Entry, Head, Review, Switch, ThresholdChange, Verdict
from common.line.journal.schema import DATABASE, database_error, open_to_read, open_to_write
from common.line.journal.text import checked
from common.line.journal.tidying import Tidying
from common.line.journal.times import now
from common.patchcore.model_folder import sync_folder

LOCK: Final = "writer.lock"


class Journal(JournalReader):
    """The one writer of a journal; every method is safe to be called by several threads.

    Parameters
    ----------
    folder : Path
        Made if absent: `journal.sqlite`, `heads.jsonl`, `images/`.
    signing : Signer, optional
        By whom heads are signed; without, they are written unsigned, or not at all once one is
        signed.
    keep : KeepRule
    head_every : float
        Seconds between two heads, and between two looks for images that are too old.

    Raises
    ------
    InputError
        If another process writes this journal, the database is no journal, or a newer version of
        fedpatchcore wrote it.
    RunError
        If the disk refuses.
    """

    def __init__(
        self,
        folder: Path,
        *,
        signing: Signer | None = None,
        keep: KeepRule | None = None,
        head_every: float = 3600.0,
    ) -> None:
        _make(folder)
        self.signing, self.keep = signing, keep or KeepRule()
        self._lock = _only_writer(folder)
        self._queue: WriteQueue | None = None
        self._wake, self._ending = threading.Event(), False
        try:
            self._queue = WriteQueue(open_to_write(folder / DATABASE), folder / DATABASE)
            sync_folder(folder)
            super().__init__(folder)
            self._tidying = Tidying(self._queue, self.store, self.keep)
            self._mend_heads()
            self._sign_if_new("open", also_empty=True)
            self._tidying.sweep()
        except BaseException:
            self._let_go()
            raise
        self._head_every = head_every
        self._hourly = threading.Thread(target=self._every_hour, name="journal", daemon=True)
        self._hourly.start()

    @staticmethod
    def reading(folder: Path) -> JournalReader:
        """Open a journal to read, beside its writer or without one."""
        return JournalReader(folder)

    def add_verdict(self, verdict: Verdict, image: bytes | None = None) -> Entry:
        """Write a verdict, and keep its image if the rule says so; both are durable on return.

        Parameters
        ----------
        verdict : Verdict
        image : bytes, optional
            The image file as it came; its sha256 is the verdict's.

        Raises
        ------
        InputError
            If a field cannot be used.
        RunError
            If the disk refuses; nothing of the row is there then.
        """
        fields = verdict_fields(verdict)
        why = self.keep.why(verdict) if image is not None else None
        if image is None or why is None:
            return self._open_queue.write(lambda append: self._put(append, fields))
        sha256 = verdict.image_sha256
        if (found := hashlib.sha256(image).hexdigest()) != sha256:
            raise InputError(f"image sha256: the bytes have {found}, the verdict says {sha256}")
        try:
            self.store.write(sha256, image)
        except OSError as error:
            raise RunError(f"{explained(error)}; the part is not in the journal") from error

        def work(append: Append) -> Entry:
            # Removed as too old meanwhile, and by nobody from here on: both have the turn.
            self.store.write(sha256, image)
            entry = self._put(append, fields)
            if not self._tidying.is_kept(sha256):
                append("images", self._tidying.row(KEPT, sha256, len(image), why))
            return Entry(entry.id, entry.judged_at, entry.verdict, None, True)

        entry = self._open_queue.write(work)
        if self._tidying.is_full(len(image)):
            self._wake.set()
        return entry

    def add_review(self, id: int, verdict: str, by: str, note: str = "") -> Review:
        """Write what a person says of a part.

        Parameters
        ----------
        id : int
            `Entry.id`.
        verdict : "good" | "defect" | "unsure"
        by, note : str
            At most 100 and 2,000 characters, none of them a control character.

        Raises
        ------
        InputError
            If there is no such part, or a text cannot be used.
        """
        fields = review_fields(id, verdict, by, note)

        def work(append: Append) -> Review:
            connection = self._open_queue.connection
            marked = 0
            if isinstance(id, int) and 0 < id < 2**63:
                marked = connection.execute(
                    "UPDATE verdicts SET reviewed = 1 WHERE seq = ?", (id,)
                ).rowcount
            if marked != 1:
                raise InputError(f"part {id}: the journal has no part of this id")
            when = now()
            own = append("reviews", {"reviewed_at": when, **fields})
            return Review(own, id, when, verdict, by, note)

        return self._open_queue.write(work)

    def add_switch(self, model_sha256: str, run_id: str, by: str, why: str) -> Switch:
        """Write that another version of the model judges from here on."""
        fields = {
            "model_sha256": digest(model_sha256, "model sha256"),
            "run_id": checked(run_id, "run id", needed=False),
            "author": checked(by, "by"),
            "why": checked(why, "why", needed=False),
        }
        when, seq = self._add("switches", "switched_at", fields)
        return Switch(seq, when, model_sha256, run_id, by, why)

    def add_threshold(
        self, category: str, old: float | None, new: float | None, source: str, by: str, why: str
    ) -> ThresholdChange:
        """Write that another threshold judges a category from here on."""
        fields = {
            "category": checked(category, "category"),
            "old": number(old, "old threshold"),
            "new": number(new, "new threshold"),
            "source": checked(source, "threshold source", needed=False),
            "author": checked(by, "by"),
            "why": checked(why, "why", needed=False),
        }
        when, seq = self._add("thresholds", "changed_at", fields)
        return ThresholdChange(seq, when, category, old, new, source, by, why)

    def sign_head(self, why: str = "export") -> Head:
        """Sign the end of the chain as it is now, in the file and in the database.

        Raises
        ------
        InputError
            If there is no key, and earlier heads are signed: one that is not would look as if
            somebody without the key had made it.
        RunError
            If the disk refuses.
        """
        queue = self._open_queue
        checked(why, "why")
        try:
            with queue.turn:
                _require_key(queue.connection, self.folder, self.signing)
            with queue.turn, writing_heads(self.folder) as file:
                head = make_head(queue.chain, why, self.signing)
                # The file first: a head in the database has always a line.
                end = add_line(file, head_line(queue.chain.journal_id, head))
                try:
                    queue.write_now(lambda append: append("heads", head_fields(head)))
                except BaseException:
                    file.truncate(end)
                    raise
        except OSError as error:
            raise RunError(explained(error)) from error
        return head

    def tidy(self) -> int:
        """Remove images that are too old or too many; returns how many."""
        return self._tidying.tidy()

    def close(self) -> None:
        """Sign the last head, and let go of everything."""
        if self._queue is None:
            return
        self._ending = True
        self._wake.set()
        self._hourly.join()
        try:
            self._sign_if_new("close")
        finally:
            self._let_go()

    @property
    def _open_queue(self) -> WriteQueue:
        if self._queue is None:
            raise InputError(f"{self._path}: the journal is closed")
        return self._queue

    def _put(self, append: Append, fields: dict[str, Any]) -> Entry:
        when = now()
        seq = append("verdicts", {"judged_at": when, **fields})
        kept = self._tidying.is_kept(fields["image_sha256"])
        return Entry(seq, when, verdict_of(fields), None, kept)

    def _add(self, kind: str, time: str, fields: dict[str, Any]) -> tuple[str, int]:
        def work(append: Append) -> tuple[str, int]:
            when = now()
            return when, append(kind, {time: when, **fields})

        return self._open_queue.write(work)

    def _sign_if_new(self, why: str, also_empty: bool = False) -> None:
        queue = self._open_queue
        with queue.turn:
            if self.signing is None and _is_signed(queue.connection):
                return
            found = queue.connection.execute("SELECT max(seq) FROM heads").fetchone()[0]
            if (also_empty and found is None) or queue.chain.seq > (found or 0):
                self.sign_head(why)

    def _mend_heads(self) -> None:
        """Put the row of a head whose line alone was written before a crash."""
        queue = self._open_queue
        with queue.turn, writing_heads(self.folder) as file:
            last = last_head(file)
            if last is None or last[0] != queue.chain.journal_id or last[1].why == BESIDE:
                return
            head = last[1]
            if (head.seq, head.hash) == (queue.chain.seq, queue.chain.hash.hex()):
                queue.write_now(lambda append: append("heads", head_fields(head)))

    def _every_hour(self) -> None:
        due = time.monotonic() + self._head_every
        while True:
            self._wake.wait(max(0.0, due - time.monotonic()))
            self._wake.clear()
            if self._ending:
                return
            # The next hour tries again; who writes a row meanwhile is told what is wrong.
            with contextlib.suppress(FedPatchCoreError):
                self.tidy()
                if time.monotonic() >= due:
                    due = time.monotonic() + self._head_every
                    self._sign_if_new("hour")

    def _let_go(self) -> None:
        if hasattr(self, "_connection"):
            super().close()
        if self._queue is not None:
            self._queue.close()
            self._queue = None
        self._lock.close()


def sign_beside(folder: Path, signing: Signer | None) -> Head:
    """Sign the end of the chain while another process writes the journal: in the file alone.

    Raises
    ------
    InputError
        As `Journal.sign_head`.
    RunError
        If the disk refuses.
    """
    connection = open_to_read(folder / DATABASE)
    try:
        _require_key(connection, folder, signing)
        # The writer signs no head meanwhile: lines of the file ascend.
        with writing_heads(folder) as file:
            connection.execute("BEGIN")
            chain = Chain.read(connection)
            head = make_head(chain, BESIDE, signing)
            add_line(file, head_line(chain.journal_id, head))
    except sqlite3.Error as error:
        raise database_error(folder / DATABASE, error) from error
    except OSError as error:
        raise RunError(explained(error)) from error
    finally:
        connection.close()
    return head


def _is_signed(connection: sqlite3.Connection) -> bool:
    last = connection.execute("SELECT key FROM heads ORDER BY seq DESC LIMIT 1").fetchone()
    return last is not None and last[0] != ""


def _require_key(connection: sqlite3.Connection, folder: Path, signing: Signer | None) -> None:
    if signing is None and _is_signed(connection):
        raise InputError(
            f"{folder}: the heads of this journal are signed, and no key was given; give the "
            "station's"
        )


class BusyError(InputError):
    """Another process writes this journal."""


def _only_writer(folder: Path) -> BinaryIO:
    """Hold the journal alone; it is let go of with the process, however that ends."""
    try:
        lock = (folder / LOCK).open("ab")
    except OSError as error:
        raise InputError(explained(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise BusyError(
            f"{folder}: another process writes this journal; stop it or give another folder"
        ) from error
    return lock


def _make(folder: Path) -> None:
    """Make the folder of a journal, which others than its user's group cannot read."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; expected a folder for the journal")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as error:
        raise InputError(explained(error)) from error

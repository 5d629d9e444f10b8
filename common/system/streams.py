"""Standard output and errors that never cost the work they tell about.

A reader that has gone (`| head -1`, a closed terminal) is no fault: what is said after that is said
to nobody. A full disk below `> log` is told at the end. What the terminal's alphabet lacks is
written as an escape.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, Final

_GONE: Final = frozenset({errno.EPIPE, errno.EIO, errno.ENXIO, errno.ECONNRESET})


class _Patient(io.FileIO):
    """A stream whose failures are kept for the end."""

    failure: OSError | None = None

    def write(self, content: Any) -> Any:
        try:
            if self.failure is None:
                return super().write(content)
        except OSError as error:
            error.filename = "standard output"
            self.failure = error
        return memoryview(content).nbytes


def prepare_streams() -> None:
    """Put the patient streams in the places of standard output and standard error."""
    for name, number in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        if old is None:  # started without one
            number = os.open(os.devnull, os.O_WRONLY)
        raw = _Patient(number, "w", closefd=False)
        at_once = getattr(old, "line_buffering", False) or getattr(old, "write_through", False)
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=getattr(old, "encoding", None) or "utf-8",
            errors="backslashreplace",
            line_buffering=at_once or raw.isatty(),
        )
        setattr(sys, name, stream)


def output_failure() -> OSError | None:
    """Why standard output is not whole, unless its reader has simply gone."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, _Patient) else None
    return None if failure is None or failure.errno in _GONE else failure

"""What went wrong at a station, as a code with advice: what the server may know of it."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator
from typing import Final

from flwr.common import log

from common.errors import (
    FedPatchCoreError,
    ImagesChangedError,
    MissingWeightsError,
    NoImagesError,
    UnreadableImageError,
    reason,
)
from common.protocol.messages import Failure, as_sentence

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

ADVICE: Final[dict[str, str]] = {
    "no-images": (
        "there is no image for what was asked in the station's data-root; give the folder of "
        "its images in the settings of the station, and run `fedpatchcore check` on it there"
    ),
    "weights-missing": (
        "the weights of the run's backbone are not on the station, and nothing is downloaded "
        "during a run; put the file there and name it as `weights` in the station's settings"
    ),
    "no-space": (
        "no space is left on the disk of the station's cache-dir; free some or lower "
        "cache-limit-gb there; the station's own log names the file"
    ),
    "unreadable-image": (
        "an image of the station cannot be read; the station's own log names it; run "
        "`fedpatchcore check` there, and mend or remove what it finds"
    ),
    "images-changed": (
        "begin the run again when nothing writes to the station's data-root; the station's own "
        "log names the images"
    ),
    "out-of-memory": (
        "the station has too little memory for its part; lower batch-size there, choose device "
        "cpu if it was a GPU's, or lower global-bank-size or image-size for the run"
    ),
    "unusable-input": (
        "the station's own log names the file or setting; run `fedpatchcore check` there"
    ),
}
"""Code of a usual failure -> what to do about it; nothing of the station is in it."""


def failure_code(error: Exception) -> str:
    """Name the kind of a failure: a key of `ADVICE`, or `internal-<type>`."""
    causes = list(_causes(error))
    if any(isinstance(cause, OSError) and cause.errno in _NO_SPACE for cause in causes):
        return "no-space"
    if any(_is_out_of_memory(cause) for cause in causes):
        return "out-of-memory"
    for kind, code in (
        (ImagesChangedError, "images-changed"),
        (NoImagesError, "no-images"),
        (MissingWeightsError, "weights-missing"),
        (UnreadableImageError, "unreadable-image"),
        (FedPatchCoreError, "unusable-input"),
    ):
        if isinstance(error, kind):
            return code
    return "internal-" + re.sub("[^a-z0-9]+", "", type(error).__name__.lower())[:40]


def advice(code: str) -> str:
    """Say what to do, in words that hold for every station."""
    return ADVICE.get(code, "an error that nobody expected; the station's own log tells it whole")


def failure_of(error: Exception, real: bool) -> Failure:
    """Say what went wrong: all of it in this station's log, and to the server what it may know.

    Paths and file names stay on a real station; the server gets a code and advice.
    """
    known = isinstance(error, FedPatchCoreError)
    log(logging.ERROR, "fedpatchcore station: %s", error, exc_info=None if known else error)
    code = failure_code(error)
    text = advice(code)
    if isinstance(error, ImagesChangedError):
        text = f"{error.told}; {text}"
    return Failure(code=code, reason=as_sentence(text if real else reason(error)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from the error to what it was raised from, and on."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch tells a failed allocation on the CPU by its text alone.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)

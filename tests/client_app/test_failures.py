"""A station's failures: a code that fits the cause, advice, and nothing of the station's own."""

from __future__ import annotations

import errno
import re

import pytest
import torch

from client_app.failures import ADVICE, advice, failure_code
from common.errors import (
    InputError,
    MissingWeightsError,
    NoImagesError,
    RunError,
    UnreadableImageError,
)
from common.protocol.messages import Failure, without_paths


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def while_handling(error: Exception, other: Exception) -> Exception:
    error.__context__ = other
    return error


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoImagesError("/data: no such folder"), "no-images"),
        (MissingWeightsError("/w.pth: no such file"), "weights-missing"),
        (UnreadableImageError("/data/0.png: truncated"), "unreadable-image"),
        (InputError("setting seed"), "unusable-input"),
        (RunError("broken"), "unusable-input"),
        (FULL, "no-space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no-space"),
        (OSError(errno.EFBIG, "File too large"), "no-space"),
        (raised_from(RunError("/c/rows-1: cannot be written"), FULL), "no-space"),
        (while_handling(ValueError("Can't close the ZIP file"), FULL), "no-space"),
        (MemoryError(), "out-of-memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out-of-memory"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), "out-of-memory"),
        (raised_from(InputError("x"), MemoryError()), "out-of-memory"),
        (OSError(errno.EACCES, "Permission denied"), "internal-permissionerror"),
        (RuntimeError("a bug"), "internal-runtimeerror"),
        (type("Ünlikely_Error" * 9, (Exception,), {})(), None),
    ],
)
def test_codes(error: Exception, code: str | None) -> None:
    found = failure_code(error)
    assert code is None or found == code
    # Whatever it is, it can be sent.
    Failure(code=found, reason=advice(found))


def test_torchs_own_way_of_running_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert failure_code(error.value) == "out-of-memory"


def test_a_loop_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert failure_code(first) == "internal-valueerror"


@pytest.mark.parametrize("code", [*ADVICE, "internal-anything"])
def test_advice_is_the_same_for_every_station_and_says_what_to_do(code: str) -> None:
    text = advice(code)
    assert without_paths(text) == text
    assert len(text) < 300
    assert re.search("run|put|free|lower|log", text)

"""Which device works beside the CPU, and what is known of one that failed.

Imports no torch for work that needs none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_LOG = logging.getLogger("fedpatchcore")
_MOST_NOTICES = 50
_MOST_LETTERS = 300

#: Devices that this process no longer uses, and why.
_failed: dict[str, str] = {}
#: What the CPU did instead of a device, not yet taken by `take_notices`; in order, each once.
_notices: dict[str, None] = {}


class DeviceUnfit(Exception):
    """The device cannot do this step, and why: the CPU does all of it, with the same result."""


class DeviceFailed(DeviceUnfit):
    """The device computed wrongly or broke off: this process uses it no more."""


def accelerator(device: torch.device | str | None) -> torch.device | None:
    """Return the device if it is another than the CPU, with its number.

    Raises
    ------
    RuntimeError
        By torch, if it knows no such kind of device.
    """
    if device is None or str(device) == "cpu":
        return None
    import torch

    named = torch.device(device)
    return torch.device("cuda", named.index or 0) if named.type == "cuda" else named


def failure(device: torch.device) -> str | None:
    """Why this process no longer uses a device; None if it may."""
    return _failed.get(str(device))


@contextmanager
def guarded(device: torch.device) -> Iterator[None]:
    """Do a step on a device; whatever goes wrong there, be it late, is a `DeviceUnfit`.

    Raises
    ------
    DeviceUnfit
        If the device's memory does not suffice.
    DeviceFailed
        On any other error of the device, or at once if it has failed before.
    """
    import torch

    if reason := failure(device):
        raise DeviceFailed(reason)
    try:
        yield
        if device.type == "cuda":  # kernels run behind our back, and so do their errors
            torch.cuda.synchronize(device)
    except RuntimeError as error:  # torch's errors of a device are all of this kind
        what = " ".join(str(error).partition("\n")[0].split())[:_MOST_LETTERS]
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in what:
            raise DeviceUnfit(f"the memory of {device} is used up ({what})") from error
        raise DeviceFailed(f"{device} failed ({type(error).__name__}: {what})") from error


def by_cpu(step: str, device: torch.device, error: DeviceUnfit) -> None:
    """Say, loudly, that the CPU does a step from its beginning, and remember a failed device."""
    if isinstance(error, DeviceFailed):
        _failed.setdefault(str(device), str(error))
    notice = f"{step} by the CPU alone: {error}"
    _LOG.warning("%s", notice)
    if len(_notices) < _MOST_NOTICES:
        _notices[notice] = None


def take_notices() -> list[str]:
    """Return what the CPU did instead of a device since this was last asked."""
    taken = list(_notices)
    _notices.clear()
    return taken

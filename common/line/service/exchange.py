"""Another model becomes active: it is loaded beside the old one, or, if memory is short, instead.

Either way each part is judged by exactly one version, and none is lost: while there is no model,
parts wait in the queue, which is bounded.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from common.errors import RunError, reason
from common.line.service.bounds import Bounds
from common.line.service.judge import Judge
from common.line.service.resident import Found, Resident, load_resident
from common.patchcore.model_folder import ROWS
from common.patchcore.network.memory import return_free_memory
from common.system.memory import available_bytes, used_bytes

_ROWS: Final = 6
"""A bank's file in memory: its numbers of 2 bytes as they are, as float32, as the search's copy of
up to 6 bytes."""
_NETWORKS: Final = 2
"""A network's numbers are in memory once as they came and once as they are computed with."""
_WORK_BYTES: Final = 200 * 2**20
"""What judging a picture takes beside."""
_HOLD_SECONDS: Final = 120.0
"""The parts in hand are done long before."""


class NoModel(RunError):
    """Neither the new model nor the one before could be loaded: nothing can be judged."""


def needed_bytes(found: Found, like: Resident) -> int:
    """Estimate what a model takes in memory.

    Parameters
    ----------
    found : Found
    like : Resident
        One with a network of the same kind.
    """
    rows = (found.folder / ROWS).stat().st_size
    return _ROWS * rows + _NETWORKS * like.network_bytes + _WORK_BYTES


def fits_beside(found: Found, resident: Resident, bounds: Bounds) -> bool:
    """Whether a model can be loaded while another one judges.

    Parameters
    ----------
    found : Found
    resident : Resident
    bounds : Bounds
    """
    left = available_bytes()
    if bounds.memory_bytes is not None:
        own = bounds.memory_bytes - used_bytes()
        left = own if left is None else min(left, own)
    return needed_bytes(found, resident) <= (math.inf if left is None else left)


class Exchange:
    """Exchanges the model that a judge uses.

    Parameters
    ----------
    judge : Judge
    bounds : Bounds
    load : callable (Found) -> Resident
    note : callable (new, old)
        Writes the switch down, before the new one's first verdict.
    """

    def __init__(
        self,
        judge: Judge,
        bounds: Bounds,
        load: Callable[[Found], Resident],
        note: Callable[[Resident, Resident], None],
    ) -> None:
        self._judge, self._bounds, self._load, self._note = judge, bounds, load, note

    def to(self, found: Found) -> Resident:
        """Let another model judge.

        Raises
        ------
        NoModel
            If there is none now.
        Exception
            Whatever is wrong with the new one; the old one goes on judging.
        """
        old = self._judge.resident
        if old.is_loaded and fits_beside(found, old, self._bounds):
            try:
                new = self._load(found)
            except MemoryError:
                pass  # the estimate was wrong
            else:
                self._note(new, old)
                self._judge.take_over(new)
                return new
        return self._instead(old, found)

    def _instead(self, old: Resident, found: Found) -> Resident:
        """Finish what is in hand, drop the old model, load the new one."""
        self._judge.hold(_HOLD_SECONDS)
        now = old
        try:
            old.drop()
            gc.collect()
            return_free_memory()
            try:
                now = self._load(found)
                self._note(now, old)
            except Exception as error:
                now = old
                now = self._again(old, error)
                raise
        finally:
            self._judge.go_on(now)
        return now

    def _again(self, old: Resident, why: Exception) -> Resident:
        gc.collect()
        return_free_memory()
        try:
            return self._load(old.found)
        except Exception as error:
            raise NoModel(
                f"{reason(why)}; and {old.found.name}, which judged before, cannot be loaded again "
                f"({reason(error)})"
            ) from why


def loader(station: str | None, changes: Mapping[str, Any]) -> Callable[[Found], Resident]:
    """How a service loads its models.

    Parameters
    ----------
    station : str or None
    changes : mapping
        See `load_resident`.
    """
    return lambda found: load_resident(found, station, changes)

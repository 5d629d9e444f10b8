"""When a plain loop is the quicker way: compiled ones take a second to load, first to compile."""

from __future__ import annotations

#: Numbers to be compared, in hundredths of a second: never worth more than a plain loop.
_LEAST = 5_000_000
#: As many as plain loops compare in about a second.
_MOST = 500_000_000

_done = 0


def plainly(work: int, total: int) -> bool:
    """Whether this is left to a plain loop: until this process has done a second of such work.

    Parameters
    ----------
    work : int
        Numbers that are to be compared now.
    total : int
        The same, with all that was done before of the same kind with the same rows.
    """
    global _done
    if total > _LEAST and _done + work > _MOST:
        return False
    _done += work
    return True

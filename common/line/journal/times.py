"""Times as the journal writes them: UTC, always with microseconds, so that text sorts as time."""

from __future__ import annotations

from datetime import UTC, datetime

from common.errors import InputError


def now() -> str:
    """The time now."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def normalized(time: str | datetime, what: str) -> str:
    """A time that somebody gave as the journal writes it; without a zone it is UTC.

    Raises
    ------
    InputError
        If it is no time.
    """
    try:
        found = datetime.fromisoformat(time) if isinstance(time, str) else time
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return found.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"{what} {str(time)[:50]!r}: is no time; expected as 2026-03-01T06:00 (UTC), or with "
            "a zone as +01:00"
        ) from error

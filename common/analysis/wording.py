"""Numbers and names as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

MISSING: Final = "missing"
MINUS: Final = "\N{MINUS SIGN}"
_LONGEST: Final = 300


def number(value: float | None, digits: int = 3) -> str:
    """Write a number; "missing" for none."""
    if value is None or value != value:
        return MISSING
    return f"{value:.{digits}f}".replace("-", MINUS)


def percent(value: float | None, digits: int = 1) -> str:
    """Write percent with its sign; "missing" for none."""
    if value is None or value != value:
        return MISSING
    return f"{value:+.{digits}f} %".replace("-", MINUS)


def p_value(value: float | None) -> str:
    """Write a p-value: three digits, never as 0."""
    if value is None:
        return "not possible"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: float | None) -> str:
    """Write a whole number with thousands apart; "missing" for none."""
    return MISSING if value is None or value != value else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Write a number of bytes in decimal units; "missing" for none."""
    if value is None or value != value:
        return MISSING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f} B"


def duration(seconds: float | None) -> str:
    """Write seconds as a person would; "missing" for none."""
    if seconds is None or seconds != seconds:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def listed(names: Sequence[str]) -> str:
    """Join names: "a", "a and b", "a, b and c"."""
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


def sentence(text: str) -> str:
    """Begin with a capital letter."""
    return text[:1].upper() + text[1:]


def printable(text: Any, longest: int = _LONGEST) -> str:
    """Text from elsewhere without control characters, and not longer than a reader can bear."""
    shown = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return shown if len(shown) <= longest else shown[:longest] + "…"

"""The one printer of the command line: what is printed is shown as it is."""

from __future__ import annotations

import re
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from common.paths import path_text

_STEERING: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _shown(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"


class Screen(Console):
    r"""A console to which names are names.

    Brackets are no markup, colons no emoji; bytes that are no text and characters that steer a
    terminal are shown as `\xNN`. What is to have a style is given as `styled` text.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make what is printed, and every cell and title of a table, of a text."""
        return super().render_str(_STEERING.sub(_shown, path_text(text)), **options)


def styled(text: str, style: str) -> Text:
    """Text with a style, to be printed beside plain text."""
    return Text(text, style)


console = Screen()


def note(text: object) -> None:
    """Print what a reader should know."""
    console.print(styled("Note:", "bold yellow"), str(text), soft_wrap=True)

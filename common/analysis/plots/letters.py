"""Letters that plots can show: fonts for many scripts, and what stands in for a missing letter."""

from __future__ import annotations

import functools
from typing import Any, Final

from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg

FIRST: Final = "DejaVu Sans"
_OTHERS: Final = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Source Han Sans"),
    *("IPAexGothic", "IPAGothic", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "NanumGothic"),
    *("Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Hiragino Sans", "PingFang SC"),
    *("Noto Sans CJK KR", "Droid Sans Fallback", "Apple SD Gothic Neo", "Noto Sans Devanagari"),
    *("Noto Sans Thai", "Noto Sans Arabic", "Noto Sans Hebrew", "Arial Unicode MS", "Noto Emoji"),
)
"""Where a letter is looked for that the first font lacks, if installed."""


@functools.cache
def families() -> list[str]:
    """Families for a plot's text: matplotlib takes each letter from the first that has it."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    return [FIRST, *(name for name in _OTHERS if name in installed)]


@functools.cache
def _is_there(letter: str) -> bool:
    paths = (font_manager.findfont(name, fallback_to_default=False) for name in families())
    return any(font_manager.get_font(path).get_char_index(ord(letter)) for path in paths)


def drawable(text: str) -> str:
    r"""Text without letters that no font here has: they are told by their numbers, as `\u90e8`."""
    if text.isascii():
        return text
    return "".join(
        letter
        if letter.isspace() or _is_there(letter)
        else letter.encode("ascii", "backslashreplace").decode()
        for letter in text
    )


class _Renderer(RendererAgg):
    """Measures and draws what can be drawn."""

    def __init__(self, width: float, height: float, dpi: float) -> None:
        super().__init__(width, height, dpi)  # type: ignore[no-untyped-call]

    def draw_text(self, gc: Any, x: float, y: float, s: str, *rest: Any, **options: Any) -> None:
        super().draw_text(gc, x, y, drawable(s), *rest, **options)  # type: ignore[no-untyped-call]

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> Any:
        return super().get_text_width_height_descent(drawable(s), prop, ismath)  # type: ignore[no-untyped-call]


class Canvas(FigureCanvasAgg):
    """A canvas for pictures; in SVG files text stays text, and the reader's fonts show it."""

    def get_renderer(self) -> RendererAgg:
        """Return what draws, kept while the figure has one size."""
        width, height = self.get_width_height(physical=True)
        key = width, height, self.figure.dpi
        if getattr(self, "_key", None) != key:
            self.renderer, self._key = _Renderer(width, height, self.figure.dpi), key
        return self.renderer

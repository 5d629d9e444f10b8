"""Whether an image file has arrived to its last byte."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from common.data.images import read_image
from common.errors import InputError

_MARKS: Final = (
    (b"\x89PNG", b"IEND\xae\x42\x60\x82"),
    (b"\xff\xd8", b"\xff\xd9"),
)
"""How PNG and JPEG files begin and end."""
_TAIL: Final = 4096  # some cameras write a few bytes behind the end mark


def is_whole(path: Path) -> bool:
    """Whether a file can be decoded and has its end mark.

    Decoders are content when they have all pixels. The mark that follows them would make another
    file of it a moment later, and its image would be judged twice.
    """
    try:
        read_image(path)
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(max(0, path.stat().st_size - _TAIL))
            tail = file.read()
    except (InputError, OSError):
        return False
    return all(end in tail for begin, end in _MARKS if start.startswith(begin))

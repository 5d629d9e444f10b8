"""From the bytes that came to the picture that is judged: the same decoder as `inspect`'s."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from common.data.images import read_image, read_size
from common.errors import InputError
from common.inspection.whole import is_whole
from common.line.service.bounds import Bounds, TooLarge
from common.paths import LONGEST_NAME

_ENDING: Final = re.compile(r"\.[A-Za-z0-9]{1,5}")
_PART: Final = re.compile(r"[^\W_][\w .:+#=,()@-]{0,199}")


@dataclass(frozen=True)
class Picture:
    """An image file that was taken in.

    Attributes
    ----------
    content : bytes
        As it came.
    sha256 : str
        Of these.
    image : PIL image
        8-bit RGB, upright.
    """

    content: bytes
    sha256: str
    image: Image.Image


def checked_part(part: str | None) -> str | None:
    """A part's number or name as a line may give it; None for none.

    Raises
    ------
    InputError
        If it is longer than 200 characters or holds others than letters, digits, spaces and
        `_.:+#=,()@-`: no path, no markup.
    """
    if part is None or part == "":
        return None
    if not _PART.fullmatch(part):
        raise InputError(
            f"part {part[:50]!a}: expected up to 200 letters, digits, spaces and _.:+#=,()@- , a "
            "letter or digit first"
        )
    return part


def part_of_file(path: Path) -> str | None:
    """The part that a watched file shows: its name without the ending, if that can be one."""
    return path.stem if _PART.fullmatch(path.stem) else None


def upload_name(given: str | None) -> str | None:
    """The last part of the name that a client gave its file; never used to open one."""
    name = re.split(r"[/\\]", given or "")[-1].strip()
    return name[:LONGEST_NAME] or None


class Intake:
    """Decodes image files, each in a private temporary file that is removed at once.

    Parameters
    ----------
    folder : Path
        For these files; made with mode 700, and emptied: what is there a killed process left.
    bounds : Bounds
    """

    def __init__(self, folder: Path, bounds: Bounds) -> None:
        self.folder, self.bounds = folder, bounds
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink()

    def decode(self, content: bytes, name: str | None, whole: bool = False) -> Picture:
        """Decode an image file as `inspect` does.

        Parameters
        ----------
        content : bytes
        name : str or None
            What messages call it; its ending counts, as that of a file does.
        whole : bool
            Refuse a file without its format's end mark, too: it may still be being written.

        Raises
        ------
        TooLarge
            If the file or the picture is larger than the bounds; nothing is decoded then.
        InputError
            If it cannot be read.
        """
        called = name or "the upload"
        if len(content) > self.bounds.upload_bytes:
            raise TooLarge(
                f"{called}: {len(content)} bytes; expected at most {self.bounds.upload_bytes}"
            )
        ending = os.path.splitext(called)[1]
        if not _ENDING.fullmatch(ending):
            ending = ""
        number, text = tempfile.mkstemp(ending, dir=self.folder)
        path = Path(text)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            height, width = read_size(path)
            if height * width > self.bounds.pixels:
                raise TooLarge(
                    f"{called}: a picture of {width} x {height} pixels; expected at most "
                    f"{self.bounds.pixels} in all; scale it down or cut it into parts"
                )
            if whole and not is_whole(path):
                raise InputError(f"{called}: the image is not whole; copy the file again")
            image = read_image(path)
        except InputError as error:
            said = str(error).replace(text, called)
            raise type(error)(said) if isinstance(error, TooLarge) else InputError(said) from None
        finally:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        return Picture(content, hashlib.sha256(content).hexdigest(), image)

"""Image and mask files as cameras, phones and drawing programs write them: each with a twist."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE: Final = (40, 48)
"""Height and width where nothing else is asked for."""
_ORIENTATION: Final = 0x0112


def noise(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Colours of (height, width) pixels that no other seed gives."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def pages(path: Path, count: int = 2, seed: int = 0, kind: str | None = None) -> Path:
    """Several pictures in a file: a TIFF's pages, an animation (PNG, GIF, WEBP), an MPO's views.

    `kind` is Pillow's word for the format; the path's ending may be another.
    """
    first, *others = (Image.fromarray(noise(seed + number)) for number in range(count))
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, format=kind, save_all=True, append_images=others)
    return path


def with_preview(path: Path, seed: int = 0, first: bool = False) -> Path:
    """A TIFF or multi-picture JPEG with a small version of its picture; `first`: before it."""
    picture = Image.fromarray(noise(seed))
    small = picture.resize((12, 10))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix not in (".tif", ".tiff"):
        picture.save(path, format="MPO", save_all=True, append_images=[small])
        return path
    from PIL.TiffImagePlugin import AppendingTiffWriter

    order = [(small, 1), (picture, 0)] if first else [(picture, 0), (small, 1)]
    with AppendingTiffWriter(str(path), True) as file:
        for image, subfile_type in order:
            image.save(file, format="TIFF", tiffinfo={254: subfile_type})
            file.newFrame()
    return path


def layered(path: Path, seed: int = 0) -> Path:
    """Icons of several sizes, under whatever name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed, (64, 64))).save(path, format="ICO", sizes=[(16, 16), (64, 64)])
    return path


def deep(path: Path, bits: int, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    """Grey values of a camera of so many bits in a 16-bit PNG or TIFF file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 2**bits, size, dtype=np.uint16)
    values[0, 0] = 2**bits - 1
    Image.fromarray(values).save(path)
    return path


def deep_colours(path: Path, bits: int, seed: int = 0) -> Path:
    """Colours of a camera of so many bits in a 16-bit PNG, which Pillow itself does not write."""
    values = np.random.default_rng(seed).integers(0, 2**bits, (*SIZE, 3)).astype(">u2")
    values[0, 0] = 2**bits - 1
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 16, 2, 0, 0, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )
    return path


def packed_12_bits(path: Path, values: NDArray[np.uint16]) -> Path:
    """A TIFF that stores 12 bits a value, two values in three bytes, and says so; even width."""
    height, width = values.shape
    left, right = values[:, ::2].astype(np.uint32), values[:, 1::2].astype(np.uint32)
    both = left << 12 | right
    data = np.stack([both >> 16 & 255, both >> 8 & 255, both & 255], axis=-1).astype(np.uint8)
    tags = (
        (256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8 + 2 + 9 * 12 + 4),
        (277, 1), (278, height), (279, data.nbytes),
    )  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path.parent.mkdir(parents=True, exist_ok=True)
    start = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(start + data.tobytes())
    return path


def turned(path: Path, orientation: int = 6) -> Path:
    """State an EXIF orientation in a PNG, JPEG or TIFF file that is there; the pixels stay."""
    with Image.open(path) as image:
        kind, pixels = image.format, np.asarray(image)
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, format=kind, exif=exif, quality=95)
    return path


def bomb(path: Path, side: int = 14_000) -> Path:
    """A sound file of a few kilobytes with more pixels than Pillow reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("1", (side, side)).save(path)
    return path


def pipe(path: Path) -> Path:
    """A FIFO: whoever opens it waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


@contextlib.contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """Let a test fail that waits for a pipe; only in the main thread."""

    def give_up(*_: object) -> None:
        raise AssertionError(f"still waiting after {seconds} s")  # not an error of the system

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def marks(size: tuple[int, int] = (96, 96)) -> NDArray[np.uint8]:
    """Two regions, 0 and 255: what a mask should look like."""
    values = np.zeros(size, dtype=np.uint8)
    values[10:26, 12:30] = 255
    values[50:70, 40:80] = 255
    return values


def mask(path: Path, values: NDArray[np.uint8]) -> Path:
    """Save grey values as a mask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def smoothed_by_jpeg(values: NDArray[np.uint8], quality: int = 50) -> NDArray[np.uint8]:
    """What JPEG compression makes of a mask; a mask saved again as PNG keeps it."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def soft_edged(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask that was scaled down and up again."""
    height, width = values.shape
    small = Image.fromarray(values).resize((width // 3, height // 3), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))


def labelled(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Regions numbered 1, 2, ...: instances, not levels of one defect."""
    from scipy import ndimage

    return np.asarray(ndimage.label(values)[0], dtype=np.uint8)


def with_specks(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A slip of the pen beside the regions: single pixels far from them."""
    values = values.copy()
    values[2, 2] = values[90, 5] = values[4, 90] = 255
    return values

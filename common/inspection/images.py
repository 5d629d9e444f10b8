"""Which images are to be judged, and what their overlays are called."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.data.images import IMAGE_ENDINGS, is_image_name, is_picture_name, natural_key
from common.data.leftovers import is_leftover
from common.errors import InputError, explained
from common.paths import derived_name, given_path, path_text


@dataclass(frozen=True)
class Found:
    """An image to be judged.

    Attributes
    ----------
    path : Path
        Absolute.
    place : Path
        Relative to the folder that was searched; only the name of an image given by itself.
    """

    path: Path
    place: Path


OnError = Callable[[Path, OSError], None]


def refuse(folder: Path, error: OSError) -> None:
    """Let a folder that cannot be listed end the search."""
    raise InputError(f"cannot be listed: {explained(error)}") from error


def find_images(
    inputs: Sequence[Path], skip: Path | None = None, on_error: OnError = refuse
) -> list[Found]:
    """Search files and folders for images.

    Parameters
    ----------
    inputs : sequence of Path
        Image files, and folders that are searched with all their sub-folders.
    skip : Path, optional
        A folder to leave out: where results are written.
    on_error : callable (folder, error)
        Told of every folder that cannot be listed; by default that is an error.

    Returns
    -------
    list of Found
        In order of the inputs, each in natural order; no file twice.

    Raises
    ------
    InputError
        If an input does not exist or holds no image.
    """
    found: dict[Path, Found] = {}
    for given in inputs:
        root = given_path(given)
        if root.is_dir():
            told: list[Path] = []

            def note(folder: Path, error: OSError, told: list[Path] = told) -> None:
                on_error(folder, error)
                told.append(folder)

            paths = images_below(root, skip, note)
            own = [Found(path, path.relative_to(root)) for path in paths]
            if not own and not told:
                raise InputError(
                    f"{given}: no image in this folder; expected files that end in {IMAGE_ENDINGS}"
                )
        elif not root.exists():
            raise InputError(f"{given}: no such image or folder")
        elif not is_image_name(root.name):
            raise InputError(f"{given}: no image by its name; expected {IMAGE_ENDINGS}")
        else:
            own = [Found(root, Path(root.name))]
        for one in own:
            found.setdefault(one.path, one)
    return list(found.values())


def images_below(root: Path, skip: Path | None = None, on_error: OnError = refuse) -> list[Path]:
    """Image files in a folder and its sub-folders, in natural order; see `walk_images`."""
    return in_natural_order(Path(entry.path) for entry in walk_images(root, skip, on_error))


def in_natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort paths, numbers in their names by size."""
    return sorted(paths, key=lambda path: [natural_key(part) for part in path.parts])


def walk_images(
    root: Path, skip: Path | None = None, on_error: OnError = refuse
) -> Iterator[os.DirEntry[str]]:
    """Find the image files in a folder and its sub-folders, in no order.

    Pictures that are not read are among them: whoever looks at one says so.
    What systems leave behind is passed over. Links to folders are followed, each folder once. A
    folder that is removed meanwhile held nothing. One that cannot be listed is told to `on_error`;
    the others are searched.
    """
    skipped = None if skip is None else os.path.realpath(skip)
    visited: set[str] = set()

    def walk(folder: str) -> Iterator[os.DirEntry[str]]:
        real = os.path.realpath(folder)
        if real == skipped or real in visited:
            return
        visited.add(real)
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            if folder == str(root) or not isinstance(error, FileNotFoundError):
                on_error(Path(folder), error)
            return
        for entry in entries:
            if is_leftover(entry.name):
                continue
            if _is_folder(entry):
                yield from walk(entry.path)
            elif is_picture_name(entry.name):
                yield entry

    yield from walk(str(root))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether to go down; a link in a circle, or what the disk does not tell, is a file's fault."""
    try:
        return entry.is_dir()
    except OSError:
        return False


class OverlayNames:
    """Gives every image an overlay of its own: its sub-folders are kept, its suffix is `.png`.

    Parameters
    ----------
    taken : iterable of str
        Names that are in use already.
    """

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self._taken = set(taken)

    def name(self, place: Path) -> str:
        """Return `overlays/<sub-folders>/<stem>.png`, with more in the name if that is taken."""
        folders = (derived_name(path_text(part)) for part in place.parent.parts)
        home, stem = Path("overlays", *folders), path_text(place.stem)

        def named(text: str, ending: str) -> str:
            return (home / derived_name(text, ending)).as_posix()

        name, number = named(stem, ".png"), 2
        if name in self._taken:
            name = named(path_text(place.name), ".png")  # a.jpg beside a.png
        while name in self._taken:
            name = named(stem, f"-{number}.png")
            number += 1
        self._taken.add(name)
        return name

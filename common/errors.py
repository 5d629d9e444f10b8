"""The two ways in which a command ends badly, their exit codes, and what the system refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from pathlib import PurePath
from typing import Final


class FedPatchCoreError(Exception):
    """Base of the errors that are shown as one clear line, never as a traceback."""

    exit_code = 1


class RunError(FedPatchCoreError):
    """The work was started and failed (exit code 1)."""

    exit_code = 1


class InputError(FedPatchCoreError):
    """What was given cannot be used: a path, a file, a setting (exit code 2).

    The message names the file or setting, what was found, what was expected and what to do.
    """

    exit_code = 2


class NoImagesError(InputError):
    """A data folder is not there, or holds no image for what is to be done."""


class UnreadableImageError(InputError):
    """An image file is missing, damaged or of a kind that is not read."""


class ImagesChangedError(InputError):
    """Images that a run counted are other ones now, or gone.

    `told` says how many, and names no file: what a server may know.
    """

    def __init__(self, message: str, told: str) -> None:
        super().__init__(message)
        self.told = told


class MissingWeightsError(InputError):
    """A backbone's weights are not on this machine, or not readable as such."""


_MENDS: Final[dict[int, tuple[str, str]]] = {
    errno.ENOSPC: ("the disk is full", "make room on it, or give a folder on another disk"),
    errno.EDQUOT: ("this user's share of the disk is used up", "make room, or ask for more"),
    errno.EFBIG: (
        "longer than a file may be here",
        "raise the limit (`ulimit -f`), or give a folder on another disk",
    ),
    errno.EROFS: ("on a disk that is mounted read-only", "give a folder that can be written"),
    errno.ENAMETOOLONG: (
        "the name is too long for this file system",
        "give a shorter one, or a folder higher up",
    ),
    errno.EBUSY: ("in use by the system or another program", "close that, or give another folder"),
    errno.ETXTBSY: ("in use by another program", "close that, then try again"),
    errno.ENOENT: ("no such file or folder", "check the path, then try again"),
    errno.ENOTDIR: ("a file is where a folder is needed", "give another path"),
    errno.EISDIR: ("a folder is where a file is needed", "give another path"),
    errno.EEXIST: ("is there already", "move it away, or give another path"),
    errno.ENOTEMPTY: ("is not empty", "move what it holds away, or give another path"),
    errno.ELOOP: ("links that lead in a circle", "mend or remove the link"),
    errno.EXDEV: ("lies on another disk", "give a path on the same disk"),
    errno.EIO: ("the disk cannot be read or written there", "check disk and cable, then try again"),
    errno.ESTALE: ("the network drive has lost it", "mount the drive again"),
    errno.ENOTCONN: ("the drive is not connected", "mount it again"),
    errno.EMFILE: ("too many files are open", "raise the limit (`ulimit -n`)"),
    errno.ENFILE: ("too many files are open on this machine", "end other programs"),
    errno.ENOMEM: ("no memory is left", "end other programs, or lower batch-size and num-workers"),
    errno.EILSEQ: ("this file system cannot keep such a name", "give a name of plain letters"),
    errno.EINVAL: ("this file system cannot keep such a name or file", "give another path"),
}


def explained(error: OSError) -> str:
    """What the system refused, as one line: the path, what was found, what to do."""
    if isinstance(error, shutil.Error):
        return _first_of_many(error)
    path = error.filename2 or error.filename
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    place = f"{path}: " if path is not None and not isinstance(path, int) else ""
    if error.errno in (errno.EACCES, errno.EPERM):
        found, mend = _not_permitted(str(path) if place else "")
    elif error.errno in _MENDS:
        found, mend = _MENDS[error.errno]
    else:
        return f"{place}{error.strerror or error}"
    return f"{place}{found}; {mend}"


def refused(error: BaseException) -> bool:
    """Whether the system refused something; libraries make other things `OSError`, too."""
    return isinstance(error, shutil.Error) or (
        isinstance(error, OSError) and error.errno is not None
    )


def reason(error: BaseException) -> str:
    """Say any failure in one line: our own words, the system's explained, or type and message."""
    if isinstance(error, FedPatchCoreError):
        return str(error)
    if isinstance(error, OSError) and refused(error):
        return explained(error)
    if isinstance(error, MemoryError):
        return (
            f"the memory of this machine does not suffice ({error}); end other programs, or lower "
            "batch-size, num-workers, image-size or global-bank-size"
        )
    return f"{type(error).__name__}: {error}"


def _first_of_many(error: shutil.Error) -> str:
    """Copying a folder collects what it meets, as text."""
    listed = error.args[0] if error.args and isinstance(error.args[0], list) else []
    if not listed:
        return str(error)
    source, target, why = listed[0]
    if found := re.match(r"\[Errno (\d+)\]", str(why)):
        lost = int(found[1]) == errno.ENOENT
        return explained(OSError(int(found[1]), str(why), str(source if lost else target)))
    return f"{source}: {why}"


def _not_permitted(path: str) -> tuple[str, str]:
    """Who asks and who owns, as that is what decides."""
    user = _user(os.geteuid())
    # What is refused is the file, or the nearest folder above it that is there.
    for place in (path, *(str(one) for one in PurePath(path).parents)) if path else ():
        with contextlib.suppress(OSError):
            facts = os.stat(place)
            owner = f"belongs to {_user(facts.st_uid)}, mode {stat.S_IMODE(facts.st_mode):o}"
            what = "" if place == path else f"{place} "
            return (
                f"the user {user} may not do that ({what}{owner})",
                "change its owner or mode, or run as a user who may",
            )
    return f"the user {user} may not do that", "change the owner or mode, or run as another user"


def _user(number: int) -> str:
    try:
        import pwd  # not on Windows

        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)  # as in a container that is run as `--user 1234`

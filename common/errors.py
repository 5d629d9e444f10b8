"""The two ways in which a command ends badly, and their exit codes."""

from __future__ import annotations


class FedPatchCoreError(Exception):
    """Base of the errors that are shown as one clear line, never as a traceback."""

    exit_code = 1


def reason_of(error: Exception) -> str:
    """What to tell of an error: the message of our own, with the kind of any other."""
    own = isinstance(error, FedPatchCoreError)
    return str(error) if own else f"{type(error).__name__}: {error}"


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


class MissingWeightsError(InputError):
    """A backbone's weights are not on this machine, or not readable as such."""

"""Looking a private name up: at the start of what uses it, never in the middle of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from common.errors import InputError
from common.hooks.table import Hook

_LOG: Final = logging.getLogger("fedpatchcore.hooks")


def find(hook: Hook, trial: Callable[[Any], bool] | None = None) -> Any | None:
    """Return what an entry names, or None where the program goes on without it.

    Parameters
    ----------
    hook : Hook
        One with a `without`.
    trial : callable (what was found) -> bool, optional
        Whether it does what is expected of it. An exception is a no.

    Notes
    -----
    The first time that something is missing in a process, one line of the log says so.
    """
    try:
        found = _resolve(hook)
        if trial is not None:
            _try(hook, found, trial)
    except LookupError as error:
        _tell(f"{error}: {hook.without}; tested with {_versions(hook)}")
        return None
    return found


def require(hook: Hook, instance: object = None) -> Any:
    """Return what an entry names.

    Parameters
    ----------
    hook : Hook
    instance : object, optional
        Whose attribute it is, if the name has a colon.

    Raises
    ------
    InputError
        Naming the package and the versions to install.
    """
    try:
        return _resolve(hook, instance)
    except LookupError as error:
        raise _to_install(hook, str(error)) from error


def require_function(hook: Hook) -> Callable[..., Any]:
    """Return a function that an entry names; a module of the same name is none.

    Raises
    ------
    InputError
        As `require`.
    """
    found = require(hook)
    if not hasattr(found, "__globals__"):
        raise _to_install(hook, f"{_installed(hook)} has no {hook.name} ({hook.use})")
    function: Callable[..., Any] = found
    return function


def replace(hook: Hook, ours: Any, within: Callable[..., Any]) -> None:
    """Put something of ours in the place of what an entry names, for one function of its library.

    Parameters
    ----------
    hook : Hook
    ours : Any
    within : callable
        A function of a module that uses it, by whatever name.

    Raises
    ------
    InputError
        As `require`, also if that module does not use it.
    """
    found = require(hook)
    names = [name for name, value in within.__globals__.items() if value is found]
    if not names:
        found_out = f"{within.__module__} of {_installed(hook)} does not use {hook.name}"
        raise _to_install(hook, f"{found_out} ({hook.use})")
    for name in names:
        within.__globals__[name] = ours


def _to_install(hook: Hook, found_out: str) -> InputError:
    return InputError(
        f"{found_out}; tested with {_versions(hook)}: pip install {_requirement(hook)}"
    )


def _resolve(hook: Hook, instance: object = None) -> Any:
    """Follow a name; LookupError says what is not there."""
    path, _, own = hook.name.partition(":")
    missing = hook.name
    try:
        found = getattr(instance, own) if own else _import(path)
        for need in hook.needs:
            missing = f"{hook.name}.{need}"
            getattr(found, need)
    except (AttributeError, ImportError) as error:
        raise LookupError(f"{_installed(hook)} has no {missing} ({hook.use})") from error
    return found


def _import(path: str) -> Any:
    """Follow a dotted name, through modules that nobody has imported yet, too."""
    reached, *rest = path.split(".")
    found: Any = import_module(reached)
    for part in rest:
        reached += f".{part}"
        found = getattr(found, part) if hasattr(found, part) else import_module(reached)
    return found


def _try(hook: Hook, found: Any, trial: Callable[[Any], bool]) -> None:
    try:
        works, why = trial(found), "another result"
    except Exception as error:  # whatever a library says to arguments that it takes no longer
        works, why = False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if not works:
        raise LookupError(
            f"{hook.name} of {_installed(hook)} ({hook.use}) works otherwise than it did ({why})"
        )


def _installed(hook: Hook) -> str:
    try:
        return f"{hook.library} {version(hook.library)}"
    except PackageNotFoundError:
        return f"{hook.library} (not installed)"


def _versions(hook: Hook) -> str:
    through = "" if hook.first == hook.last else f" to {hook.last}"
    return f"{hook.library} {hook.first}{through}"


def _requirement(hook: Hook) -> str:
    if hook.first == hook.last:
        return f'"{hook.library}=={hook.first}"'
    return f'"{hook.library}>={hook.first},<={hook.last}"'


@cache
def _tell(line: str) -> None:
    """Log a line once a process."""
    _LOG.warning(line)

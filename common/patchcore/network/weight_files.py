"""Reading a weight file: what it is by its content, and where in it the network's tensors are."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from common.errors import InputError, MissingWeightsError

EXPECTED: Final = "expected a torchvision state dict, as .safetensors or .pth"
_START: Final = 256


def read_tensors(path: Path, expected: Collection[str]) -> dict[str, Any]:
    """Read the tensors of a weight file; nothing in it is executed.

    Parameters
    ----------
    path : Path
    expected : collection of str
        Names of all tensors that are needed, in the network's order.

    Returns
    -------
    dict of str to tensor
        By the network's own names. What a training program has put around the state dict, as
        `state_dict` or `module.`, is taken off where one place alone holds all that is needed.

    Raises
    ------
    InputError
        Naming the file and what it is instead, or the places where there are several.
    """
    found = _load(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: found {type(found).__name__}; {EXPECTED}")
    if all(name in found for name in expected):
        return found
    places = dict(_places(found, expected))
    if len(places) > 1:
        raise InputError(
            f"{path}: holds the network {len(places)} times, as {', '.join(sorted(places))}; save "
            "the one that is meant as a state dict of its own"
        )
    return next(iter(places.values()), found)


def _places(found: Mapping[Any, Any], expected: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Every place that holds all that is needed: under one key, behind one prefix, or both."""
    first = next(iter(expected))
    within = {f"{key}/": own for key, own in found.items() if isinstance(own, Mapping)}
    for where, own in {"": found, **within}.items():
        names = [name for name in own if isinstance(name, str)]
        for prefix in sorted({n.removesuffix(first) for n in names if n.endswith(first)}):
            if all(f"{prefix}{name}" in own for name in expected):
                stripped = {
                    name.removeprefix(prefix): own[name]
                    for name in names
                    if name.startswith(prefix)
                }
                yield f"{where}{prefix}", stripped


def _load(path: Path) -> Any:
    """Whatever the file holds, by its content: endings are not always what they say."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
            if stranger := _stranger(start):
                raise MissingWeightsError(f"{path}: is {stranger}; {EXPECTED}")
            if start[8:9] == b"{":  # after the header's length comes its JSON
                return load_file(path)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except MissingWeightsError:
        raise
    except PermissionError:
        raise MissingWeightsError(
            f"{path}: this user may not read it; let its owner give the right (chmod a+r), or run "
            "as that user"
        ) from None
    except pickle.UnpicklingError as error:
        # Torch's own words advise to load what may run code of whoever wrote it.
        raise MissingWeightsError(
            f"{path}: holds Python objects, as a whole model, or is damaged; such objects could "
            f"run code and are not loaded. {EXPECTED[0].upper()}{EXPECTED[1:]}: save it with "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    except (SafetensorError, EOFError, OSError, RuntimeError) as error:
        raise MissingWeightsError(
            f"{path}: is not whole, or no weight file ({path.stat().st_size} bytes); copy or "
            f"download it again; {EXPECTED}"
        ) from error
    except Exception as error:  # a damaged pickle raises whatever its bytes say
        raise MissingWeightsError(
            f"{path}: not readable as weights ({type(error).__name__}); {EXPECTED}"
        ) from error


def _stranger(start: bytes) -> str:
    """What a file is that holds no weights, by its first bytes; empty if it may hold some."""
    if not start:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; fetch the file itself with `git lfs pull`"
    if start.lstrip().startswith(b"<"):
        return "a web page, as a proxy or a login sends it instead of a file; download it again"
    printable = start.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in start)
    return "a text file" if printable else ""

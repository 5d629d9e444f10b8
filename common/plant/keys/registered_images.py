"""How many training images each station may count for, as the administrator registered it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from common.errors import InputError


def read_registered_images(path: Path) -> dict[str, int]:
    """Read `images.toml`, beside the stations' public keys at the server.

    Parameters
    ----------
    path : Path
        May be missing: then nothing is registered.

    Returns
    -------
    dict of station to int

    Raises
    ------
    InputError
        If it is not what `fedpatchcore keys --images` writes.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: is no TOML file that can be read ({error})") from error
    for name, images in table.items():
        if not isinstance(images, int) or isinstance(images, bool) or images < 1:
            raise InputError(
                f"{path}: {name} is {images!r}; expected a number of training images, as "
                "`fedpatchcore keys DIR --station NAME --images N` writes it"
            )
    return dict(table)


def images_toml(images: Mapping[str, int]) -> bytes:
    """Write `images.toml`; names are quoted, as one with dots would be taken for tables."""
    return "".join(f'"{name}" = {count}\n' for name, count in sorted(images.items())).encode()

"""Who belongs to the plant: the stations' public keys in a folder of the server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InputError
from common.paths import STATIONS_VARIABLE
from common.plant.keys.station_keys import fingerprint, flower_fingerprint, read_public_key
from common.protocol.messages import STATION_PATTERN


@dataclass(frozen=True)
class Member:
    """What the server knows of a node before the node says a word.

    Attributes
    ----------
    node_id : int
        Flower's.
    name : str or None
        The station's registered name; None where nobody registered one (a first try without keys,
        or a simulation).
    stranger : str or None
        Why the node does not belong to the plant, if it does not.
    """

    node_id: int
    name: str | None = None
    stranger: str | None = None


@dataclass(frozen=True)
class Registry:
    """Registered names by public key.

    Attributes
    ----------
    names : dict of str to str
        Fingerprint of the key to station name.
    keys : dict of str to public key
        Station name to the key that signs its answers.
    closed : bool
        Whether only stations with a key here belong to the plant. False without a folder of keys:
        then the name under which Flower registered a node is its registered name.
    """

    names: dict[str, str] = field(default_factory=dict)
    closed: bool = False
    keys: dict[str, ec.EllipticCurvePublicKey] = field(default_factory=dict)

    @property
    def expected(self) -> tuple[str, ...]:
        """Names of all stations that belong to the plant, in order; none if not closed."""
        return tuple(sorted(self.names.values()))

    def members(self, nodes: Iterable[Any]) -> list[Member]:
        """Look up the nodes that are online.

        Parameters
        ----------
        nodes : iterable of NodeInfo
            As `Grid.get_nodes` yields them.

        Returns
        -------
        list of Member
            In order of node id.
        """
        return sorted((self._member(node) for node in nodes), key=lambda member: member.node_id)

    def _member(self, node: Any) -> Member:
        if not self.closed:
            return Member(node.node_id, name=node.name or None)
        name = self.names.get(flower_fingerprint(node.public_key))
        if name is not None:
            return Member(node.node_id, name=name)
        shown = f" registered with Flower as {node.name!r}" if node.name else ""
        return Member(
            node.node_id,
            stranger=f"the key of this node{shown} is none of the {len(self.names)} in the "
            "server's folder of station keys; put its .pub file there, named after the station, "
            "or unregister the node",
        )


def read_registry(folder: str | os.PathLike[str] | None = None) -> Registry:
    """Read the folder of public keys, by default the one that the environment names.

    Parameters
    ----------
    folder : path, optional
        Holds `<station>.pub` files in OpenSSH's format; default `$FEDPATCHCORE_STATIONS`.

    Returns
    -------
    Registry
        An open one if no folder is given and the variable is not set.

    Raises
    ------
    InputError
        If the folder or a file in it cannot be used, or two files hold the same key.
    """
    chosen = folder or os.environ.get(STATIONS_VARIABLE)
    if not chosen:
        return Registry()
    path = Path(chosen).expanduser()
    if not path.is_dir():
        raise InputError(
            f"{STATIONS_VARIABLE}: {path} is no folder; expected the folder of the stations' "
            "<name>.pub files, as `fedpatchcore keys` makes it"
        )
    names: dict[str, str] = {}
    keys: dict[str, ec.EllipticCurvePublicKey] = {}
    for file in sorted(path.glob("*.pub")):
        if not re.fullmatch(STATION_PATTERN, file.stem):
            raise InputError(
                f"{file}: {file.stem!r} is no usable station name; expected up to 64 letters, "
                "digits, dots, hyphens and underscores, a letter or digit first"
            )
        try:
            public = read_public_key(file)
        except InputError as error:
            # The name stands first: paths are left out of what a plant's run writes.
            raise InputError(f"the key of station {file.stem} cannot be used: {error}") from error
        key = fingerprint(public)
        if key in names:
            raise InputError(
                f"{file}: holds the same key as {names[key]}.pub; every station needs its own"
            )
        names[key], keys[file.stem] = file.stem, public
    if not names:
        raise InputError(f"{path}: holds no <name>.pub file; `fedpatchcore keys` makes them")
    return Registry(names, closed=True, keys=keys)

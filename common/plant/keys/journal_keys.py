"""The station's key signs the heads of its journal."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from common.line.journal.heads import Signer
from common.plant.keys.station_keys import fingerprint, read_public_key, read_station_key


def head_signer(key: Path) -> Signer:
    """Make a signer of a station's private key file, `station.key`.

    Raises
    ------
    InputError
        If the file is no such key.
    """
    private = read_station_key(key)
    return Signer(
        fingerprint(private.public_key()),
        lambda content: private.sign(content, ec.ECDSA(hashes.SHA384())),
    )


def head_key(key: Path) -> ec.EllipticCurvePublicKey:
    """Read the public key by which heads are checked: of `station.pub`, or of `station.key`.

    Raises
    ------
    InputError
        If the file is neither.
    """
    return read_station_key(key).public_key() if is_private(key) else read_public_key(key)


def is_private(key: Path) -> bool:
    """Whether a key file is a private one; one that cannot be read is none."""
    try:
        return key.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    except OSError:
        return False

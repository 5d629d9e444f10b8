"""A station's key pair as Flower takes it: ECDSA P-384 in OpenSSH format."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InputError


def private_openssh(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a private key for `flower-supernode --auth-supernode-private-key`."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )


def public_openssh(key: ec.EllipticCurvePublicKey, comment: str) -> bytes:
    """Write a public key as one line for `flwr supernode register`, its comment at the end."""
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line + f" {comment}\n".encode()


def read_station_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a station's private key as `flower-supernode` reads it.

    Raises
    ------
    InputError
        If it cannot be read, has a password, or is no elliptic curve key in OpenSSH format.
    """
    expected = "expected station.key as `fedpatchcore keys` makes it (OpenSSH, ECDSA, no password)"
    try:
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: is no key that can be used ({error}); {expected}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(f"{path}: found a {type(key).__name__}; {expected}")
    return key


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a station's public key as `flwr supernode register` reads it.

    Raises
    ------
    InputError
        If it cannot be read or is no elliptic curve key in OpenSSH format.
    """
    expected = "expected station.pub as `fedpatchcore keys` makes it (OpenSSH, ECDSA)"
    try:
        key = serialization.load_ssh_public_key(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: is no public key ({error}); {expected}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InputError(f"{path}: found a {type(key).__name__}; {expected}")
    return key


def sent_key(key: ec.EllipticCurvePublicKey) -> str:
    """A public key as a SuperNode sends it with every call: PEM, in base64."""
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(pem).decode("ascii")


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Short name of a public key, the one that `ssh-keygen -l` prints.

    Returns
    -------
    str
        `SHA256:` and 43 characters.
    """
    content = base64.b64decode(public_openssh(key, "").split()[1])
    digest = base64.b64encode(hashlib.sha256(content).digest())
    return f"SHA256:{digest.decode().rstrip('=')}"


def flower_fingerprint(content: bytes) -> str:
    """Fingerprint of a key as Flower keeps it for a node: PEM, as it was registered.

    Returns
    -------
    str
        As `fingerprint`; "" if it is no key, or of a kind that `fedpatchcore keys` never makes.
    """
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        return ""
    return fingerprint(key) if isinstance(key, ec.EllipticCurvePublicKey) else ""

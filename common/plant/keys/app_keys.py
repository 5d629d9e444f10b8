"""The key of the server's app: Ed25519, by which stations know who asks them for something."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from common.errors import InputError
from common.plant.keys.certificates import key_bytes


def new_app_key() -> Ed25519PrivateKey:
    """Draw a key for the server's app."""
    return Ed25519PrivateKey.generate()


def app_private_pem(key: Ed25519PrivateKey) -> bytes:
    """Write the private key as PEM (PKCS 8, no password)."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def app_public_pem(key: Ed25519PublicKey) -> bytes:
    """Write the public key as PEM (SubjectPublicKeyInfo)."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def read_app_key(path: Path) -> Ed25519PrivateKey:
    """Read `app.key`, with which the server's app signs its requests.

    Raises
    ------
    InputError
        If it cannot be read or is no Ed25519 private key in PEM.
    """
    expected = "expected app.key as `fedpatchcore keys` makes it (PEM, Ed25519, no password)"
    try:
        key = serialization.load_pem_private_key(key_bytes(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: is no key that can be used ({error}); {expected}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: found a {type(key).__name__}; {expected}")
    return key


def read_app_public(path: Path) -> Ed25519PublicKey:
    """Read `app.pub`, by which a station knows the requests of its server.

    Raises
    ------
    InputError
        If it cannot be read or is no Ed25519 public key in PEM.
    """
    expected = "expected app.pub as `fedpatchcore keys` makes it (PEM, Ed25519)"
    try:
        key = serialization.load_pem_public_key(key_bytes(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: is no public key ({error}); {expected}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path}: found a {type(key).__name__}; {expected}")
    return key

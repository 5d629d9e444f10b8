"""Certificates and keys in PEM: read, written, looked into."""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import re
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InputError

_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def new_private_key() -> ec.EllipticCurvePrivateKey:
    """Draw a P-384 key, the curve that Flower recommends for stations."""
    return ec.generate_private_key(ec.SECP384R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a private key as PEM (PKCS 8, no password), as TLS servers read it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Write a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a PEM private key.

    Raises
    ------
    InputError
        If the file cannot be read or holds no elliptic curve key.
    """
    try:
        key = serialization.load_pem_private_key(key_bytes(path), None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: is no PEM private key ({error}); expected one") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(f"{path}: found {type(key).__name__}; expected an elliptic curve key")
    return key


def read_certificate(path: Path) -> x509.Certificate:
    """Read the first certificate of a PEM file.

    Raises
    ------
    InputError
        If the file cannot be read or holds none.
    """
    try:
        return x509.load_pem_x509_certificate(key_bytes(path))
    except ValueError as error:
        raise InputError(f"{path}: is no PEM certificate ({error}); expected one") from error


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Read all certificates of a PEM file, in its order.

    Raises
    ------
    InputError
        If the file cannot be read or holds none.
    """
    try:
        return x509.load_pem_x509_certificates(key_bytes(path))
    except ValueError as error:
        raise InputError(f"{path}: holds no PEM certificates ({error}); expected some") from error


def same_key(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bool:
    """Whether a certificate was made for this private key."""
    return certificate.public_key() == key.public_key()


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether an authority signed a certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """DNS names and IP addresses of a server's certificate, in its order."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found.value)


def days_left(certificate: x509.Certificate, now: dt.datetime) -> int:
    """Days until a certificate ends, a day that has begun counted whole; 0 or less when it has."""
    return math.ceil((certificate.not_valid_after_utc - now) / dt.timedelta(days=1))


def normalized_name(name: str) -> str:
    """Write a DNS name in lower case and an IP address in its shortest form.

    Raises
    ------
    InputError
        If it is neither.
    """
    try:
        # Not fe80::1%eth0: the part behind % means something on one machine only.
        if "%" not in name:
            return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    labels = name.split(".")
    usable = len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
    if not usable or labels[-1].isdigit():
        raise InputError(
            f"{name!r} is neither a DNS name nor an IP address; give what stations and "
            "administrators dial, without scheme and port, as gateway.example.org or 192.0.2.7 "
            "(a name with other letters in its xn-- form)"
        )
    return name.lower()


def key_bytes(path: Path) -> bytes:
    """Read a file of keys or certificates; InputError naming it if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error

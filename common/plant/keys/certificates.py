"""The plant's certificate authority and the server certificates that it signs."""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import InputError

AUTHORITY_DAYS: Final = 3650
SERVER_DAYS: Final = 825
_BACKDATED: Final = dt.timedelta(hours=1)
"""A station whose clock is a little late must not refuse a new certificate."""
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
        key = serialization.load_pem_private_key(_bytes(path), None)
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
        return x509.load_pem_x509_certificate(_bytes(path))
    except ValueError as error:
        raise InputError(f"{path}: is no PEM certificate ({error}); expected one") from error


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


def make_authority(
    key: ec.EllipticCurvePrivateKey, now: dt.datetime, days: int = AUTHORITY_DAYS
) -> x509.Certificate:
    """Make the self-signed certificate of a plant's authority.

    Parameters
    ----------
    key : private key
    now : datetime with a time zone
    days : int
        Days from now to its end.

    Returns
    -------
    Certificate
        For signing certificates of servers only, not of further authorities. Its name is made of
        its key: two plants' authorities are never taken for one another, and one that is made anew
        from the same key takes the place of the old one wherever that is still in use.
    """
    identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(f"fedpatchcore plant {identity.digest.hex()[:8]}")
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    return (
        _builder(name, name, key.public_key(), now, now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA384())
    )


def make_server_certificate(
    names: Sequence[str],
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    days: int = SERVER_DAYS,
) -> x509.Certificate:
    """Sign a TLS server's certificate.

    Parameters
    ----------
    names : sequence of str
        DNS names and IP addresses by which the server is reached, the first one its own name.
    key : private key
        The server's.
    authority, authority_key
        Who signs.
    now : datetime with a time zone
    days : int
        Days from now to its end; it never outlives the authority.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If a name is neither a DNS name nor an IP address.
    """
    until = min(now + dt.timedelta(days=days), authority.not_valid_after_utc)
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(_name(names[0]), authority.subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(authority_key, hashes.SHA384())
    )


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


def _general_name(name: str) -> x509.GeneralName:
    name = normalized_name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    until: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(text: str) -> x509.Name:
    # X.509 allows 64 characters; the full name stands among the alternative names.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _key_usage(
    digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error

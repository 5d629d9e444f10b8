"""What is signed in a plant: its authorities, servers' certificates, stations' certificates."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.plant.keys.certificates import normalized_name

AUTHORITY_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 825
_BACKDATED: Final = dt.timedelta(hours=1)
"""A station whose clock is a little late must not refuse a new certificate."""


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
        For signing certificates of servers and of one kind of further authority, that for
        stations. Its name is made of its key: two plants' authorities are never taken for one
        another, and one that is made anew from the same key takes the place of the old one
        wherever that is still in use.
    """
    name = _name(f"fedpatchcore plant {_short(key)}")
    usage = _key_usage(key_cert_sign=True, crl_sign=True)
    return (
        _builder(name, name, key.public_key(), now, now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA384())
    )


def make_stations_authority(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
) -> x509.Certificate:
    """Sign the authority that signs stations' certificates, valid as long as its own signer.

    Parameters
    ----------
    key : private key
        The new authority's.
    authority, authority_key
        The plant's authority.
    now : datetime with a time zone

    Returns
    -------
    Certificate
        For signing certificates that sign nothing themselves, of clients alone: a server's that
        it signed is taken by nobody, so that its key, which is at hand more often than the
        plant's, cannot pose as one. Named after its key, as the plant's authority is.
    """
    until = authority.not_valid_after_utc
    name = _name(f"fedpatchcore stations {_short(key)}")
    return (
        _builder(name, authority.subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .add_extension(_issuer(authority_key), critical=False)
        .sign(authority_key, hashes.SHA384())
    )


def make_station_certificate(
    station: str,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    days: int = CERTIFICATE_DAYS,
) -> x509.Certificate:
    """Sign a station's certificate, by which the gateway knows it.

    Parameters
    ----------
    station : str
        Its name, the certificate's common name.
    key : private key
        The station's, for TLS alone.
    authority, authority_key
        The stations' authority.
    now : datetime with a time zone
    days : int
        Days from now to its end; it never outlives the authority.

    Returns
    -------
    Certificate
    """
    until = min(now + dt.timedelta(days=days), authority.not_valid_after_utc)
    client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return (
        _builder(_name(station), authority.subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(client, critical=False)
        .add_extension(_issuer(authority_key), critical=False)
        .sign(authority_key, hashes.SHA384())
    )


def make_server_certificate(
    names: Sequence[str],
    key: ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    days: int = CERTIFICATE_DAYS,
) -> x509.Certificate:
    """Sign a TLS server's certificate.

    Parameters
    ----------
    names : sequence of str
        DNS names and IP addresses by which the server is reached, the first one its own name.
    key : public or private key
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
    public = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    return (
        _builder(_name(names[0]), authority.subject, public, now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(_issuer(authority_key), critical=False)
        .sign(authority_key, hashes.SHA384())
    )


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


def _short(key: ec.EllipticCurvePrivateKey) -> str:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:8]


def _issuer(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


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

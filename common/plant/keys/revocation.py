"""Revocation lists: which stations' certificates the gateway takes no longer.

A list here lasts as long as the authority that signs it: one that ended earlier would shut out
every station of the plant on a day that nobody had in mind, and a short one helps only where lists
are fetched, not where an administrator carries them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import InputError

_MARK = b"-----BEGIN X509 CRL-----"


def make_revocation_list(
    authority: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    now: dt.datetime,
    old: x509.CertificateRevocationList | None = None,
    serials: Iterable[int] = (),
) -> x509.CertificateRevocationList:
    """Sign an authority's revocation list.

    Parameters
    ----------
    authority, key
        Who signs.
    now : datetime with a time zone
    old : CertificateRevocationList, optional
        The list that this one follows: what is on it stays on it.
    serials : iterable of int
        Serial numbers of certificates that are revoked from now on.

    Returns
    -------
    CertificateRevocationList
        Numbered one higher than `old`.
    """
    entries = {entry.serial_number: entry for entry in old or ()}
    for serial in serials:
        fresh = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
        entries.setdefault(serial, fresh)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(authority.not_valid_before_utc)  # never ahead of a gateway's clock
        .next_update(authority.not_valid_after_utc)
        .add_extension(issuer, critical=False)
        .add_extension(x509.CRLNumber(number_of(old) + 1), critical=False)
    )
    for serial in sorted(entries):
        builder = builder.add_revoked_certificate(entries[serial])
    return builder.sign(key, hashes.SHA384())


def number_of(crl: x509.CertificateRevocationList | None) -> int:
    """Number of a list, each one higher than the list before it; 0 for none."""
    if crl is None:
        return 0
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def revoked_serials(lists: Iterable[x509.CertificateRevocationList]) -> frozenset[int]:
    """Serial numbers on any of some lists."""
    return frozenset(entry.serial_number for crl in lists for entry in crl)


def revocation_pem(lists: Sequence[x509.CertificateRevocationList]) -> bytes:
    """Write lists one after the other as PEM, as nginx reads them."""
    return b"".join(crl.public_bytes(serialization.Encoding.PEM) for crl in lists)


def read_revocation_lists(path: Path) -> list[x509.CertificateRevocationList]:
    """Read the revocation lists of a PEM file.

    Raises
    ------
    InputError
        If the file cannot be read or holds none.
    """
    try:
        content = path.read_bytes()
        blocks = [_MARK + part for part in content.split(_MARK)[1:]]
        lists = [x509.load_pem_x509_crl(block) for block in blocks]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise InputError(f"{path}: is no PEM revocation list ({error}); expected some") from error
    if not lists:
        raise InputError(f"{path}: holds no revocation list; expected those of both authorities")
    return lists


def list_of(
    authority: x509.Certificate, lists: Iterable[x509.CertificateRevocationList]
) -> x509.CertificateRevocationList | None:
    """Among lists, the newest that an authority signed; None if it signed none."""
    public = authority.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)  # ours sign with nothing else
    own = [
        crl for crl in lists if crl.issuer == authority.subject and crl.is_signature_valid(public)
    ]
    return max(own, key=number_of, default=None)

"""The station's side of the gateway's mutual TLS: what it shows, and what a refusal means."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError
from common.plant.keys.certificates import read_certificate

REFUSED: Final = (
    "it ended the connection right after the handshake, as it does with a certificate that is "
    "missing, revoked or expired, or where the revocation list expired; its log says which"
)
"""With TLS 1.3 the client's handshake is through before the server looks at its certificate."""
_NAMES: Final = frozenset({62, 64})
"""OpenSSL's codes for another host name and another IP address."""
_DATES: Final = frozenset({9, 10})


@dataclass(frozen=True)
class GatewayTls:
    """Whom a station trusts and what it shows.

    Attributes
    ----------
    ca : Path
        Certificate of the plant's authority.
    certificate : Path
        The station's own certificate with its key and what stands between it and `ca`.
    """

    ca: Path
    certificate: Path

    def context(self) -> ssl.SSLContext:
        """Read both files, which may have been renewed since the last connection.

        Raises
        ------
        InputError
            Naming the file that cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.ca))
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"server.ca {self.ca}: cannot be used ({error})") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            # A password would be asked for at the terminal.
            context.load_cert_chain(self.certificate, password="")
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"server.certificate {self.certificate}: cannot be used ({error}); expected "
                "station.pem as `fedpatchcore keys` makes it, with key and certificate"
            ) from error
        return context

    def refused(self, now: dt.datetime | None = None) -> str:
        """Say why the gateway may have ended a connection before it answered anything."""
        now = now or dt.datetime.now(dt.UTC)
        try:
            own = read_certificate(self.certificate)
        except InputError as error:
            return f"{REFUSED} ({error})"
        if own.not_valid_after_utc <= now:
            return f"this station's certificate expired on {own.not_valid_after_utc:%Y-%m-%d}"
        if own.not_valid_before_utc > now:
            begins = f"{own.not_valid_before_utc:%Y-%m-%d %H:%M}"
            return f"this station's certificate is valid from {begins} UTC: is this clock right?"
        return REFUSED


def why(error: BaseException, host: str, seconds: float) -> str:
    """Say why the gateway was not reached.

    Parameters
    ----------
    error : exception
        Of connecting or of the outer handshake.
    host : str
        As it was dialled.
    seconds : float
        How long it was tried.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _NAMES:
            reason = f"it is not for {host}"
        elif error.verify_code in _DATES:
            reason = f"{error.verify_message}; or this machine's clock is wrong"
        else:
            reason = (
                "it was not signed by the authority in server.ca, so this is another plant's, or "
                f"somebody stands between ({error.verify_message})"
            )
        return f"the gateway's certificate was refused: {reason}"
    if isinstance(error, ssl.SSLError):
        return f"what listens at server.address does not speak TLS 1.3 ({error.reason or error})"
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:.0f} s"
    if isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return (
            "it ended the connection within the handshake: it has too many from this address, or "
            "is no gateway"
        )
    return str(error) or type(error).__name__

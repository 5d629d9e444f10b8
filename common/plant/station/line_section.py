"""The section `[line]` of a station file: how the station's service at the line runs."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.line.service.access import HOST, PORT
from common.plant.station.toml_values import path_value, refuse_unknown, text_value, wrong

_KEYS: Final = (
    *("journal", "host", "port", "certificate", "certificate-key", "tokens", "keep-gb"),
)
_PREFIX: Final = "line."


@dataclass(frozen=True)
class LineSection:
    """What `fedpatchcore serve STATION.toml` is told here instead of by options.

    Attributes
    ----------
    journal : Path
        Folder of the journal.
    host : str
        Address to listen on.
    port : int
    certificate, certificate_key : Path or None
        PEM, as `fedpatchcore keys --service NAME` makes them; both or none.
    tokens : Path or None
        File of the tokens; None: `tokens.json` in the journal's folder.
    keep_gb : float or None
        How many GB of images are kept; None: as many as `serve` keeps by itself.

    Notes
    -----
    ::

        [line]
        journal = "/var/lib/line/journal"
        host = "0.0.0.0"
        certificate = "line.crt"
        certificate-key = "line.key"
    """

    journal: Path
    host: str = HOST
    port: int = PORT
    certificate: Path | None = None
    certificate_key: Path | None = None
    tokens: Path | None = None
    keep_gb: float | None = None


def read_line_section(path: Path, table: dict[str, Any]) -> LineSection | None:
    """Read and check the section `[line]`; paths in it are relative to the file's folder.

    Parameters
    ----------
    path : Path
        The station file, for messages.
    table : dict
        All of it.

    Raises
    ------
    InputError
        Naming file and key.
    """
    if "line" not in table:
        return None
    line = table["line"]
    if not isinstance(line, dict):
        raise wrong(path, "line", line, "a section [line] with journal, at least")
    refuse_unknown(path, line, _KEYS, _PREFIX)
    certificate = _file(path, line, "certificate", "the file line.crt of this station")
    key = _file(path, line, "certificate-key", "the file line.key of this station")
    if (certificate is None) != (key is None):
        missing = "certificate" if certificate is None else "certificate-key"
        raise wrong(path, _PREFIX + missing, None, "certificate and certificate-key, both or none")
    return LineSection(
        journal=path_value(path, line, "journal", "a folder for the journal", _PREFIX),
        host=_host(path, line),
        port=_port(path, line),
        certificate=certificate,
        certificate_key=key,
        tokens=_file(path, line, "tokens", "a file of tokens"),
        keep_gb=_keep_gb(path, line),
    )


def _file(path: Path, line: dict[str, Any], key: str, meaning: str) -> Path | None:
    return path_value(path, line, key, meaning, _PREFIX) if key in line else None


def _host(path: Path, line: dict[str, Any]) -> str:
    if "host" not in line:
        return HOST
    host = text_value(path, line, "host", "an IP address of this machine", _PREFIX)
    try:
        return host if host == "localhost" else str(ipaddress.ip_address(host))
    except ValueError:
        expected = "an IP address of this machine to listen on, as 0.0.0.0 for all of them"
        raise wrong(path, _PREFIX + "host", host, expected) from None


def _port(path: Path, line: dict[str, Any]) -> int:
    value = line.get("port", PORT)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise wrong(path, _PREFIX + "port", value, f"a whole number from 1 to 65535, as {PORT}")
    return value


def _keep_gb(path: Path, line: dict[str, Any]) -> float | None:
    if "keep-gb" not in line:
        return None
    value = line["keep-gb"]
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not known or not math.isfinite(value) or not 0 <= value < 1e6:
        raise wrong(path, _PREFIX + "keep-gb", value, "a number of GB, as 20; 0 keeps no image")
    return float(value)

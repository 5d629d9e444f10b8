"""`station.toml`: all that one station decides for itself, checked before anything starts."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from common.config import NAMED_WEIGHTS, Settings, Value
from common.errors import InputError
from common.paths import DEFAULT_CACHE_GB, DEFAULT_KEPT_MODELS
from common.plant.app.trust import ANY, HASH, INSTALLED
from common.plant.station.line_section import LineSection, read_line_section
from common.plant.station.toml_values import path_value, refuse_unknown, text_value, wrong
from common.protocol.messages import STATION_PATTERN

_TOP_KEYS: Final = (
    "station",
    "data-root",
    "cache-dir",
    "weights",
    "cache-limit-gb",
    "device",
    "batch-size",
    "models-dir",
    "keep-models",
    "activate",
    "trusted-app",
    "server",
    "line",
)
_MOST_KEPT: Final = 1000
_SERVER_KEYS: Final = ("address", "ca", "key", "certificate", "app-key")
_NEWER: Final = (
    "; a station of an older version gets it with its ca.crt from the administrator, who runs "
    "`fedpatchcore keys DIR` once (deploy/README.md)"
)
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True)
class StationFile:
    """What a station file says; every path is absolute, none has been opened.

    Attributes
    ----------
    path : Path
        The file itself.
    station : str
        Name under which the server knows this station's key.
    data_root : Path
        Folder of the station's own images, AutoVI or MVTec layout.
    cache_dir : Path
        Private folder for patch features and for what must outlive a message.
    weights : str
        `auto`, `imagenet`, `random` or an absolute path; "" leaves it to the run.
    cache_limit_gb : float
        GiB of features kept.
    device : str or None
        `auto`, `cpu`, `cuda` or `cuda:N`; None leaves it to the run.
    batch_size : int or None
        Images that go through the network at once; None leaves it to the run.
    address : (str, int)
        Host and port of the gateway.
    ca : Path
        Certificate of the plant's authority, by which the gateway is known.
    key : Path
        The station's own private key, OpenSSH format: Flower knows the station by it.
    certificate : Path
        The station's own certificate with its key, PEM: the gateway knows the station by it.
    app_key : Path
        Public key of the server's app, whose signed requests this station obeys.
    trusted_app : str or tuple of str
        Which apps it runs: `installed` (the one of its own installation), `any`, or hashes.
    models_dir : Path
        Folder of the station's model versions; by default `models` in `cache_dir`, which the
        station can write wherever it runs.
    keep_models : int
        Versions kept there, the active one among them.
    activate : "auto" or "manual"
        Whether a delivered model that passes the station's acceptance test judges at once, or
        waits for `fedpatchcore models STATION.toml --activate RUN_ID`.
    line : LineSection or None
        How its service at the line runs; None where the file has no section `[line]`.
    """

    path: Path
    station: str
    data_root: Path
    cache_dir: Path
    weights: str
    cache_limit_gb: float
    device: str | None
    batch_size: int | None
    address: tuple[str, int]
    ca: Path
    key: Path
    certificate: Path
    app_key: Path
    trusted_app: str | tuple[str, ...] = INSTALLED
    models_dir: Path = Path()
    keep_models: int = DEFAULT_KEPT_MODELS
    activate: Literal["auto", "manual"] = "auto"
    line: LineSection | None = None

    def node_config(self) -> str:
        """Text for `flower-supernode --node-config`.

        Returns
        -------
        str
            `key=value` pairs with a space between; text in single quotes, in which Flower takes
            every character as it is.
        """
        pairs: dict[str, str | int | float] = {
            "station": self.station,
            "data-root": str(self.data_root),
            "cache-dir": str(self.cache_dir),
            "cache-limit-gb": self.cache_limit_gb,
            "app-key": str(self.app_key),
            "station-key": str(self.key),
            "models-dir": str(self.models_dir),
            "keep-models": self.keep_models,
            "activate": self.activate,
        }
        if self.weights:
            pairs["weights"] = self.weights
        if self.device is not None:
            pairs["device"] = self.device
        if self.batch_size is not None:
            pairs["batch-size"] = self.batch_size
        return " ".join(
            f"{key}='{value}'" if isinstance(value, str) else f"{key}={value!r}"
            for key, value in pairs.items()
        )

    def server_files(self) -> dict[str, Path]:
        """The files that this station was given, by the setting that names each."""
        return {
            "server.ca": self.ca,
            "server.key": self.key,
            "server.certificate": self.certificate,
            "server.app-key": self.app_key,
        }

    def require_files(self) -> None:
        """Refuse to go on without the files that a SuperNode needs at once.

        Raises
        ------
        InputError
            Naming the first of data-root and of the files of [server] that is not there.
        """
        for key, path in {"data-root": self.data_root, **self.server_files()}.items():
            if not (path.is_dir() if key == "data-root" else path.is_file()):
                kind = "folder" if key == "data-root" else "file"
                raise InputError(
                    f"{self.path}: {key} is {path}, where there is no such {kind}; "
                    f"run `fedpatchcore check --station {self.path}`"
                )


def read_station_file(path: Path) -> StationFile:
    """Read and check a station file; relative paths in it are relative to its folder.

    Parameters
    ----------
    path : Path
        The file, or a folder that holds `station.toml`.

    Returns
    -------
    StationFile

    Raises
    ------
    InputError
        Naming the file and the key: not readable, not TOML, a key missing, unknown, of the wrong
        kind or with a value that no station can use.

    Notes
    -----
    The least that a file needs::

        station = "engine-assembly"
        data-root = "/data"
        cache-dir = "/var/cache/fedpatchcore"

        [server]
        address = "gateway:9443"
        ca = "ca.crt"
        key = "station.key"
        certificate = "station.pem"
        app-key = "app.pub"

    `weights`, `cache-limit-gb` (20), `device`, `batch-size`, `models-dir` (`models` in cache-dir),
    `keep-models` (5), `activate` (`"auto"`) and `trusted-app` (`"installed"`) may be added at the
    top; `LineSection` tells the section `[line]`.
    """
    path = path.expanduser().absolute()
    if path.is_dir():
        path = path / "station.toml"
    table = _load(path)
    refuse_unknown(path, table, _TOP_KEYS, "")
    server = table.get("server")
    if not isinstance(server, dict):
        wanted = "a section [server] with address, ca, key, certificate and app-key"
        raise wrong(path, "server", server, wanted)
    refuse_unknown(path, server, _SERVER_KEYS, "server.")
    settings = _settings(path, table)
    cache_dir = path_value(path, table, "cache-dir", "a folder for the station's patch features")
    return StationFile(
        path=path,
        station=_station(path, table),
        data_root=path_value(path, table, "data-root", "the folder of the station's images"),
        cache_dir=cache_dir,
        weights=_weights(path, table),
        cache_limit_gb=_cache_limit(path, table),
        device=settings.device if "device" in table else None,
        batch_size=settings.batch_size if "batch-size" in table else None,
        address=_address(path, server),
        ca=path_value(path, server, "ca", "the file ca.crt of the plant", "server."),
        key=path_value(path, server, "key", "the file station.key of this station", "server."),
        certificate=path_value(
            path, server, "certificate", f"the file station.pem of this station{_NEWER}", "server."
        ),
        app_key=path_value(
            path, server, "app-key", f"the file app.pub of the plant{_NEWER}", "server."
        ),
        trusted_app=_trusted_app(path, table),
        models_dir=_models_dir(path, table, cache_dir),
        keep_models=_keep_models(path, table),
        activate=_activate(path, table),
        line=read_line_section(path, table),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors mark it
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; a station is described by a file station.toml"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: is no TOML file ({error})") from error


def _station(path: Path, table: dict[str, Any]) -> str:
    name = text_value(path, table, "station", "the station's name")
    if not re.fullmatch(STATION_PATTERN, name):
        expected = (
            "up to 64 letters, digits, dots, hyphens and underscores, first a letter or digit"
        )
        raise wrong(path, "station", name, expected)
    return name


def _settings(path: Path, table: dict[str, Any]) -> Settings:
    """Let the run's own rules judge what a station may say in its place."""
    for key, kind, wanted in (("device", str, "text"), ("batch-size", int, "a whole number")):
        if key in table and (not isinstance(table[key], kind) or isinstance(table[key], bool)):
            raise wrong(path, key, table[key], wanted)
    own: dict[str, Value] = {key: table[key] for key in ("device", "batch-size") if key in table}
    try:
        return Settings.from_run_config(own)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _weights(path: Path, table: dict[str, Any]) -> str:
    if "weights" not in table:
        return ""
    if table["weights"] in NAMED_WEIGHTS:
        return str(table["weights"])
    return str(path_value(path, table, "weights", "auto, imagenet, random or the path of a file"))


def _cache_limit(path: Path, table: dict[str, Any]) -> float:
    value = table.get("cache-limit-gb", DEFAULT_CACHE_GB)
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if not known or not math.isfinite(value) or not 0 <= value < 1e6:
        raise wrong(path, "cache-limit-gb", value, "a number of GiB, as 20")
    return float(value)


def _models_dir(path: Path, table: dict[str, Any], cache_dir: Path) -> Path:
    if "models-dir" not in table:
        return cache_dir / "models"
    return path_value(path, table, "models-dir", "a folder for the station's model versions")


def _keep_models(path: Path, table: dict[str, Any]) -> int:
    value = table.get("keep-models", DEFAULT_KEPT_MODELS)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_KEPT:
        raise wrong(path, "keep-models", value, f"a whole number from 1 to {_MOST_KEPT}, as 5")
    return value


def _activate(path: Path, table: dict[str, Any]) -> Literal["auto", "manual"]:
    value = table.get("activate", "auto")
    if value not in ("auto", "manual"):
        raise wrong(path, "activate", value, '"auto" or "manual"')
    return "auto" if value == "auto" else "manual"


def _trusted_app(path: Path, table: dict[str, Any]) -> str | tuple[str, ...]:
    value = table.get("trusted-app", INSTALLED)
    if value in (INSTALLED, ANY):
        return str(value)
    hashes = value if isinstance(value, list) else []
    if not hashes or not all(isinstance(one, str) and HASH.fullmatch(one) for one in hashes):
        raise wrong(
            path,
            "trusted-app",
            value,
            '"installed", "any", or a list of hashes as `fedpatchcore plant app` prints them (64 '
            "digits and letters a to f each)",
        )
    return tuple(hashes)


def _address(path: Path, server: dict[str, Any]) -> tuple[str, int]:
    text = text_value(path, server, "address", "HOST:PORT of the gateway", "server.")
    host, colon, port = text.rpartition(":")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
    if not colon or not _HOST.fullmatch(host) or not 1 <= number <= 65535:
        raise wrong(
            path, "server.address", text, 'HOST:PORT of the gateway, as "gateway:9443", no scheme'
        )
    return host.strip("[]"), number

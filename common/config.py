"""Settings of a run: one validated dataclass, the same on the command line, server and stations.

The defaults stand in `[tool.flwr.app.config]` of `pyproject.toml` too, because Flower refuses keys
that are not listed there; a test keeps the two equal. Names that stand for code (partition,
backbone and its layers, aggregation, image score) are checked against their tables by
`common.patchcore.names.check_names`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from common.errors import InputError
from common.paths import given_path

Value = str | int | float | bool

NAMED_WEIGHTS: Final = ("auto", "imagenet", "random")
"""Values of `weights` that are no path."""
PATH_KEYS: Final = ("data-root", "output-dir")
"""Settings that name a folder of this machine and never change a result."""
_SMALLEST_IMAGE: Final = 32

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "precision": ("float32", "bfloat16"),
    "feature_norm": ("none", "l2"),
    "bank_scope": ("shared", "category"),
    "wire_dtype": ("float16", "float32", "int8"),
    "evaluation": ("stations", "server"),
    "on_suspicion": ("report", "exclude"),
    "audit_good": ("off", "report", "exclude"),
}

LONGEST_ROUND_SECONDS: Final = 30 * 24 * 3600
"""Largest `round-timeout`."""
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "num_stations": (1, 10_000),
    "dirichlet_alpha": (1e-6, 1e6),
    "neighborhood_size": (1, 99),
    "image_size": (0, 8192),
    "batch_size": (1, 4096),
    "num_workers": (0, 256),
    "local_coreset_ratio": (1e-6, 1.0),
    "coreset_projection": (0, 65536),
    "global_bank_size": (1, 100_000_000),
    "oversample_factor": (1.0, 1000.0),
    "min_station_share": (0.0, 1.0),
    "num_server_rounds": (1, 1000),
    "min_stations": (0, 10_000),
    "round_timeout": (1, LONGEST_ROUND_SECONDS),
    "max_station_share": (1e-6, 1.0),
    "calibration_fraction": (0.0, 0.9),
    "target_false_alarm_rate": (1e-9, 1 - 1e-9),
    "seed": (0, 2**63 - 1),
}
"""Smallest and largest value of each number, both included."""


@dataclass(frozen=True)
class Settings:
    """Every key of the run config (`kebab-case` outside, `snake_case` here).

    Attributes
    ----------
    data_root : str
        Simulation: the data folder; "" stands for the synthetic data set. Real stations ignore it.
    partition, num_stations, dirichlet_alpha
        How a simulation deals the images out to stations.
    backbone, layers, neighborhood_size, feature_norm, weights, image_size, precision
        The feature space. The first layer sets the patch grid. `image_size` 0 keeps every image at
        its own size; n scales the shorter side to n pixels.
    device, batch_size, num_workers
        Where and in which portions features are computed; they never change a result on CPU.
    augment : str
        Copies of good training images that join them in the bank: `none`, `rotations` (90, 180 and
        270 degrees) or `light` (brightness x 0.8 and x 1.25).
    local_coreset_ratio : float
        At most this share of a station's patches is sent.
    coreset_projection : int
        Dimensions of the random projection for coreset distances; 0 = none.
    global_bank_size, bank_scope
        Rows of the global memory bank; one bank (`shared`, in which every category has its share)
        or one per `category`.
    aggregation, weighted_by_samples, oversample_factor, min_station_share
        How the server merges, and how many rows each station may send.
    wire_dtype : str
        Number format of bank rows on the wire, and in the stations' caches (float16 for `int8`,
        one byte a number with a scale per channel, see `row_format`).
    num_server_rounds, min_stations, round_timeout, max_station_share, feature_space
        Rounds, quorum (0 = all that were asked), seconds per exchange, the largest share of the
        training images that one station may claim, required fingerprint ("" = the majority's).
    on_suspicion, without
        Whether a station under `quarantine` is only named or loses its rows and its say
        (`exclude`); stations that are not asked, their names with commas between.
    deliver : str
        Id of an earlier run of this plant whose model is sent to the stations again, and nothing
        else is done; "" for a run that builds its own. `fedpatchcore plant deliver` sets it.
    evaluation, image_score
        Who scores test images; and by which number: the map's maximum, a percentile such as
        "99.5", the mean of the highest percents ("top-1"), or "reweighted" (see `image_score`).
    calibration_fraction, target_false_alarm_rate
        Held-out good images for the threshold, and the false-alarm rate it aims at.
    audit_good : str
        What is done about good images that may be none: `report` (looked for, named where they
        are; the bank is as it would be, the threshold without scores beyond the fence), `exclude`
        (the bank is built without them, too) or `off`.
    seed : int
        Seeds partition, projection, random weights.
    output_dir : str
        Where a simulation writes the run.

    Examples
    --------
    >>> from common.config import Settings
    >>> settings = Settings(image_size=256).override(["seed=7"])
    >>> settings.seed, settings.layers
    (7, 'auto')
    >>> settings.to_run_config()["image-size"]
    256
    """

    data_root: str = ""
    partition: str = "category"
    num_stations: int = 5
    dirichlet_alpha: float = 0.5
    backbone: str = "auto"
    layers: str = "auto"
    neighborhood_size: int = 3
    feature_norm: str = "none"
    weights: str = "auto"
    image_size: int = 0
    precision: str = "float32"
    device: str = "auto"
    batch_size: int = 32
    num_workers: int = 4
    augment: str = "none"
    local_coreset_ratio: float = 0.1
    coreset_projection: int = 128
    global_bank_size: int = 10000
    bank_scope: str = "shared"
    aggregation: str = "federated_coreset"
    weighted_by_samples: bool = True
    oversample_factor: float = 2.0
    min_station_share: float = 0.05
    wire_dtype: str = "float16"
    num_server_rounds: int = 1
    min_stations: int = 0
    round_timeout: int = 7200
    max_station_share: float = 0.5
    on_suspicion: str = "report"
    without: str = ""
    deliver: str = ""
    feature_space: str = ""
    evaluation: str = "stations"
    image_score: str = "max"
    calibration_fraction: float = 0.1
    target_false_alarm_rate: float = 0.05
    audit_good: str = "report"
    seed: int = 42
    output_dir: str = "outputs/run"

    def __post_init__(self) -> None:
        """Bring every value to its setting's kind; refuse what no run can use, naming the key."""
        for field in fields(self):
            value = _cast(_key(field.name), getattr(self, field.name), field.default)
            object.__setattr__(self, field.name, value)
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise refused(_key(name), getattr(self, name), "one of " + ", ".join(allowed))
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise refused(_key(name), getattr(self, name), f"a number from {low} to {high}")
        for key in ("weights", "output_dir"):
            if not getattr(self, key).strip():
                raise refused(_key(key), getattr(self, key), "a name or a path")
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device, re.ASCII):
            raise refused("device", self.device, "auto, cpu, cuda or cuda:N")
        if not re.fullmatch(r"[0-9]{0,20}", self.deliver, re.ASCII):
            raise refused("deliver", self.deliver, "the id of a run, in digits, or nothing")
        if self.neighborhood_size % 2 == 0:
            raise refused("neighborhood-size", self.neighborhood_size, "an odd number")
        if 0 < self.image_size < _SMALLEST_IMAGE:
            raise refused("image-size", self.image_size, f"0, or at least {_SMALLEST_IMAGE}")

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the stations in `without`, each once, in order."""
        return tuple(sorted({name.strip() for name in self.without.split(",")} - {""}))

    def to_run_config(self) -> dict[str, Value]:
        """All settings under their kebab-case names, as Flower takes them."""
        return {_key(name): value for name, value in asdict(self).items()}

    @classmethod
    def from_run_config(cls, run_config: Mapping[str, Value]) -> Settings:
        """Read the settings of a run.

        Parameters
        ----------
        run_config : mapping of kebab-case key to str, int, float or bool

        Returns
        -------
        Settings

        Raises
        ------
        InputError
            On an unknown key (the nearest known one is suggested), a value of the wrong kind or a
            value that no run can use.
        """
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in run_config.items():
            name = key.replace("-", "_")
            if name not in known:
                raise InputError(f"unknown setting {key!r}{_suggest(key)}")
            values[name] = value
        return cls(**values)

    def override(self, assignments: list[str]) -> Settings:
        """Apply `key=value` assignments of the command line.

        Raises
        ------
        InputError
            On an assignment without `=`, an unknown key or an unusable value.
        """
        changes: dict[str, Value] = {}
        for text in assignments:
            key, equals, value = text.partition("=")
            if not equals:
                raise InputError(f"--set {text!r} is not of the form key=value, as in --set seed=7")
            changes[key.strip()] = value.strip()
        return Settings.from_run_config({**self.to_run_config(), **changes})

    def with_(self, **changes: Any) -> Settings:
        """Return a copy with some fields changed (snake_case), validated again."""
        return replace(self, **changes)

    def absolute(self) -> Settings:
        """Return a copy whose paths do not depend on the working directory of another process."""
        weights = self.weights
        if weights not in NAMED_WEIGHTS:
            weights = str(given_path(weights))
        data_root = str(given_path(self.data_root)) if self.data_root else ""
        output_dir = str(given_path(self.output_dir))
        return self.with_(weights=weights, data_root=data_root, output_dir=output_dir)


def _cast(key: str, value: Any, default: Any) -> Value:
    """Turn a value into the kind of the setting's default."""
    kind = type(default)
    if kind is str:
        if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
            raise refused(key, value, "text")
        return str(value)
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise refused(key, value, "true or false")
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
        if kind is float:
            return number
        if number != int(number):
            raise ValueError
        # A float cannot hold every whole number, so those that came as text or int are kept.
        return int(number) if isinstance(value, float) else int(value)
    except (TypeError, ValueError, OverflowError):
        wanted = "a whole number" if kind is int else "a number"
        raise refused(key, value, wanted) from None


def _suggest(key: str) -> str:
    known = [_key(field.name) for field in fields(Settings)]
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known ones are: {', '.join(known)}"


def _key(name: str) -> str:
    """Name of a field in the run config."""
    return name.replace("_", "-")


def refused(key: str, found: object, expected: str) -> InputError:
    """Return the error that names a setting, what was found and what was expected."""
    return InputError(f"setting {key}: found {found!r}, expected {expected}")

"""Who a station is, where its images are, and what it keeps on its disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from common.config import NAMED_WEIGHTS, Settings, Value
from common.data.demo_data import demo_data
from common.data.holdout import split_holdout
from common.data.layout import DataIndex, Sample, index_data
from common.data.partition import make_partition
from common.errors import InputError
from common.patchcore.names import check_names
from common.patchcore.network.choice import settle_network
from common.paths import DEFAULT_CACHE_GB, DEFAULT_KEPT_MODELS, cache_root
from common.protocol.messages import STATION_PATTERN

NODE_KEYS: Final = frozenset(
    {"station", "data-root", "weights", "cache-dir", "cache-limit-gb", "device", "batch-size"}
    | {"app-key", "station-key"}
    | {"models-dir", "keep-models", "activate"}
    | {"partition-id", "num-partitions"}
)
"""Keys of a real station's node config; a simulation's are of no use there and do no harm."""


@dataclass(frozen=True)
class Station:
    """One station: a SuperNode with its own images, or its stand-in in a simulation.

    Attributes
    ----------
    name : str
    real : bool
        True if the node config names the station; False in a simulation.
    settings : Settings
        The run's, with what this node decides for itself in place.
    index : DataIndex
    bank_samples, held_out, test : lists of Sample
        Training images for the bank, those held out for the threshold, test images.
    cache : Path
        Private folder for features and for what must outlive a message.
    cache_limit : int
        Bytes of features kept.
    notices : tuple of str
    models : Path or None
        Where a real station keeps its model versions; None in a simulation.
    keep_models : int
        How many of them it keeps.
    activate : {"auto", "manual"}
        Whether a delivered model that passes the acceptance test judges at once.
    """

    name: str
    real: bool
    settings: Settings
    index: DataIndex
    bank_samples: list[Sample] = field(repr=False)
    held_out: list[Sample] = field(repr=False)
    test: list[Sample] = field(repr=False)
    cache: Path
    cache_limit: int
    notices: tuple[str, ...] = ()
    models: Path | None = None
    keep_models: int = DEFAULT_KEPT_MODELS
    activate: str = "auto"


def open_station(node: Mapping[str, Value], run_config: Mapping[str, Value]) -> Station:
    """Find out who this node is and index its images; opens no image.

    Parameters
    ----------
    node : mapping
        Flower's node config: `station` and `data-root` of a real station, or `partition-id` and
        `num-partitions` in a simulation.
    run_config : mapping
        The run's settings.

    Raises
    ------
    InputError
        If the node config or the images cannot be used.
    """
    settings = check_names(Settings.from_run_config(run_config))
    if "station" in node:
        return _open_real(node, settings)
    if "partition-id" in node and "num-partitions" in node:
        return _open_simulated(node, settings)
    raise InputError(
        "node config: found neither station and data-root (a real station) nor partition-id and "
        "num-partitions (a simulation); start a station with `fedpatchcore plant station`, which "
        "gives what its station.toml says"
    )


def station_name(node: Mapping[str, Value]) -> str:
    """Name that a real station calls itself, checked.

    Raises
    ------
    InputError
        If it is no usable one.
    """
    name = str(node["station"])
    if not re.fullmatch(STATION_PATTERN, name):
        raise InputError(
            f"node config: station {name!r} is no usable name; expected up to 64 letters, digits, "
            "dots, hyphens and underscores, a letter or digit first"
        )
    return name


def station_cache(node: Mapping[str, Value], name: str) -> Path:
    """Private folder of a real station."""
    return Path(str(node.get("cache-dir") or cache_root() / "stations" / name)).expanduser()


def _open_real(node: Mapping[str, Value], settings: Settings) -> Station:
    name = station_name(node)
    if not node.get("data-root"):
        raise InputError(
            f"station {name}: the node config has no data-root; give the folder of its images"
        )
    notices = [
        f"node config: {key!r} is not a key that a station knows; it is ignored"
        for key in sorted(set(node) - NODE_KEYS)
    ]
    if settings.data_root:
        notices.append("the run's data-root is ignored: a station's own node config decides")
    weights = str(node.get("weights", ""))
    if not weights:
        weights = settings.weights
        if weights not in NAMED_WEIGHTS:
            notices.append("the run's weights path is ignored: nothing names a file on a station")
            weights = "auto"
    own: dict[str, Value] = {"data-root": str(node["data-root"]), "weights": weights}
    own |= {key: node[key] for key in ("device", "batch-size") if key in node}
    settings = Settings.from_run_config({**settings.to_run_config(), **own})
    index = index_data(settings.data_root)
    settings, _ = settle_network(settings, may_fall_back=False)
    cache = station_cache(node, name)
    limit = _cache_limit(node.get("cache-limit-gb", DEFAULT_CACHE_GB))
    train, test = index.select("train"), index.select("test")
    station = _station(name, True, settings, index, train, test, cache, limit, notices)
    activate = str(node.get("activate", "auto"))
    if activate not in ("auto", "manual"):
        raise InputError(f"node config: activate is {activate!r}; expected auto or manual")
    return replace(
        station,
        models=Path(str(node.get("models-dir") or cache / "models")).expanduser(),
        keep_models=int(node.get("keep-models", DEFAULT_KEPT_MODELS)),
        activate=activate,
    )


def _cache_limit(value: Value) -> float:
    try:
        limit = float(value)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < 1e6:
        raise InputError(
            f"node config: cache-limit-gb is {value!r}; expected a number of GiB, as 20"
        )
    return limit


def _open_simulated(node: Mapping[str, Value], settings: Settings) -> Station:
    number, stations = int(node["partition-id"]), int(node["num-partitions"])
    index = index_data(settings.data_root or demo_data())
    partition = make_partition(
        index.samples, settings.partition, stations, settings.seed, settings.dirichlet_alpha
    )
    settings, notice = settle_network(settings, may_fall_back=True)
    own = [index.samples[i] for i in partition.indices[number]]
    train = [sample for sample in own if sample.split == "train"]
    test = [sample for sample in own if sample.split == "test"]
    notices = [*partition.notices, *([notice] if notice else [])]
    name, cache = partition.names[number], cache_root() / "simulation"
    return _station(name, False, settings, index, train, test, cache, DEFAULT_CACHE_GB, notices)


def _station(
    name: str,
    real: bool,
    settings: Settings,
    index: DataIndex,
    train: list[Sample],
    test: list[Sample],
    cache: Path,
    limit_gb: float,
    notices: list[str],
) -> Station:
    bank, held_out = split_holdout(train, settings.calibration_fraction)
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"station {name}: cache-dir {cache} cannot be made ({error})") from error
    limit = int(limit_gb * 2**30)
    return Station(name, real, settings, index, bank, held_out, test, cache, limit, tuple(notices))

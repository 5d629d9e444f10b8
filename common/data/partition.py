"""Dealing the images of one data folder out to stations, for simulations.

Every image, train and test alike, belongs to exactly one station, so that what the stations count
adds up to what one place would count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from common.data.layout import Sample
from common.data.names import free_word
from common.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

AUTOVI_STATIONS: Final = (
    ("engine-assembly", ("engine_wiring",)),
    ("underbody-line", ("underbody_pipes", "underbody_screw")),
    ("fastener-station", ("tank_screw", "pipe_staple")),
    ("clip-inspection", ("pipe_clip",)),
)
"""The production stations of the AutoVI plant and the categories each of them inspects."""
QUALITY_CONTROL: Final = "quality-control"
QUALITY_SHARE: Final = 0.1


TOTAL: Final = "total"


class HasSamples(Protocol):
    """What a partitioner needs of a data set."""

    @property
    def samples(self) -> list[Sample]: ...  # noqa: D102


@dataclass(frozen=True)
class Partition:
    """Who holds what.

    Attributes
    ----------
    indices : dict of station number to list of int
        Positions in the data set's samples, ascending.
    names : tuple of str
        Name of each station.
    notices : tuple of str
        What a reader of the results should know about this partition.
    """

    indices: dict[int, list[int]]
    names: tuple[str, ...]
    notices: tuple[str, ...] = ()


class IIDPartitioner:
    """Shuffles all images and deals them out in equal portions, train and test separately.

    Parameters
    ----------
    num_stations : int
        How many stations there are.
    seed : int
        The same seed gives the same partition.

    Examples
    --------
    >>> from pathlib import Path
    >>> from types import SimpleNamespace
    >>> from common.data import IIDPartitioner
    >>> from common.data.layout import Sample
    >>> seven = [Sample(Path(f"{n}.png"), "clip", "train", 0, "good") for n in range(7)]
    >>> held = IIDPartitioner(num_stations=2).partition(SimpleNamespace(samples=seven))
    >>> len(held[0]), len(held[1]), sorted(held[0] + held[1])
    (4, 3, [0, 1, 2, 3, 4, 5, 6])
    """

    def __init__(self, num_stations: int = 5, seed: int = 42) -> None:
        self.num_stations, self.seed = num_stations, seed

    def partition(self, dataset: HasSamples) -> dict[int, list[int]]:
        """Return station number -> ascending sample indices."""
        return self.describe(dataset.samples).indices

    def describe(self, samples: Sequence[Sample]) -> Partition:
        """Return the partition with station names and notices."""
        rng = np.random.default_rng(self.seed)
        owner = np.zeros(len(samples), dtype=np.int64)
        for split in ("train", "test"):
            own = rng.permutation(_where(samples, split))
            for station, part in enumerate(np.array_split(own, self.num_stations)):
                owner[part] = station
        return _finish(owner, samples, self.num_stations)


class CategoryPartitioner:
    """Every station inspects its own categories; quality control samples 10 % of each.

    Parameters
    ----------
    num_stations : int
        With five stations and AutoVI's categories: engine assembly, underbody line, fastener
        station, clip inspection, quality control. Otherwise the categories are dealt out evenly
        to all stations but the last, which is quality control; where there are more stations
        than categories, the largest are shared.
    seed : int
        The same seed gives the same partition.

    Notes
    -----
    Quality control takes its share of every category and split first, rounded half up; a category
    of fewer than five images leaves it none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from types import SimpleNamespace
    >>> from common.data import CategoryPartitioner
    >>> from common.data.layout import Sample
    >>> parts = ["clip"] * 10 + ["screw"] * 20
    >>> images = [Sample(Path(f"{n}.png"), p, "train", 0, "good") for n, p in enumerate(parts)]
    >>> held = CategoryPartitioner(num_stations=3).partition(SimpleNamespace(samples=images))
    >>> {station: [parts[n] for n in held[station]].count("clip") for station in held}
    {0: 0, 1: 9, 2: 1}
    """

    def __init__(self, num_stations: int = 5, seed: int = 42) -> None:
        self.num_stations, self.seed = num_stations, seed

    def partition(self, dataset: HasSamples) -> dict[int, list[int]]:
        """Return station number -> ascending sample indices."""
        return self.describe(dataset.samples).indices

    def describe(self, samples: Sequence[Sample]) -> Partition:
        """Return the partition with station names and notices."""
        rng = np.random.default_rng(self.seed)
        owner = np.zeros(len(samples), dtype=np.int64)
        if self.num_stations == 1:
            return _finish(owner, samples, 1, notices=("one station holds every category",))
        quality = self.num_stations - 1
        held: dict[str, list[int]] = {}
        for category in sorted({sample.category for sample in samples}):
            held[category] = []
            for split in ("train", "test"):
                own = rng.permutation(_where(samples, split, category))
                taken = int(QUALITY_SHARE * len(own) + 0.5)
                owner[own[:taken]] = quality
                held[category] += own[taken:].tolist()
        plant = [list(categories) for _, categories in AUTOVI_STATIONS]
        if quality == len(plant) and set(held) == {c for own in plant for c in own}:
            lines = [[i for category in own for i in held[category]] for own in plant]
            names = (*(name for name, _ in AUTOVI_STATIONS), QUALITY_CONTROL)
            notices: tuple[str, ...] = ()
        else:
            lines, notice = _deal_categories(held, samples, quality)
            names, notices = _numbered(self.num_stations), (notice,)
        for station, indices in enumerate(lines):
            owner[indices] = station
        return _finish(owner, samples, self.num_stations, names, notices)


class DirichletPartitioner:
    """Shares of each category are drawn from a Dirichlet distribution over the stations.

    Parameters
    ----------
    num_stations : int
        How many stations there are.
    seed : int
        The same seed gives the same partition.
    alpha : float
        Small: each category at few stations; large: nearly even shares.

    References
    ----------
    Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution", 2019, section 3.

    Examples
    --------
    >>> from pathlib import Path
    >>> from types import SimpleNamespace
    >>> from common.data import DirichletPartitioner
    >>> from common.data.layout import Sample
    >>> images = [Sample(Path(f"{n}.png"), "clip", "train", 0, "good") for n in range(100)]
    >>> for alpha in (1e6, 0.01):
    ...     held = DirichletPartitioner(2, alpha=alpha).partition(SimpleNamespace(samples=images))
    ...     print(len(held[0]), len(held[1]))
    50 50
    99 1
    """

    def __init__(self, num_stations: int = 5, seed: int = 42, alpha: float = 0.5) -> None:
        self.num_stations, self.seed, self.alpha = num_stations, seed, alpha

    def partition(self, dataset: HasSamples) -> dict[int, list[int]]:
        """Return station number -> ascending sample indices."""
        return self.describe(dataset.samples).indices

    def describe(self, samples: Sequence[Sample]) -> Partition:
        """Return the partition with station names and notices."""
        rng = np.random.default_rng(self.seed)
        owner = np.zeros(len(samples), dtype=np.int64)
        for category in sorted({sample.category for sample in samples}):
            shares = rng.dirichlet(np.full(self.num_stations, self.alpha))
            for split in ("train", "test"):
                own = rng.permutation(_where(samples, split, category))
                bounds = np.floor(np.cumsum(shares)[:-1] * len(own) + 0.5).astype(int)
                for station, part in enumerate(np.split(own, bounds)):
                    owner[part] = station
        return _finish(owner, samples, self.num_stations)


Partitioner = IIDPartitioner | CategoryPartitioner | DirichletPartitioner

PARTITIONS: Final[dict[str, Callable[[int, int, float], Partitioner]]] = {
    "iid": lambda stations, seed, alpha: IIDPartitioner(stations, seed),
    "category": lambda stations, seed, alpha: CategoryPartitioner(stations, seed),
    "dirichlet": lambda stations, seed, alpha: DirichletPartitioner(stations, seed, alpha),
}
"""Name in the run config -> partitioner from (stations, seed, alpha)."""


def make_partition(
    samples: Sequence[Sample], name: str, num_stations: int, seed: int, alpha: float = 0.5
) -> Partition:
    """Deal samples out by the name of a partition.

    Parameters
    ----------
    samples : sequence of Sample
        Of a data folder's index, in its order.
    name : str
        A key of `PARTITIONS`.
    num_stations, seed, alpha
        As in the settings.

    Raises
    ------
    InputError
        If there is no training image, or there are fewer of them than stations.
    """
    training = sum(sample.split == "train" for sample in samples)
    if training == 0:
        raise InputError("the data folder holds no training image; put good images in train/good")
    return PARTITIONS[name](num_stations, seed, alpha).describe(samples)


def compute_partition_stats(
    partition: dict[int, list[int]],
    dataset: HasSamples,
    split: str | None = None,
    names: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Count images by station and category.

    Parameters
    ----------
    partition : dict of station number to indices
        As a partitioner's `partition` returns it.
    dataset : object with `samples`
        The images that were dealt out.
    split : "train" or "test", optional
        Count only this split.
    names : sequence of str, optional
        Names of the stations; default `station-0`, ...

    Returns
    -------
    DataFrame
        One row a station (index: its name), one column a category, and `total`; integers.

    Examples
    --------
    >>> from pathlib import Path
    >>> from types import SimpleNamespace
    >>> from common.data import compute_partition_stats
    >>> from common.data.layout import Sample
    >>> parts = ["clip", "clip", "screw"]
    >>> images = [Sample(Path(f"{n}.png"), p, "train", 0, "good") for n, p in enumerate(parts)]
    >>> compute_partition_stats({0: [0, 2], 1: [1]}, SimpleNamespace(samples=images))
               clip  screw  total
    station-0     1      1      2
    station-1     1      0      1
    """
    categories = sorted({sample.category for sample in dataset.samples})
    rows = {}
    for station in sorted(partition):
        chosen = [dataset.samples[i] for i in partition[station]]
        counts = {
            category: sum(s.category == category and split in (None, s.split) for s in chosen)
            for category in categories
        }
        rows[names[station] if names else f"station-{station}"] = counts
    import pandas as pd  # a station that deals images out needs no tables

    table = pd.DataFrame.from_dict(rows, orient="index", columns=categories).astype("int64")
    table[free_word(TOTAL, categories)] = table.sum(axis=1)
    return table


def _deal_categories(
    held: dict[str, list[int]], samples: Sequence[Sample], lines: int
) -> tuple[list[list[int]], str]:
    """Categories to production stations, the largest first to whom has least; and a notice."""
    dealt = set(_to_deal(samples).tolist())
    groups: list[dict[str, list[int]]] = [{} for _ in range(lines)]

    def load(group: dict[str, list[int]]) -> int:
        return sum(i in dealt for own in group.values() for i in own)

    for category in sorted(held, key=lambda c: (-load({c: held[c]}), c)):
        min(groups, key=load)[category] = held[category]
    for empty in (group for group in groups if not group):
        fullest = max(groups, key=load)
        category = max(sorted(fullest), key=lambda c: load({c: fullest[c]}))
        # The lists are in shuffled order, so every second image of each split is a fair half.
        halves: tuple[list[int], list[int]] = ([], [])
        for split in ("train", "test"):
            own = [i for i in fullest[category] if samples[i].split == split]
            halves[0].extend(own[0::2])
            halves[1].extend(own[1::2])
        fullest[category], empty[category] = halves
    listed = "; ".join(
        f"station-{number}: {', '.join(sorted(group))}" for number, group in enumerate(groups)
    )
    notice = (
        f"category partition over {lines + 1} stations: {listed}; station-{lines}: quality control"
    )
    return [[i for own in group.values() for i in own] for group in groups], notice


def _where(samples: Sequence[Sample], split: str, category: str | None = None) -> NDArray[np.int64]:
    """Positions of the samples of one split, of one category or of all."""
    found = [
        i for i, s in enumerate(samples) if s.split == split and category in (None, s.category)
    ]
    return np.array(found, dtype=np.int64)


def _to_deal(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Positions that every station needs some of: training images, where there are any."""
    train = _where(samples, "train")
    return train if len(train) else np.arange(len(samples))


def _numbered(stations: int) -> tuple[str, ...]:
    return tuple(f"station-{station}" for station in range(stations))


def _finish(
    owner: NDArray[np.int64],
    samples: Sequence[Sample],
    stations: int,
    names: tuple[str, ...] | None = None,
    notices: tuple[str, ...] = (),
) -> Partition:
    """Make sure that no station is without a training image, and name the stations."""
    names = names or _numbered(stations)
    needed = _to_deal(samples)
    if len(needed) < stations:
        raise InputError(
            f"{len(needed)} training images cannot be dealt out to {stations} stations; "
            "lower num-stations or add images"
        )
    for station in range(stations):
        counts = np.bincount(owner[needed], minlength=stations)
        if counts[station] == 0:
            richest = int(np.argmax(counts))
            owner[needed[owner[needed] == richest][-1]] = station
            notices += (f"{names[station]} drew no training image and was given one",)
    indices = {station: np.flatnonzero(owner == station).tolist() for station in range(stations)}
    return Partition(indices, names, notices)

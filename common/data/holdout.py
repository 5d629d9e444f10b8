"""Which good training images stay out of the bank to calibrate the threshold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from common.config import Settings
from common.data.images import natural_key
from common.data.partition import make_partition
from common.data.samples import Sample


def split_holdout(samples: Sequence[Sample], fraction: float) -> tuple[list[Sample], list[Sample]]:
    """Divide one station's training images into those for the bank and those held out.

    Parameters
    ----------
    samples : sequence of Sample
        Training images of one station, of any categories.
    fraction : float
        Share to hold out of every category: at least one image if above 0, and never a
        category's only image.

    Returns
    -------
    (bank, held_out) : lists of Sample
        In the order given. Held out are the last by natural file-name order: images are numbered
        as they were taken, and drift makes the latest the most honest judges of a threshold.
    """
    held: set[str] = set()
    for category in sorted({sample.category for sample in samples}):
        own = [sample for sample in samples if sample.category == category]
        own.sort(key=lambda sample: natural_key(sample.path.name))
        count = count_held_out(len(own), fraction)
        held |= {str(sample.path) for sample in own[len(own) - count :]}
    return _divide(samples, held)


def count_held_out(count: int, fraction: float) -> int:
    """How many of so many training images of one category at one station are held out."""
    return max(0, min(count - 1, max(1, round(fraction * count)))) if fraction > 0 else 0


@dataclass(frozen=True)
class PlantHoldout:
    """What the stations of a simulation hold out together, seen from one place.

    Attributes
    ----------
    bank, held_out : lists of Sample
        Training images of all stations, in the order given.
    notices : tuple of str
        Where that is not what one place alone would hold out.
    """

    bank: list[Sample]
    held_out: list[Sample]
    notices: tuple[str, ...] = ()


def hold_out_as_stations(samples: Sequence[Sample], settings: Settings) -> PlantHoldout:
    """Divide training images as the stations of the settings' partition would.

    Parameters
    ----------
    samples : sequence of Sample
        All of a data folder's index, in its order.
    settings : Settings

    Returns
    -------
    PlantHoldout
        With fewer training images than stations: as of one place.
    """
    train = [sample for sample in samples if sample.split == "train"]
    fraction, stations = settings.calibration_fraction, settings.num_stations
    if len(train) < stations:
        return PlantHoldout(*split_holdout(train, fraction))
    partition = make_partition(
        samples, settings.partition, stations, settings.seed, settings.dirichlet_alpha
    )
    held: set[str] = set()
    for indices in partition.indices.values():
        own = [samples[i] for i in indices if samples[i].split == "train"]
        held |= {str(sample.path) for sample in split_holdout(own, fraction)[1]}
    bank, held_out = _divide(train, held)
    counts = Counter(sample.category for sample in train)
    dealt = Counter(sample.category for sample in held_out)
    notices = []
    for category, count in sorted(counts.items()):
        alone = count_held_out(count, fraction)
        if dealt[category] != alone:
            number = dealt[category] or "none"
            notices.append(
                f"{category}: {number} of {count} training images held out for the threshold, as "
                f"{stations} stations of the {settings.partition} partition hold out; one place "
                f"alone (num-stations=1) would hold out {alone}"
            )
    return PlantHoldout(bank, held_out, tuple(notices))


def _divide(samples: Sequence[Sample], held: set[str]) -> tuple[list[Sample], list[Sample]]:
    bank = [sample for sample in samples if str(sample.path) not in held]
    return bank, [sample for sample in samples if str(sample.path) in held]

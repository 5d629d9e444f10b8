"""Which good training images stay out of the bank to calibrate the threshold."""

from __future__ import annotations

from collections.abc import Sequence

from common.data.images import natural_key
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
    bank = [sample for sample in samples if str(sample.path) not in held]
    return bank, [sample for sample in samples if str(sample.path) in held]


def count_held_out(count: int, fraction: float) -> int:
    """How many of so many training images of one category at one station are held out."""
    return max(0, min(count - 1, max(1, round(fraction * count)))) if fraction > 0 else 0

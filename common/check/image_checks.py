"""Faults inside the images, and of their number."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.check.findings import CheckOptions, Finding, Kind
from common.check.survey import Survey
from common.data.fault import found_at
from common.data.holdout import count_held_out, hold_out_as_stations
from common.data.images import IMAGE_FORMATS
from common.data.remarks import describe_range
from common.data.samples import Sample

_SMALLEST: Final = 32

UNREADABLE_IMAGE: Final = Kind(
    "unreadable-image",
    "error",
    "a run stops at an image that it cannot read, rather than leave it out without a word",
    "copy the file again from where it came from, or remove it",
)
NARROW_RANGE: Final = Kind(
    "unused-range",
    "warning",
    "the values are scaled by what the file format can hold, not by what the camera gives: few "
    "grey levels are left, and defects drown in them",
    "save the images so that white is the format's largest value: the camera's values shifted up "
    "(12 bits in a 16-bit file: times 16; many cameras call that left-aligned), or 8 bits",
)
WRONG_FORMAT: Final = Kind(
    "wrong-suffix",
    "note",
    "the file is read by what it holds, but other programs may go by its name",
    "rename it after its format",
)
UNIFORM: Final = Kind(
    "uniform-image",
    "warning",
    "one single colour: a covered lens or a failed exposure, and normal for ever if it is trained "
    "on",
    "remove the image",
)
TOO_SMALL: Final = Kind(
    "image-too-small",
    "warning",
    f"below {_SMALLEST} pixels a side the network sees only a few patches",
    "export the image at its full size",
)
MIXED_SIZES: Final = Kind(
    "mixed-sizes",
    "warning",
    "an image of another size shows the part at another scale, which looks anomalous as a whole",
    "bring all images of a category to one size, or find out which camera setting has changed",
)
MIXED_COLOURS: Final = Kind(
    "grey-among-colour",
    "warning",
    "a grey image among colour images lies far from a bank of colour patches, whatever it shows",
    "export all images of a category in the same mode",
)
LEAK: Final = Kind(
    "train-image-in-test",
    "warning",
    "an image that was trained on is recognised: the measured false-alarm rate is too good",
    "remove one of the two",
)
CONTRADICTION: Final = Kind(
    "good-and-defective",
    "error",
    "the same picture cannot be good and defective",
    "look at the image and remove it from where it does not belong",
)
TWICE: Final = Kind(
    "duplicate-image",
    "warning",
    "a picture that occurs twice counts twice; between bank and held-out images it makes the "
    "threshold too low",
    "remove one of the two",
)
WRONG_CATEGORY: Final = Kind(
    "image-in-two-categories",
    "warning",
    "the same picture cannot show two parts",
    "remove it from the category where it does not belong",
)
NO_HOLDOUT: Final = Kind(
    "single-training-image",
    "warning",
    "with one image none can be held out of the bank, so there is no threshold",
    "add good training images",
)
NO_HOLDOUT_DEALT: Final = Kind(
    "no-holdout-at-stations",
    "note",
    "where every station has one image of the category, none is held out: a simulation, and the "
    "baseline that it is compared with, have no threshold for it",
    "set num-stations lower (1 for the baseline alone), or add good training images",
)
TOO_FEW_NOTE: Final = Kind(
    "too-few-for-false-alarm-rate",
    "note",
    "n held-out good images can promise no false-alarm rate below 1 / (n + 1)",
    "add good training images, hold out more of them, or aim at a higher rate",
)
TOO_FEW: Final = Kind(TOO_FEW_NOTE.name, "warning", TOO_FEW_NOTE.why, TOO_FEW_NOTE.mend)


def unreadable_images(survey: Survey) -> Iterator[Finding]:
    """Empty, truncated and other broken files."""
    for path, facts in survey.facts.items():
        if facts.error is not None:
            mend = str(facts.error).rpartition("; ")[2]
            yield UNREADABLE_IMAGE.at(path, found_at(path, facts.error), mend)


def strange_images(survey: Survey) -> Iterator[Finding]:
    """JPEG files called PNG and the like; images of one colour, or hardly larger than a patch."""
    for path, facts in survey.facts.items():
        if facts.error is not None:
            continue
        if facts.format not in IMAGE_FORMATS[path.suffix.lower()]:
            yield WRONG_FORMAT.at(path, f"a {facts.format} file")
        if facts.uniform:
            yield UNIFORM.at(path, "an image of one single colour")
        if min(facts.size) < _SMALLEST:
            height, width = facts.size
            yield TOO_SMALL.at(path, f"{width}x{height} pixels (width x height)")


def mixed_sizes(survey: Survey) -> Iterator[Finding]:
    """Images of another size than most of their category."""
    for part in survey.parts:
        sizes = {s.path: survey.facts[s.path].size for s in survey.readable(part)}
        counts = Counter(sizes.values())
        if len(counts) < 2:
            continue
        usual, number = counts.most_common(1)[0]
        for path, (height, width) in sizes.items():
            if (height, width) != usual:
                yield MIXED_SIZES.at(
                    path,
                    f"{width}x{height} pixels; {number} of {len(sizes)} images of "
                    f"{part.category.name} have {usual[1]}x{usual[0]} (width x height)",
                )


def mixed_colours(survey: Survey) -> Iterator[Finding]:
    """Grey images where most are coloured, and the other way round."""
    for part in survey.parts:
        greys = {s.path: survey.facts[s.path].grey for s in survey.readable(part)}
        is_grey = 0 < 2 * sum(greys.values()) <= len(greys)
        rare = [path for path, grey in greys.items() if grey == is_grey]
        if len(rare) == len(greys):
            continue
        kind, others = "a grey" if is_grey else "a colour", len(greys) - len(rare)
        for path in rare:
            text = f"{kind} image; {others} others of {part.category.name} are not"
            yield MIXED_COLOURS.at(path, text)


def unused_range(survey: Survey) -> Iterator[Finding]:
    """Categories of 16-bit files in which a camera of 10, 12 or 14 bits left most values unused."""
    for part in survey.parts:
        facts = [survey.facts[sample.path] for sample in survey.readable(part)]
        found = describe_range([(one.bits, one.brightest) for one in facts])
        if found is not None:
            yield NARROW_RANGE.at(part.category.folder, found)


def duplicates(survey: Survey) -> Iterator[Finding]:
    """Equal pictures in different files, by their pixels."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for part in survey.parts:
        for sample in survey.readable(part):
            if not survey.facts[sample.path].uniform:
                groups[survey.facts[sample.path].digest].append(sample)
    for first, *others in groups.values():
        for other in others:
            kind = _relation(first, other)
            yield kind.at(other.path, f"the same picture as {first.path}")


def _relation(first: Sample, other: Sample) -> Kind:
    if first.category != other.category:
        return WRONG_CATEGORY
    if first.label != other.label:
        return CONTRADICTION
    return LEAK if first.split != other.split else TWICE


def too_few_images(survey: Survey) -> Iterator[Finding]:
    """Categories whose held-out images cannot promise the wanted false-alarm rate."""
    dealt = _held_out_by_stations(survey)
    for part in survey.parts:
        readable = sum(survey.facts[path].error is None for path in part.training)
        place = part.category.folder / "train" / "good"
        together = None if dealt is None else dealt[part.category.name]
        yield from judge_held_out(place, readable, survey.options, together)


def _held_out_by_stations(survey: Survey) -> Counter[str] | None:
    """How many of each category a simulation's stations would hold out; None: too few for it."""
    settings = survey.options.settings
    samples = [sample for part in survey.parts for sample in survey.readable(part)]
    if sum(sample.split == "train" for sample in samples) < settings.num_stations:
        return None
    return Counter(s.category for s in hold_out_as_stations(samples, settings).held_out)


def judge_held_out(
    place: Path, count: int, options: CheckOptions, together: int | None = None
) -> Iterator[Finding]:
    """Say whether enough of a category's good training images would be held out.

    Parameters
    ----------
    place : Path
        Their folder.
    count : int
        How many there are.
    options : CheckOptions
    together : int, optional
        How many the stations of a simulation would hold out.
    """
    settings = options.settings
    rate, fraction = settings.target_false_alarm_rate, settings.calibration_fraction
    needed = math.ceil(1 / rate - 1e-9) - 1
    if count == 1:
        yield NO_HOLDOUT.at(place, "one good training image")
    if count < 2 or fraction == 0:
        return
    held_out = count_held_out(count, fraction)
    dealt = ""
    if together is not None and together != held_out:
        dealt = (
            f" in one place, {together} by {settings.num_stations} stations of the "
            f"{settings.partition} partition"
        )
    if together == 0:
        yield NO_HOLDOUT_DEALT.at(
            place, f"{count} good training images, {held_out} held out{dealt}"
        )
    fewest = min(held_out, together or held_out)
    if fewest < needed:
        kind = TOO_FEW if options.rate_is_wanted else TOO_FEW_NOTE
        yield kind.at(
            place,
            f"{count} good training images, {held_out} of them held out{dealt}: they promise a "
            f"false-alarm rate of at most {1 / (fewest + 1):.3g}, not {rate:g}",
            _how_many(count, needed, fraction),
        )


def _how_many(count: int, needed: int, fraction: float) -> str:
    images = math.ceil(needed / fraction - 1e-9)
    more = f"bring {images} good training images"
    if needed < count and needed / count <= 0.5:
        share = math.ceil(100 * needed / count) / 100
        return f"{more}, or hold out {needed} of these (calibration-fraction={share:g})"
    return f"{more}, or aim at a higher target-false-alarm-rate"

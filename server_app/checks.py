"""What a station sent is looked at before it is used."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from common.evaluation import EvaluationCounts
from common.evaluation.mergeable.checks import ARRAY_NAMES
from common.patchcore.distances import FULL, Distances
from common.patchcore.local_bank import bank_patches
from common.patchcore.model_store import SHARED, bank_of
from common.patchcore.network.architectures import find_backbone
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.row_format import SCALE_ROWS
from common.protocol.messages import (
    LARGEST_DISTANCE,
    AuditFacts,
    BuildReply,
    CategoryCounts,
    ScoreReply,
    SizeCount,
    SurveyReply,
    part_of_rows,
)
from common.protocol.records import HEADER_BYTES, MalformedReplyError

Arrays = Mapping[str, NDArray[Any]]

COUNTS_BYTES: Final = 250_000_000
"""Most bytes of all counts of one station: a message larger than this endangers the SuperLink."""
_BIN_BYTES: Final = 16  # a bin's number and its count, at their widest
_OVERLAP: Final = 8  # regions that one pixel may lie in
_IMAGE_BYTES: Final = 2048  # an image's own columns, its regions' and the names of its types


def check_survey(
    survey: SurveyReply, augment: str = "none", calibration_fraction: float = 1.0
) -> None:
    """Refuse a survey whose numbers contradict each other.

    Patches are worked out anew, from the sizes of the images and the grid that the station's
    feature space gives them: a station that cuts or scales its images otherwise than it says
    cannot get this right by accident.

    Parameters
    ----------
    survey : SurveyReply
    augment : str
        The run's setting: copies of an image bring patches, too.
    calibration_fraction : float
        The run's setting: no more of a category's training images are held out.

    Raises
    ------
    MalformedReplyError
        Saying what was found and what was expected. Also if the feature space is unusable.
    """
    try:
        space = FeatureSpace.from_json(survey.feature_space.model_dump())
        _check_space(space)
        for name, told in survey.categories.items():
            _check_sizes(name, "training images for the bank", told.images, told.sizes)
            _check_sizes(name, "test images", told.test, told.test_sizes)
            training = told.images + told.held_out
            most = int(calibration_fraction * training) + 1  # rounded, and at least one
            if told.held_out > most:
                raise MalformedReplyError(
                    f"category {name}: {told.held_out} of {training} training images are held "
                    f"out, calibration-fraction {calibration_fraction:g} makes {most} at most"
                )
            expected = sum(
                size.images * bank_patches(space, (size.height, size.width), augment)
                for size in told.sizes
            )
            if told.patches != expected:
                raise MalformedReplyError(
                    f"category {name}: {told.patches} patches, its {told.images} images have "
                    f"{expected} in this feature space"
                )
    except InputError as error:
        raise MalformedReplyError(str(error)) from error


def _check_space(space: FeatureSpace) -> None:
    """What a backbone's name and layers imply, a station cannot say otherwise."""
    architecture = find_backbone(space.backbone)
    layers = architecture.used(",".join(space.layers))
    found = (space.family, space.stride, space.multiple, space.normalization)
    expected = (
        architecture.family,
        architecture.strides[layers[0]],
        architecture.multiple(layers),
        architecture.normalization,
    )
    if found != expected:
        raise MalformedReplyError(
            f"feature space: family, stride, multiple and normalization {found}, those of "
            f"{space.backbone} with {','.join(layers)} are {expected}"
        )


def _check_sizes(category: str, what: str, images: int, sizes: Sequence[SizeCount]) -> None:
    if len({(size.height, size.width) for size in sizes}) != len(sizes):
        raise MalformedReplyError(f"category {category}: a size of {what} is told twice")
    found = sum(size.images for size in sizes)
    if found != images:
        raise MalformedReplyError(
            f"category {category}: sizes of {found} {what}, {images} are there"
        )


def pixels_of(told: CategoryCounts) -> int:
    """Pixels of all test images of a category together."""
    return sum(size.images * size.height * size.width for size in told.test_sizes)


def most_count_bytes(survey: SurveyReply) -> int:
    """Most bytes that the counts of a station's test images can take, headers included.

    No histogram has more bins than there are pixels, and every pixel lies in few regions.
    """
    most = 0
    for told in survey.categories.values():
        if told.test:
            most += len(ARRAY_NAMES) * HEADER_BYTES + told.test * _IMAGE_BYTES
            most += (2 + _OVERLAP) * _BIN_BYTES * pixels_of(told)
    return min(most, COUNTS_BYTES)


def most_row_bytes(budgets: Mapping[str, int], parts: int, shape: tuple[int, str]) -> int:
    """Most bytes that one part of a station's rows can take, headers included."""
    dim, dtype = shape
    rows = sum(-(-budget // parts) for budget in budgets.values())
    size = rows * dim * np.dtype(dtype).itemsize
    return size + len(budgets) * (HEADER_BYTES + SCALE_ROWS * dim)


def check_build_reply(
    reply: BuildReply,
    arrays: Arrays,
    *,
    station: str,
    budgets: Mapping[str, int],
    patches: Mapping[str, int],
    shape: tuple[int, str],
    part: int,
    parts: int,
    distances: Distances = FULL,
    first: bool = False,
    told: Mapping[str, CategoryCounts] | None = None,
    excluding: bool = False,
) -> None:
    """Refuse rows that cannot be what was asked for.

    Parameters
    ----------
    reply, arrays
        Facts and one part of the rows, by bank.
    station : str
        Who was asked.
    budgets, patches : mapping of bank to int
        Most rows that may come, and the patches that the survey told of.
    shape : (feature_dim, dtype name)
    part, parts : int
        Which part this is.
    distances : Distances
        In which the station measured its radius.
    first : bool
        Whether no bank went before: then every patch is new, and rows must come.
    told : mapping of category to CategoryCounts, optional
        What the survey said: an audit cannot have looked at more.
    excluding : bool
        Whether the station may have left suspicious images out of its bank (`audit-good=exclude`).

    Raises
    ------
    MalformedReplyError
        Saying what was found and what was expected.
    """
    _check_sender(reply.station, station)
    if set(reply.banks) != set(budgets) or set(arrays) != set(budgets):
        found = sorted(set(reply.banks) ^ set(budgets)) or sorted(arrays)
        raise MalformedReplyError(f"banks {found[:9]}; asked for {sorted(budgets)[:9]}")
    if told is not None:
        check_audits(reply.audits, told)
    left_out = excluding and any(own.suspicious for own in reply.audits.values())
    dim, dtype = shape
    for name, facts in reply.banks.items():
        rows = arrays[name]
        if facts.rows > budgets[name]:
            raise MalformedReplyError(
                f"bank {name}: {facts.rows} rows, above its budget of {budgets[name]}"
            )
        if facts.patches != patches[name] and not (left_out and 0 < facts.patches < patches[name]):
            raise MalformedReplyError(
                f"bank {name}: {facts.patches} patches, the survey said {patches[name]}"
            )
        expected = len(part_of_rows(range(facts.rows), part, parts))
        if rows.shape != (expected, dim) or rows.dtype != np.dtype(dtype):
            raise MalformedReplyError(
                f"bank {name}: {rows.dtype} rows of shape {rows.shape}, expected {dtype} of shape "
                f"{(expected, dim)}"
            )
        if not np.isfinite(rows).all():
            raise MalformedReplyError(f"bank {name}: a value that is not finite (NaN or infinite)")
        if first and facts.rows == 0 and min(budgets[name], facts.patches) > 0:
            raise MalformedReplyError(
                f"bank {name}: no row of {facts.patches} patches, {budgets[name]} were asked for"
            )
        if part == 0:
            _check_radius(name, facts.radius, rows, distances)


def check_audits(audits: Mapping[str, AuditFacts], told: Mapping[str, CategoryCounts]) -> None:
    """Refuse counts of suspicious images that cannot be.

    Parameters
    ----------
    audits : mapping of category to AuditFacts
    told : mapping of category to CategoryCounts
        The survey's.

    Raises
    ------
    MalformedReplyError
    """
    for category, own in audits.items():
        if category not in told:
            raise MalformedReplyError(f"audit of category {category!r}, not in the survey")
        found, most = (own.images, own.held_out), (told[category].images, told[category].held_out)
        # Fewer where some could not be read again; more cannot be.
        if any(one > other for one, other in zip(found, most, strict=True)):
            raise MalformedReplyError(
                f"category {category}: an audit of {found} images for the bank and held out, the "
                f"survey said {most}"
            )
        if own.suspicious > own.images or own.suspicious_held_out > own.held_out:
            raise MalformedReplyError(
                f"category {category}: more suspicious images than the audit looked at"
            )


def _check_radius(name: str, radius: float, rows: NDArray[Any], distances: Distances) -> None:
    """Farthest first, the last row was as far from the first as any patch left is from the rows.

    Of one row alone nothing follows. The slack is for what the wire's number format rounds.
    """
    if len(rows) < 2:
        return
    measured = distances(rows)
    reach = float(np.linalg.norm(measured - measured[0], axis=1).max())
    most = 1.05 * reach + 0.02 * float(np.linalg.norm(measured[0]))
    if radius > most:
        raise MalformedReplyError(
            f"bank {name}: a radius of {radius:.4g}, but its rows lie at most "
            f"{most:.4g} from the first of them"
        )


def check_score_reply(
    reply: ScoreReply,
    arrays: Arrays,
    survey: SurveyReply,
    *,
    banks: Collection[str],
    score_images: bool,
    parts: Collection[str] | None = None,
) -> dict[str, EvaluationCounts]:
    """Read a station's counts, refusing those that cannot be.

    Parameters
    ----------
    reply, arrays
        Facts, and the counts by `<category>/<array>`.
    survey : SurveyReply
        What the station said it holds: it must account for all of it.
    banks : collection of str
        The banks that it was to judge with.
    score_images : bool
        Whether test images were to be scored.
    parts : collection of str, optional
        Whose radius it may tell: the categories of a shared bank. By default those of `banks`.

    Returns
    -------
    dict of category to EvaluationCounts
        Only categories in which the station has test images.

    Raises
    ------
    MalformedReplyError
    """
    _check_sender(reply.station, survey.station)
    counted: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        category, _, key = name.partition("/")
        counted.setdefault(category, {})[key] = array
    _check_categories(reply, set(counted), survey, banks)
    if unknown := sorted(set(reply.radius) - set(banks if parts is None else parts)):
        raise MalformedReplyError(f"a radius of bank {unknown[0]!r}, which was not sent")
    evaluations = {}
    for category, scores in reply.categories.items():
        surveyed = survey.categories[category]
        held_out = len(scores.held_out_scores)
        wanted = {"test"} if score_images else set()
        wanted = (wanted | {"held-out"}) - set(scores.failed)
        if scores.suspicious_held_out > held_out:
            raise MalformedReplyError(
                f"category {category}: {scores.suspicious_held_out} suspicious of {held_out} "
                "held-out images"
            )
        _check_category(category, scores.test, held_out, surveyed, wanted)
        if category in counted:
            evaluations[category] = _read_counts(category, counted[category])
        found = evaluations[category].n_images if category in evaluations else 0
        if found != scores.test:
            raise MalformedReplyError(
                f"category {category}: counts of {found} images, {scores.test} were scored"
            )
        if category in counted:
            _check_pixels(category, counted[category], pixels_of(surveyed))
    return evaluations


def _check_categories(
    reply: ScoreReply, counted: set[str], survey: SurveyReply, banks: Collection[str]
) -> None:
    """Every category to be judged is there, judged or without a bank, and no other."""
    judged, without = set(reply.categories), set(reply.without_bank)
    unknown = sorted((counted - judged) | ((judged | without) - set(survey.categories)))
    if unknown:
        raise MalformedReplyError(f"category {unknown[0]!r} was not in the survey")
    expected = {name for name, told in survey.categories.items() if told.test or told.held_out}
    can_judge = {name for name in expected if SHARED in banks or bank_of(name) in banks}
    if judged != can_judge or without != expected - can_judge:
        raise MalformedReplyError(
            f"judged {sorted(judged)} and found no bank for {sorted(without)}; expected "
            f"{sorted(can_judge)} and {sorted(expected - can_judge)}"
        )


def _check_category(
    category: str, test: int, held_out: int, told: CategoryCounts, wanted: Collection[str]
) -> None:
    expected = told.test if "test" in wanted else 0
    if test != expected:
        raise MalformedReplyError(
            f"category {category}: {test} test images scored, expected {expected}"
        )
    expected = told.held_out if "held-out" in wanted else 0
    if held_out != expected:
        raise MalformedReplyError(
            f"category {category}: {held_out} held-out scores, the survey said {expected}"
        )


def _read_counts(category: str, arrays: Arrays) -> EvaluationCounts:
    try:
        return EvaluationCounts.from_arrays(arrays)
    except ValueError as error:
        raise MalformedReplyError(f"counts of category {category}: {error}") from error


def _check_pixels(category: str, arrays: Arrays, pixels: int) -> None:
    """Every pixel of a test image with masks is counted once, and no other; no score is negative.

    Parameters
    ----------
    arrays
        That `EvaluationCounts` has read already.
    """
    scores = arrays["images_score"]
    if (scores < 0).any():
        raise MalformedReplyError(f"counts of category {category}: a score below 0, a distance")
    if (scores > LARGEST_DISTANCE).any():
        raise MalformedReplyError(
            f"counts of category {category}: a score of {scores.max():.1e}, above any distance"
        )
    counted = sum(int(arrays[f"{kind}_count"].sum()) for kind in ("normal", "anomalous"))
    whole = bool(arrays["images_has_masks"].all())
    if counted > pixels or (whole and counted != pixels):
        raise MalformedReplyError(
            f"counts of category {category}: {counted} pixels, its test images have {pixels}"
        )


def _check_sender(found: str, expected: str) -> None:
    if found != expected:
        raise MalformedReplyError(f"answered as {found!r}, was asked as {expected!r}")

"""What a station sent is looked at before it is used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluation import EvaluationCounts
from common.messages import BuildReply, CategoryCounts, ScoreReply, SurveyReply, part_of_rows
from common.patchcore.model_store import SHARED
from common.records import MalformedReplyError

Arrays = Mapping[str, NDArray[Any]]


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

    Raises
    ------
    MalformedReplyError
        Saying what was found and what was expected.
    """
    _check_sender(reply.station, station)
    if set(reply.banks) != set(budgets) or set(arrays) != set(budgets):
        raise MalformedReplyError(f"banks {sorted(arrays)}; asked for {sorted(budgets)}")
    dim, dtype = shape
    for name, facts in reply.banks.items():
        rows = arrays[name]
        if facts.rows > budgets[name]:
            raise MalformedReplyError(
                f"bank {name}: {facts.rows} rows, above its budget of {budgets[name]}"
            )
        if facts.patches != patches[name]:
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


def check_score_reply(
    reply: ScoreReply,
    arrays: Arrays,
    survey: SurveyReply,
    *,
    banks: Collection[str],
    score_images: bool,
) -> dict[str, EvaluationCounts]:
    """Read a station's counts, refusing those that cannot be.

    Parameters
    ----------
    reply, arrays
        Facts, and the counts by `<category>/<array>`.
    survey : SurveyReply
        What the station said it holds: it must account for all of it.
    banks : collection of str
        The banks that it was given.
    score_images : bool
        Whether test images were to be scored.

    Returns
    -------
    dict of category to EvaluationCounts
        Only categories in which the station has test images.

    Raises
    ------
    MalformedReplyError
    """
    _check_sender(reply.station, survey.station)
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        category, _, key = name.partition("/")
        parts.setdefault(category, {})[key] = array
    _check_categories(reply, set(parts), survey, banks)
    evaluations = {}
    for category, scores in reply.categories.items():
        surveyed = survey.categories[category]
        held_out = len(scores.held_out_scores)
        _check_category(category, scores.test, held_out, surveyed, score_images)
        if category in parts:
            evaluations[category] = _read_counts(category, parts[category])
        found = evaluations[category].n_images if category in evaluations else 0
        if found != scores.test:
            raise MalformedReplyError(
                f"category {category}: counts of {found} images, {scores.test} were scored"
            )
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
    can_judge = {name for name in expected if SHARED in banks or name in banks}
    if judged != can_judge or without != expected - can_judge:
        raise MalformedReplyError(
            f"judged {sorted(judged)} and found no bank for {sorted(without)}; expected "
            f"{sorted(can_judge)} and {sorted(expected - can_judge)}"
        )


def _check_category(
    category: str, test: int, held_out: int, told: CategoryCounts, score_images: bool
) -> None:
    expected = told.test if score_images else 0
    if test != expected:
        raise MalformedReplyError(
            f"category {category}: {test} test images scored, expected {expected}"
        )
    if held_out != told.held_out:
        raise MalformedReplyError(
            f"category {category}: {held_out} held-out scores, the survey said {told.held_out}"
        )


def _read_counts(category: str, arrays: Arrays) -> EvaluationCounts:
    try:
        return EvaluationCounts.from_arrays(arrays)
    except ValueError as error:
        raise MalformedReplyError(f"counts of category {category}: {error}") from error


def _check_sender(found: str, expected: str) -> None:
    if found != expected:
        raise MalformedReplyError(f"answered as {found!r}, was asked as {expected!r}")

"""From numbers to verdicts: what honest stations show, and what each fault and attack does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.evaluation.mergeable.owner_scores import KINDS, OwnerScores
from common.patchcore.distances import FULL
from server_app.influence.gathered import Place
from server_app.influence.numbers import CategoryNumbers, Ranks, Rise, category_numbers
from server_app.influence.support import Support, supports
from server_app.influence.verdict import StationNumbers, judge_station_numbers

HONEST = CategoryNumbers(
    rows=400,
    holders=5,
    share=0.2,
    threshold=1.8,
    threshold_without_scores=1.7,
    threshold_without=1.9,
    rise_others=Rise(16, 0.1, 0.3),
    rise_own=Rise(4, 0.1, 0.2),
    rise_defects=Rise(50, 0.001, 0.2),
    hidden=0,
    hidden_besides=0,
    rates_others=None,
    rates_own=None,
    used=1.0,
    used_by_itself=1.1,
    expected=3000.0,
    support=Support(1.0, 1.1, 400),
    ranks=Ranks(4, 16, 1.05, 0.9, 0.55, 0.6, 0.0, 1.9),
)


def verdict(own: CategoryNumbers = HONEST, **changes: Any) -> tuple[str, list[str], str]:
    facts: dict[str, Any] = {
        "asked": 800,
        "sent": 800,
        "chosen": 400,
        "share": 0.2,
        "claimed": 20.0,
        "counted": 20.0,
        "copied": 0,
        "copied_from": None,
        "others_chosen": 1600,
        "diameter": 12.0,
        "categories": {"bottle": own},
        **changes,
    }
    found, sentence, reasons = judge_station_numbers(StationNumbers(**facts))
    assert sentence.startswith(f"{found}: ")
    return found, [reason.name for reason in reasons], sentence


def test_an_honest_station_fits_with_its_numbers() -> None:
    found, reasons, sentence = verdict()
    assert (found, reasons) == ("fits", [])
    assert sentence == (
        "fits: 400 of the 800 rows it sent were chosen; the others' held-out good parts use them "
        "at 100% of their share, and would score 10.0% higher without them"
    )


GARBAGE = replace(HONEST, used=0.0, used_by_itself=0.0, support=Support(24.0, 26.0, 400))
DEFECTS = replace(HONEST, used=0.05, used_by_itself=0.07, support=Support(1.58, 2.0, 400))
VARIANT = replace(HONEST, used=0.02, used_by_itself=4.5, support=Support(1.9, 2.2, 400))


@pytest.mark.parametrize("holders", [3, 5, 10])
@pytest.mark.parametrize(
    ("own", "found", "reason"),
    [
        (GARBAGE, "quarantine", "rows-of-no-good-part"),
        (DEFECTS, "quarantine", "rows-of-no-good-part"),
        # Two who lie together lie near each other.
        (replace(GARBAGE, support=Support(0.9, 1.0, 400)), "quarantine", "rows-of-no-good-part"),
        # Another variant's own good parts use its rows.
        (VARIANT, "watch", "rows-used-by-itself-alone"),
        (replace(VARIANT, used_by_itself=None), "watch", "rows-used-by-itself-alone"),
        (replace(VARIANT, used=0.4), "watch", "rows-far-apart"),
        # Some rows of defects among honest ones: measured with five stations, and drop by drop.
        (replace(HONEST, used=0.185, support=Support(1.56, 2.1, 400)), "watch", "rows-far-apart"),
        (replace(HONEST, used=0.66, support=Support(1.03, 1.96, 400)), "watch", "rows-far-apart"),
        # As far out as any honest station was.
        (replace(HONEST, used=0.43, support=Support(0.99, 1.1, 400)), "fits", None),
        (replace(HONEST, used=0.82, support=Support(1.23, 1.51, 400)), "fits", None),
        # Most rows are its own: there are few others to be near.
        (replace(HONEST, share=0.77, support=Support(1.31, 1.66, 60)), "fits", None),
        # Half of what it sent is garbage; a tenth of it is.
        (
            replace(GARBAGE, used=0.2, used_by_itself=0.17),
            "quarantine",
            "rows-of-no-good-part",
        ),
        (replace(DEFECTS, used=0.2, used_by_itself=0.17), "watch", "rows-far-apart"),
        (replace(HONEST, support=Support(1.0, 9.0, 400)), "watch", "rows-far-apart"),
        # A few rows, or few images, say nothing.
        (replace(GARBAGE, rows=10), "fits", None),
        (replace(GARBAGE, expected=20.0), "watch", "rows-far-apart"),
        (replace(HONEST, hidden=20, hidden_besides=9), "quarantine", "hides-defects"),
        (replace(HONEST, hidden=3, hidden_besides=1), "quarantine", "hides-defects"),
        # One station's word puts no other under quarantine.
        (replace(HONEST, hidden=20, hidden_besides=0), "watch", "may-hide-defects"),
        (replace(HONEST, hidden=2, hidden_besides=1), "watch", "may-hide-defects"),
        (replace(HONEST, hidden=1, hidden_besides=0), "fits", None),
        (
            replace(HONEST, hidden=3, hidden_besides=1, rise_defects=Rise(100, 0.0, 0.9)),
            "watch",
            "may-hide-defects",
        ),
    ],
)
def test_rows(own: CategoryNumbers, found: str, reason: str | None, holders: int) -> None:
    told = verdict(replace(own, holders=holders))
    assert told[0] == found
    assert told[1] == ([] if reason is None else [reason])


@pytest.mark.parametrize("holders", [1, 2])
def test_where_two_or_one_hold_a_part_nobody_can_tell(holders: int) -> None:
    found, reasons, sentence = verdict(replace(GARBAGE, holders=holders, support=None))
    assert (found, reasons) == ("fits", ["too-few-to-tell"])
    assert "nobody can tell whether its rows belong there" in sentence


@pytest.mark.parametrize(
    ("ranks", "found", "reason"),
    [
        (Ranks(4, 16, 5e5, 4e5, 1.0, 0.0004, 1.0, 1e6), "quarantine", "impossible-scores"),
        (Ranks(4, 16, 1.5, 1.4, 1.0, 0.0004, 1.0, 2.7), "watch", "held-out-higher"),
        (Ranks(4, 8, 1.5, 1.4, 1.0, 0.004, 1.0, 2.7), "watch", "held-out-higher"),  # of three
        (Ranks(1, 4, 3.0, 2.5, 1.0, 0.4, 1.0, 5.0), "watch", "held-out-higher"),
        (Ranks(4, 16, 1.2, 1.1, 1.0, 0.0004, 0.5, 2.0), "fits", None),
        (Ranks(4, 16, 1.5, 1.0, 0.8, 0.08, 0.5, 2.0), "fits", None),
        (Ranks(9, 16, 0.0, 0.0, 0.0, 1e-6, 0.0, 0.0), "watch", "held-out-lower"),
    ],
)
def test_held_out_scores(ranks: Ranks, found: str, reason: str | None) -> None:
    told = verdict(replace(HONEST, ranks=ranks))
    assert told[0] == found
    assert told[1] == ([] if reason is None else [reason])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"claimed": 1e7, "counted": 60.0}, "claims-images"),
        ({"copied": 790, "copied_from": "b"}, "copied-rows"),
        ({"chosen": 3, "others_chosen": 1997}, "needless-rows"),
    ],
)
def test_what_it_says_and_sends(changes: dict[str, Any], reason: str) -> None:
    found, reasons, _ = verdict(**changes)
    assert (found, reasons) == ("watch", [reason])


def test_the_gravest_stands_first_and_the_rest_is_counted() -> None:
    found, reasons, sentence = verdict(replace(GARBAGE, hidden=20, hidden_besides=9), claimed=1e7)
    assert found == "quarantine"
    assert reasons == ["hides-defects", "rows-of-no-good-part", "claims-images"]
    assert sentence.endswith("(and 1 more)")


# ------------------------------------------------------------------- the numbers themselves


def place(scores: list[list[float]], without: list[Any], nearest: list[int]) -> Place:
    """Held-out, good and defective images, by three owners."""
    told = {kind: np.array(values) for kind, values in zip(KINDS, scores, strict=True)}
    rows = {k: np.reshape(np.array(v, float), (-1, 3)) for k, v in zip(KINDS, without, strict=True)}
    return Place(told, OwnerScores(rows, np.array(nearest)))


PLACES = {
    "a": place([[1], [0.8], [5]], [[1, 1, 2], [0.8, 0.9, 0.8], [5, 5, 8]], [60, 30, 10]),
    "b": place([[1.2], [], [4, 6]], [[1.2, 1.5, 1.2], [], [[4, 4, 4], [6, 6, 9]]], [50, 40, 10]),
    "c": place([[3], [2], []], [[3, 3, 6], [2, 2, 3], []], [30, 30, 40]),
}
ROWS = np.array(["a"] * 5 + ["b"] * 3 + ["c"] * 2)


def test_numbers_worked_by_hand() -> None:
    own = category_numbers("c", PLACES, ("a", "b", "c"), ROWS, None, 0.05)
    assert (own.rows, own.holders, own.share) == (2, 3, 0.2)
    # 20 of the others' 200 patches are nearest to a fifth of the rows: half of that share.
    assert own.used == pytest.approx(0.5)  # at a, and at b
    assert own.used_by_itself == pytest.approx(2.0)
    assert own.expected == pytest.approx(40.0)
    # Held out: 1 becomes 2, 1.2 stays.
    assert own.rise_others == Rise(2, 0.5, 1.0)
    assert own.rise_own == Rise(1, 1.0, 1.0)
    # Defects: 5 becomes 8, 4 stays, 6 becomes 9.
    assert own.rise_defects == Rise(3, pytest.approx(0.5), pytest.approx(0.6))
    # Good ones rise as much (90 % quantile 0.8), so nothing is hidden.
    assert (own.hidden, own.hidden_besides) == (0, 0)
    assert own.ranks is not None
    assert (own.ranks.images, own.ranks.others, own.ranks.higher) == (1, 2, 1.0)
    assert own.ranks.ratio == pytest.approx(3.0 / 1.1)
    # Two are left: their pooled threshold is the higher of both, 1.2; without c's rows it is 2.
    assert (own.threshold_without_scores, own.threshold_without) == (1.2, 2.0)
    assert own.ranks.above_threshold == 1.0
    assert own.rates_others is not None
    assert (own.rates_others.defective, own.rates_others.found_without) == (3, 3)
    a = category_numbers("a", PLACES, ("a", "b", "c"), ROWS, None, 0.05)
    assert a.rise_others == Rise(2, 0.0, 0.0)
    assert a.used == pytest.approx((50 + 30) / 2 / 100 / 0.5)
    # And if c's rows left good parts where they are, its defects would be hidden at two stations.
    kept = {
        name: replace(own, without=replace(own.without, scores=told))
        for name, own in PLACES.items()
        if own.without is not None
        and (told := {**own.without.scores, "held-out": own.scores["held-out"][:, None] * ONES,
                      "good": own.scores["good"][:, None] * ONES})
    }  # fmt: skip
    own = category_numbers("c", kept, ("a", "b", "c"), ROWS, None, 0.05)
    assert (own.hidden, own.hidden_besides) == (2, 1)


ONES = np.ones((1, 3))


def test_a_hundred_thousand_scores_of_one_are_no_more_than_those_of_the_others() -> None:
    liar = Place({"held-out": np.zeros(100_000), "good": np.zeros(0), "defective": np.zeros(0)})
    scores = {"held-out": np.array([1.0, 1.1, 1.2, 1.3]), "good": np.zeros(0)}
    honest = Place({**scores, "defective": np.zeros(0)})
    places = {"liar": liar, "a": honest, "b": honest, "c": honest}
    own = category_numbers("a", places, (), np.array(["a", "b", "c"]), None, 0.05)
    assert own.ranks is not None
    assert own.ranks.others == 20 + 8
    assert verdict(replace(HONEST, ranks=own.ranks))[0] == "fits"
    false = category_numbers("liar", places, (), np.array(["a", "b", "c"]), None, 0.05)
    assert verdict(replace(HONEST, ranks=false.ranks))[1] == ["held-out-lower"]


def test_who_brought_no_row_changes_nothing_but_by_its_word() -> None:
    rows = np.array(["a"] * 5 + ["b"] * 3)
    told = {name: replace_columns(own) for name, own in PLACES.items()}
    own = category_numbers("c", told, ("a", "b"), rows, None, 0.05)
    assert (own.rows, own.used, own.rise_others) == (0, None, None)
    assert own.threshold_without == own.threshold_without_scores == 1.2


def replace_columns(own: Place) -> Place:
    assert own.without is not None
    rows = {kind: array[:, :2] for kind, array in own.without.scores.items()}
    return Place(own.scores, OwnerScores(rows, own.without.nearest[:2]))


@given(st.integers(0, 10**6), st.integers(3, 6))
def test_support_is_the_distance_from_everybody_else(seed: int, stations: int) -> None:
    """Against every pair, and the same whatever the names."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((40, 5)).astype(np.float16)
    owners = np.concatenate([np.arange(stations), rng.integers(0, stations, 40 - stations)])
    found = supports(rows, owners.astype(str), FULL)
    exact = rows.astype(np.float64)
    apart = np.array([
        min(np.linalg.norm(exact[i] - exact[j]) for j in range(40) if owners[j] != owners[i])
        for i in range(40)
    ])  # fmt: skip
    for station in range(stations):
        own = owners == station
        expected = np.median(apart[own]) / np.median(apart[~own])
        assert found[str(station)].median == pytest.approx(expected)
        assert found[str(station)].measured == own.sum()


def test_of_two_stations_there_is_no_support_and_of_many_rows_some_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = np.random.default_rng(0).standard_normal((900, 4)).astype(np.float32)
    assert supports(rows, np.array(["a", "b"] * 450), FULL) == {}
    monkeypatch.setattr("server_app.influence.support.MOST_WORK", 900 * 4 * 90)
    found = supports(rows, np.array(["a", "b", "c"] * 300), FULL)
    assert {own.measured for own in found.values()} == {50}

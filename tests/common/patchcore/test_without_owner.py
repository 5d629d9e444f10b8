"""Scores without one owner's rows against those of a bank that never had them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.patchcore import AnomalyScorer, MemoryBank
from common.patchcore.owned_bank import OwnedBank

SIZES = st.tuples(st.integers(33, 90), st.integers(33, 90))


@settings(max_examples=40, deadline=None)
@given(
    by=st.sampled_from(["max", "99.5", "50", "top-1", "top-30"]),
    stations=st.integers(2, 5),
    size=SIZES,
    image_size=st.sampled_from([0, 48]),
    seed=st.integers(0, 2**16),
)
def test_they_are_the_scores_of_a_bank_without_these_rows(
    by: str, stations: int, size: tuple[int, int], image_size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((30, 6)).astype(np.float32)
    owners = np.concatenate([np.arange(stations), rng.integers(0, stations, 30 - stations)])
    features = rng.standard_normal((5, 7, 6)).astype(np.float32)
    bank = MemoryBank(rows)
    scorer = AnomalyScorer(bank, image_size, by, OwnedBank(rows, owners))
    evidence = scorer.evidence(features, size)
    plain = AnomalyScorer(bank, image_size, by)
    score = plain.image_score(plain.evidence(features, size))
    # With all rows nothing changes by a bit, whoever brought them.
    np.testing.assert_array_equal(evidence.anomaly_map, plain.evidence(features, size).anomaly_map)
    assert scorer.image_score(evidence) == score
    found = scorer.scores_without(evidence, score)
    assert found is not None
    for owner in range(stations):
        less = AnomalyScorer(MemoryBank(rows[owners != owner]), image_size, by)
        expected = less.image_score(less.evidence(features, size))
        assert found[owner] == pytest.approx(expected, rel=1e-5)
    assert (found >= score).all()
    assert found[~np.isin(np.arange(stations), evidence.owners)] == pytest.approx(score, abs=0)


def test_reweighted_goes_by_the_farthest_patch() -> None:
    """Rows at 0 (station a) and 5 (b), a patch at 1: without a it lies 4 away instead of 1."""
    rows = np.array([[0], [5], [20]], dtype=np.float32)
    scorer = AnomalyScorer(MemoryBank(rows), 0, "reweighted", OwnedBank(rows, np.array([3, 8, 8])))
    evidence = scorer.evidence(np.ones((1, 1, 1), dtype=np.float32), (8, 8))
    score = scorer.image_score(evidence)
    found = scorer.scores_without(evidence, score)
    assert found is not None
    assert found.tolist() == [4 * score, score]


def test_of_one_owner_nothing_is_left_to_compare() -> None:
    rows = np.zeros((2, 1), dtype=np.float32)
    scorer = AnomalyScorer(MemoryBank(rows), owned=OwnedBank(rows, np.array([4, 4])))
    evidence = scorer.evidence(np.ones((1, 1, 1), dtype=np.float32), (8, 8))
    assert scorer.scores_without(evidence, 1.0) is None
    assert AnomalyScorer(MemoryBank(rows)).scores_without(evidence, 1.0) is None

"""Image-level metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from common.evaluation.image_scores import auc_roc, average_precision, tpr_at_tnr

# Few distinct scores make ties; the floats in between make none.
pairs = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 1.0, 1.5, -2.0]) | st.floats(-1e6, 1e6)),
    min_size=2,
    max_size=60,
).filter(lambda items: len({label for label, _ in items}) == 2)


@settings(max_examples=200, deadline=None)
@given(pairs, st.floats(0, 1))
def test_equal_to_scikit_learn(items, tnr):
    labels = np.array([label for label, _ in items], dtype=int)
    scores = np.array([score for _, score in items])
    assert auc_roc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert tpr_at_tnr(labels, scores, tnr) == pytest.approx(tpr[fpr <= 1 - tnr + 1e-9].max())


@given(pairs)
def test_unchanged_by_order_and_flipped_by_negation(items):
    labels = np.array([label for label, _ in items], dtype=int)
    scores = np.array([score for _, score in items])
    value = auc_roc(labels, scores)
    assert auc_roc(labels, -scores) == pytest.approx(1 - value, abs=1e-12)
    ranks = np.unique(scores, return_inverse=True)[1]
    assert auc_roc(labels, ranks) == value
    assert average_precision(labels, ranks) == average_precision(labels, scores)


def test_constant_scores():
    labels = [0, 0, 0, 1]
    assert auc_roc(labels, [2.0] * 4) == 0.5
    assert average_precision(labels, [2.0] * 4) == 0.25
    assert tpr_at_tnr(labels, [2.0] * 4, 0.9) == 0.0
    assert tpr_at_tnr(labels, [2.0] * 4, 0.0) == 1.0


def test_one_of_ten_may_fail_at_ninety_per_cent():
    scores = [*range(10), 8.5]
    assert tpr_at_tnr([0] * 10 + [1], scores, 0.9) == 1.0
    assert tpr_at_tnr([0] * 10 + [1], scores, 0.91) == 0.0


@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [
        ([1, 1], [1.0, 2.0], "no good images"),
        ([0, 0], [1.0, 2.0], "no defective images"),
        ([], [], "no defective images"),
        ([0, 1], [1.0, np.nan], "not finite"),
        ([0, 2], [1.0, 2.0], "neither 0 nor 1"),
        ([0, 1], [1.0], "one label and one score"),
    ],
)
def test_refuses(labels, scores, reason):
    for metric in (auc_roc, average_precision):
        with pytest.raises(ValueError, match=reason):
            metric(labels, scores)
    with pytest.raises(ValueError, match="between 0 and 1"):
        tpr_at_tnr([0, 1], [0.0, 1.0], 1.5)

"""Exact evaluation against the definition; merged counts against the exact evaluation."""

from __future__ import annotations

import evaluation_twin as twin
import numpy as np
import pytest
from evaluation_cases import make_shots, shots_strategy
from evaluation_twin import Shot, add_all
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data.regions import Region
from common.evaluation.curve import FPR_LIMITS
from common.evaluation.exact import ExactEvaluation
from common.evaluation.mergeable.counts import EvaluationCounts
from common.evaluation.normal_scores import NormalScores


def scopes(result):
    """Every scope of a result with the types that it covers (None: all)."""
    yield None, result.overall
    for name, scope in result.per_defect_type.items():
        yield {name}, scope
    for kind, scope in result.per_anomaly_kind.items():
        yield {name for name, its_kind in result.kinds.items() if its_kind == kind}, scope


@settings(max_examples=60, deadline=None)
@given(shots_strategy)
def test_exact_equals_the_definition_and_counts_keep_their_bound(shots):
    exact = add_all(ExactEvaluation(), shots).compute(kinds={"scratch": "structural"})
    merged = add_all(EvaluationCounts(), shots).compute(kinds={"scratch": "structural"})
    for (types, slow_scope), (_, scope) in zip(scopes(exact), scopes(merged), strict=True):
        assert scope.counts == slow_scope.counts
        assert scope.not_computed == slow_scope.not_computed
        assert (scope.auc_roc, scope.tpr_at_tnr) == (slow_scope.auc_roc, slow_scope.tpr_at_tnr)
        regions = [
            region
            for shot in shots
            for region in shot.regions or []
            if types is None or region.defect_type in types
        ]
        normal = sum(
            int(twin.normal_mask(shot).sum()) for shot in shots if twin.in_scope(shot, types)
        )
        assert (scope.counts["regions"], scope.counts["normal_pixels"]) == (len(regions), normal)
        if not regions or not normal:
            assert "localization.auc_spro" in scope.not_computed
            assert scope.auc_spro == {}
            assert scope.pixel_auc_roc is None
            continue
        points = twin.curve(shots, types)
        for limit in FPR_LIMITS:
            expected = twin.auc_spro(points, limit)
            assert slow_scope.auc_spro[limit] == pytest.approx(expected, abs=1e-9)
            assert abs(scope.auc_spro[limit] - expected) <= scope.auc_error_bound[limit]
            assert slow_scope.auc_error_bound[limit] == 0
        pixel = twin.pixel_auc_roc(shots, types)
        assert slow_scope.pixel_auc_roc == pytest.approx(pixel, abs=1e-12)
        assert abs(scope.pixel_auc_roc - pixel) <= scope.pixel_auc_roc_error_bound


def test_worked_example():
    # Region scores 4, 3, 1 with saturation area 2: the 4 and the 3 count one half each.
    # Normal scores 5, 3, 2, 1. Thresholds 4 -> FPR 1/4, sPRO 0; 3 -> 1/4, 1/2; 2 -> 2/4, 1.
    # Area: 0 up to 1/4, then the ramp (1/2 + 1)/2 * 1/4 = 0.1875, then 1 * 1/2: 0.6875.
    # At limit 0.3: the ramp from 0.25 to 0.3 ends at 0.5 + 0.5 * 0.2 = 0.6: 0.0275 / 0.3.
    mask = np.array([[1, 1, 1, 0, 0, 0, 0]], dtype=bool)
    shot = Shot(
        np.array([[4, 3, 1, 5, 3, 2, 1]], dtype=np.float32),
        [Region(mask, "missing", 2)],
        1,
        5.0,
        "missing",
    )
    result = add_all(ExactEvaluation(), [shot]).compute().overall
    assert result.auc_spro[1.0] == pytest.approx(0.6875, abs=1e-15)
    assert result.auc_spro[0.3] == pytest.approx(0.0275 / 0.3, abs=1e-15)
    # 4 beats three of four, 3 beats two and ties one, 1 ties one: (3 + 2.5 + 0.5) / 12.
    assert result.pixel_auc_roc == pytest.approx(0.5, abs=1e-15)
    assert result.not_computed["classification.auc_roc"] == "no good images"
    assert "classification.auc_roc" in result.not_computed
    assert result.curve.fpr[0] == 0
    assert result.curve.fpr[-1] == 1
    assert result.curve.mean_spro[list(result.curve.fpr).index(0.3)] == pytest.approx(0.6)


def test_what_is_absent_says_why():
    good = make_shots(1, 3, 0, "smooth")
    result = add_all(ExactEvaluation(), good).compute().overall
    assert result.not_computed["localization.auc_spro"] == "no defect regions"
    assert result.not_computed["classification.auc_roc"] == "no defective images"
    without = make_shots(1, 2, 2, "smooth", masks=False)
    result = add_all(EvaluationCounts(), without).compute()
    assert result.overall.not_computed["localization.auc_spro"] == "no image has defect masks"
    assert result.overall.counts["images_without_masks"] == 4
    assert result.overall.auc_roc is not None
    assert sorted(result.per_defect_type) == sorted({shot.defect_type for shot in without[2:]})
    nothing = EvaluationCounts().compute().overall
    assert nothing.not_computed["localization.auc_spro"] == "no test images"
    everything = Region(np.ones((2, 3), dtype=bool), "missing", 6)
    full = Shot(np.ones((2, 3), dtype=np.float32), [everything], 1, 1.0, "missing")
    result = add_all(ExactEvaluation(), [full]).compute().overall
    reason = "no pixel lies outside the defect regions"
    assert result.not_computed["localization.pixel_auc_roc"] == reason


@pytest.mark.parametrize("evaluation", [ExactEvaluation, EvaluationCounts])
def test_unusable_images_are_refused_and_leave_no_trace(evaluation):
    ones = np.ones((2, 3), dtype=np.float32)
    region = Region(np.ones((2, 3), dtype=bool), "missing", 6)
    subject = evaluation()

    def refused(match, anomaly_map=ones, regions=(), label=1, score=1.0, defect_type="missing"):
        with pytest.raises(ValueError, match=match):
            subject.update(anomaly_map, regions, label=label, score=score, defect_type=defect_type)

    refused("not finite", anomaly_map=ones * np.nan)
    refused("not finite", anomaly_map=ones * np.inf)
    refused("expected \\(height, width\\)", anomaly_map=ones[0])
    refused("finite number", score=float("nan"))
    refused("labelled good has 1", regions=[region], label=0)
    refused("expected 0", label=2)
    refused("without a defect type", defect_type="")
    refused("a mask has shape", anomaly_map=ones.T, regions=[region])
    refused("has no pixel", regions=[Region(np.zeros((2, 3), dtype=bool), "missing", 1)])
    refused("saturation area is 0", regions=[Region(region.mask, "missing", 0)])
    assert subject.compute().overall.counts["images"] == 0


def test_block_size_does_not_change_the_result(monkeypatch):
    shots = make_shots(3, 3, 4, "ties")
    at_once = add_all(ExactEvaluation(), shots).compute().overall
    monkeypatch.setattr("common.evaluation.normal_scores.BLOCK_SIZE", 10)
    in_blocks = add_all(ExactEvaluation(), shots).compute().overall
    assert in_blocks.counts["normal_pixels"] > 20
    assert in_blocks.auc_spro == at_once.auc_spro


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_counting_between_additions_equals_searchsorted(seed):
    rng = np.random.default_rng(seed)
    held, everything = NormalScores(), np.empty(0, np.float32)
    for _ in range(4):
        more = rng.integers(0, 30, rng.integers(0, 40)).astype(np.float32)
        chosen = rng.random(more.size) < 0.7
        held.add(more, chosen)
        held.add(more)
        more = np.concatenate([more[chosen], more])
        everything = np.sort(np.concatenate([everything, more]))
        levels = np.unique(rng.integers(-5, 40, rng.integers(1, 12)).astype(np.float32))
        below, not_above = np.ones(levels.size, np.int64), np.zeros(levels.size, np.int64)
        held.count_below(levels, below, not_above)
        np.testing.assert_array_equal(below - 1, np.searchsorted(everything, levels))
        np.testing.assert_array_equal(not_above, np.searchsorted(everything, levels, side="right"))
    assert held.size == everything.size


def test_a_map_that_is_changed_later_does_no_harm():
    shots = make_shots(3, 2, 3, "smooth")
    evaluation = add_all(ExactEvaluation(), shots)
    expected = add_all(ExactEvaluation(), make_shots(3, 2, 3, "smooth")).compute()
    for shot in shots:
        shot.anomaly_map[:] = 0
    assert evaluation.compute().overall.auc_spro == expected.overall.auc_spro


def test_scores_whose_sum_overflows_are_finite():
    huge = Shot(np.full((2, 3), 3e38, dtype=np.float32), [], 0, 3e38, "good")
    assert add_all(EvaluationCounts(), [huge]).compute().overall.counts["normal_pixels"] == 6


@settings(max_examples=20, deadline=None)
@given(shots_strategy)
def test_without_breakdown_the_whole_category_is_the_same(shots):
    for kind in (ExactEvaluation, EvaluationCounts):
        evaluation = add_all(kind(), shots)
        whole, alone = evaluation.compute(), evaluation.compute(breakdown=False)
        assert alone.overall.auc_spro == whole.overall.auc_spro
        assert alone.overall.auc_roc == whole.overall.auc_roc
        assert (alone.per_defect_type, alone.per_anomaly_kind) == ({}, {})

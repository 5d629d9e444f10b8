"""From surveys to banks, weights and budgets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_cases import settings, survey

from common.protocol.messages import part_of_rows
from server_app import plan as plan_module
from server_app.plan import make_plan, parts_needed


def test_shared_bank_worked_by_hand() -> None:
    surveys = {
        "b": survey("b", {"clip": (30, 3000)}),
        "a": survey("a", {"screw": (6, 600), "clip": (4, 400)}),
        "c": survey("c", {"screw": (0, 0)}),
    }
    bank = make_plan(surveys, settings(global_bank_size=100)).banks["shared"]
    # 10 : 30 : 0 images -> 0.25, 0.75, 0. Budgets 2 x 100 x 0.25 = 50 and 150; ten per cent of
    # the patches allow 100 and 300.
    assert bank.stations == ("a", "b", "c")
    np.testing.assert_array_equal(bank.weights, [0.25, 0.75, 0.0])
    assert bank.patches == (1000, 3000, 0)
    assert bank.budgets == {"a": 50, "b": 150}
    assert bank.size == 100
    assert bank.patches_of("b") == 3000


def test_equal_weights_count_stations_not_images() -> None:
    surveys = {"a": survey("a", {"clip": (1, 9000)}), "b": survey("b", {"clip": (99, 9000)})}
    equal = make_plan(surveys, settings(weighted_by_samples=False, global_bank_size=100))
    # 2 x 100 x 1/2 each.
    assert equal.banks["shared"].budgets == {"a": 100, "b": 100}


def test_category_banks_share_the_size_by_training_images() -> None:
    surveys = {
        "a": survey("a", {"clip": (30, 3000), "wire": (0, 0)}),
        "b": survey("b", {"clip": (30, 3000), "screw": (20, 2000)}),
    }
    plan = make_plan(surveys, settings(global_bank_size=82, bank_scope="category"))
    # Nobody trains on wire: no bank. One row each, the other 80 by 60 : 20 images.
    assert {name: bank.size for name, bank in plan.banks.items()} == {"clip": 61, "screw": 21}
    # clip: 2 x 61 x 1/2 = 61 each; screw: 2 x 21 x 1 = 42.
    assert plan.budgets_of("a") == {"clip": 61}
    assert plan.budgets_of("b") == {"clip": 61, "screw": 42}
    assert plan.budgets_of("nobody") == {}


def test_every_category_gets_a_row_even_if_the_bank_is_smaller_than_that() -> None:
    surveys = {"a": survey("a", dict.fromkeys(("x", "y", "z"), (5, 500)))}
    plan = make_plan(surveys, settings(global_bank_size=2, bank_scope="category"))
    assert [bank.size for bank in plan.banks.values()] == [1, 1, 1]


def test_without_training_images_there_is_no_bank() -> None:
    assert make_plan({"a": survey("a", {"clip": (0, 0)})}, settings()).banks == {}


@given(
    images=st.dictionaries(
        st.sampled_from(["a", "b", "c", "d"]),
        st.dictionaries(st.sampled_from(["x", "y", "z"]), st.integers(0, 50), min_size=1),
        min_size=1,
    ),
    size=st.integers(3, 400),
    scope=st.sampled_from(["shared", "category"]),
)
def test_sizes_add_up_and_the_order_of_stations_changes_nothing(
    images: dict[str, dict[str, int]], size: int, scope: str
) -> None:
    surveys = {
        name: survey(name, {category: (n, 36 * n) for category, n in own.items()})
        for name, own in images.items()
    }
    chosen = settings(global_bank_size=size, bank_scope=scope)
    plan = make_plan(surveys, chosen)
    if any(n for own in images.values() for n in own.values()):
        assert sum(bank.size for bank in plan.banks.values()) == size
    reordered = make_plan(dict(reversed(surveys.items())), chosen)
    assert list(reordered.banks) == list(plan.banks)
    for name, bank in plan.banks.items():
        other = reordered.banks[name]
        assert (other.stations, other.budgets, other.patches) == (
            bank.stations,
            bank.budgets,
            bank.patches,
        )
        np.testing.assert_array_equal(other.weights, bank.weights)


def test_parts_of_a_message() -> None:
    # 200 MB / (1536 x 2 bytes) = 65,104.2 rows.
    assert parts_needed(65_104, 1536, "float16") == 1
    assert parts_needed(65_105, 1536, "float16") == 2
    assert parts_needed(65_105, 1536, "float32") == 3  # 400.005 MB
    assert parts_needed(0, 1536, "float16") == 1


@given(rows=st.integers(0, 5000), dim=st.integers(1, 64), limit=st.integers(256, 4000))
def test_parts_hold_every_row_once_and_no_part_is_much_above_the_limit(
    rows: int, dim: int, limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "PART_BYTES", limit)
        parts = parts_needed(rows, dim, "float16")
    pieces = [part_of_rows(range(rows), part, parts) for part in range(parts)]
    assert [row for piece in pieces for row in piece] == list(range(rows))
    # Nearly equal parts: rounding adds at most one row.
    assert max(len(piece) for piece in pieces) * dim * 2 <= limit + dim * 2

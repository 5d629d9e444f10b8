"""From surveys to banks, weights and budgets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_cases import settings, survey

from common.protocol.messages import part_of_rows
from server_app import plan as plan_module
from server_app.plan import make_plan, parts_needed, sizes_at_hand


def test_shared_bank_worked_by_hand() -> None:
    surveys = {
        "b": survey("b", {"clip": (30, 3000)}),
        "a": survey("a", {"screw": (6, 600), "clip": (4, 400)}),
        "c": survey("c", {"screw": (0, 0)}),
    }
    plan = make_plan(surveys, settings(global_bank_size=102, bank_scope="shared"))
    clip, screw = plan.banks["clip"], plan.banks["screw"]
    # One row each, the other 100 by 34 : 6 images: 85 and 15.
    assert (clip.size, screw.size) == (86, 16)
    assert clip.stations == ("a", "b")
    np.testing.assert_array_equal(clip.weights, [4 / 34, 30 / 34])
    assert clip.patches == (400, 3000)
    # 2 x 86 x 4/34 = 20.2 and 2 x 86 x 30/34 = 151.8; a tenth of the patches allows 40 and 300.
    assert clip.budgets == {"a": 21, "b": 152}
    assert clip.patches_of("b") == 3000
    # 2 x 16 x 1 of at most 60; nothing of a station without a training image.
    assert screw.stations == ("a", "c")
    np.testing.assert_array_equal(screw.weights, [1.0, 0.0])
    assert screw.budgets == {"a": 32}
    assert plan.budgets_of("a") == {"clip": 21, "screw": 32}


def test_what_a_part_cannot_fill_of_a_shared_bank_goes_to_the_others() -> None:
    surveys = {
        "a": survey("a", {"clip": (10, 200), "screw": (10, 5000)}),
        "b": survey("b", {"clip": (10, 200)}),
    }
    # A tenth of clip's patches is 20 + 20 rows, below its 134 of 200.
    plan = make_plan(surveys, settings(global_bank_size=200, bank_scope="shared"))
    assert {name: bank.size for name, bank in plan.banks.items()} == {"clip": 40, "screw": 160}
    # With a bank of its own nobody else could use them.
    own = make_plan(surveys, settings(global_bank_size=200, bank_scope="category"))
    assert {name: bank.size for name, bank in own.banks.items()} == {"clip": 133, "screw": 67}


@given(
    images=st.dictionaries(st.sampled_from("xyz"), st.integers(1, 30), min_size=1),
    size=st.integers(1, 200),
    came=st.dictionaries(st.sampled_from("xyz"), st.integers(0, 300)),
)
def test_sizes_of_what_came_are_the_planned_ones_if_all_came(
    images: dict[str, int], size: int, came: dict[str, int]
) -> None:
    surveys = {"a": survey("a", {name: (n, 500 * n) for name, n in images.items()})}
    for scope in ("shared", "category"):
        chosen = settings(global_bank_size=size, bank_scope=scope)
        plan = make_plan(surveys, chosen)
        planned = {name: bank.size for name, bank in plan.banks.items()}
        assert sizes_at_hand(plan, planned, chosen) == planned
        assert sizes_at_hand(plan, {}, chosen) == planned
        found = sizes_at_hand(plan, came, chosen)
        if scope == "category":
            assert found == planned
            continue
        # No row that came is left out while another category has fewer than the bank has room for.
        there = {name: rows for name, rows in came.items() if rows and name in planned}
        taken = sum(min(found[name], rows) for name, rows in there.items())
        if there:
            assert taken == min(max(sum(planned.values()), len(there)), sum(there.values()))


def test_equal_weights_count_stations_not_images() -> None:
    surveys = {"a": survey("a", {"clip": (1, 9000)}), "b": survey("b", {"clip": (99, 9000)})}
    equal = make_plan(surveys, settings(weighted_by_samples=False, global_bank_size=100))
    # 2 x 100 x 1/2 each.
    assert equal.banks["clip"].budgets == {"a": 100, "b": 100}


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

"""Whose word counts for how many images: worked by hand, as properties, and in a plan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_cases import settings, survey

from common.errors import InputError
from common.plant.server.allowances import Allowance, read_allowances
from server_app.counted import capped, counted_images
from server_app.plan import make_plan


@given(
    counts=st.lists(st.floats(1, 1e9), min_size=3, max_size=8),
    share=st.sampled_from([0.2, 0.34, 0.5, 0.8, 1.0]),
)
def test_nobody_has_more_than_the_share_and_nobody_is_cut_for_nothing(
    counts: list[float], share: float
) -> None:
    before = np.array(counts)
    after = capped(before, share)
    limit = max(share, 1 / len(counts))
    assert (after <= before).all()
    assert after.max() <= limit * after.sum() * (1 + 1e-9)
    if before.max() <= share * before.sum():
        np.testing.assert_array_equal(after, before)
    # Whoever is cut is cut to the same.
    cut = after < before
    if cut.any():
        np.testing.assert_allclose(after[cut], after[cut][0])
        assert (before[~cut] <= after[cut][0] * (1 + 1e-9)).all()


def test_ten_million_images_count_as_half_at_most() -> None:
    """Wrongly believed: they had the whole bank, and the others were blind to their parts."""
    honest = {name: survey(name, {"clip": (40, 400)}) for name in "abcd"}
    said = {**honest, "liar": survey("liar", {"clip": (10_000_000, 40_000_000)})}
    counted = counted_images(said, 0.5)
    assert counted.images["liar"] == {"clip": pytest.approx(160)}
    assert [counted.images[name] for name in "abcd"] == [{"clip": 40.0}] * 4
    (cut,) = counted.cuts
    assert cut == (
        "liar counts for 160 of the 10000000 training images that it says it has: "
        "max-station-share is 50 % of clip"
    )
    plan = make_plan(said, settings(global_bank_size=200, local_coreset_ratio=1.0))
    np.testing.assert_allclose(plan.banks["clip"].weights, [0.125] * 4 + [0.5])


def test_a_giant_in_one_part_does_not_starve_the_others() -> None:
    parts = {"clip": (40, 4000), "nut": (40, 4000), "pipe": (40, 4000)}
    said = {name: survey(name, parts) for name in "abc"}
    said["liar"] = survey("liar", {**parts, "nut": (10_000_000, 40_000_000)})
    plan = make_plan(said, settings(global_bank_size=400, local_coreset_ratio=1.0))
    sizes = {name: bank.size for name, bank in plan.banks.items()}
    assert sizes["nut"] <= 0.5 * 400
    assert min(sizes.values()) >= 0.25 * 400


@given(
    claims=st.lists(
        st.dictionaries(st.sampled_from("cdn"), st.integers(1, 100_000), min_size=1),
        min_size=3,
        max_size=6,
    )
)
def test_no_word_has_more_than_half_of_a_part_that_three_hold(
    claims: list[dict[str, int]],
) -> None:
    """Wrongly counted: a large station cut in all its parts left 85 % of one to a liar."""
    said = {
        f"s{i}": survey(f"s{i}", {c: (n, 10 * n) for c, n in own.items()})
        for i, own in enumerate(claims)
    }
    counted = counted_images(said, 0.5)
    for category in "cdn":
        own = [o[category] for o in counted.images.values() if o.get(category)]
        if len(own) >= 3:
            assert max(own) <= 0.5 * sum(own) * (1 + 1e-9)
    assert max(counted.stations.values()) <= 0.5 * sum(counted.stations.values()) * (1 + 1e-9)
    assert sum(counted.totals.values()) == pytest.approx(sum(counted.stations.values()))


def test_a_large_station_keeps_its_weight_in_a_part_of_many() -> None:
    said = {
        "big": survey("big", {"c": (1000, 90_000), "d": (5000, 90_000)}),
        "small": survey("small", {"c": (200, 90_000)}),
        "liar": survey("liar", {"c": (1000, 90_000)}),
    }
    plan = make_plan(said, settings(global_bank_size=1000))
    weights = dict(zip(plan.banks["c"].stations, plan.banks["c"].weights, strict=True))
    assert weights["liar"] == pytest.approx(1000 / 2200)
    assert weights["big"] == pytest.approx(1000 / 2200)


def test_two_stations_are_believed_and_three_are_capped() -> None:
    two = {"a": survey("a", {"clip": (90, 900)}), "b": survey("b", {"clip": (10, 100)})}
    assert counted_images(two, 0.5).cuts == []
    three = {**two, "c": survey("c", {"clip": (10, 100)})}
    assert counted_images(three, 0.5).images["a"] == {"clip": pytest.approx(20)}
    assert counted_images(three, 1.0).cuts == []
    # A part that only two of them hold is theirs.
    apart = {**two, "c": survey("c", {"nut": (100, 1000)})}
    assert counted_images(apart, 0.5).cuts == []


def test_honest_plants_are_not_cut() -> None:
    # AutoVI's largest station has 0.32 of the images.
    images = (491, 360, 300, 200, 172)
    said = {f"s{i}": survey(f"s{i}", {f"part{i}": (n, 10 * n)}) for i, n in enumerate(images)}
    assert counted_images(said, 0.5).cuts == []


def test_a_registered_number_counts_before_any_word() -> None:
    said = {n: survey(n, {"clip": (40, 400), "nut": (10, 100)}) for n in "abc"}
    counted = counted_images(said, 0.5, {"a": Allowance(25, "25 are registered")})
    assert counted.images["a"] == {"clip": 20.0, "nut": 5.0}
    assert counted.cuts == [
        "a counts for 25 of the 50 training images that it says it has: 25 are registered"
    ]
    assert counted_images(said, 0.5, {"a": Allowance(50, ""), "gone": Allowance(1, "")}).cuts == []


# --------------------------------------------------------------- what is known beforehand


def run(runs: Path, name: str, status: str = "completed", **stations: dict[str, object]) -> None:
    folder = runs / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"status": status}))
    told = [{"name": n, "rows_chosen": 5, **own} for n, own in stations.items()]
    (folder / "contributions.json").write_text(json.dumps({"stations": told}))


def test_what_earlier_runs_counted_allows_twice_as_much(tmp_path: Path) -> None:
    run(tmp_path, "1", a={"images": 30}, b={"images": 10})
    run(tmp_path, "2", a={"images": 9_000_000, "images_counted": 40.0})
    run(tmp_path, "3", a={"images": 999, "rows_chosen": 0}, c={"images": 0})
    run(tmp_path, "5", "failed", a={"images": 5000})
    run(tmp_path, "6", "running", a={"images": 5000})
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "contributions.json").write_text("half a fi")
    found = read_allowances(tmp_path / "none", tmp_path)
    assert {name: one.images for name, one in found.items()} == {"a": 80, "b": 20}
    assert found["a"].why.startswith("2 x 40 of its largest earlier run")


def test_what_is_registered_stands_above_earlier_runs(tmp_path: Path) -> None:
    run(tmp_path / "runs", "1", a={"images": 30})
    (tmp_path / "images.toml").write_text("a = 500\n")
    found = read_allowances(tmp_path, tmp_path / "runs")
    assert found == {"a": Allowance(500, "500 are registered (`fedpatchcore keys --images`)")}


@pytest.mark.parametrize("text", ["a = 0", "a = true", "a = '5'", "a = 5.5", "a ="])
def test_a_file_of_registered_numbers_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "images.toml").write_text(text)
    with pytest.raises(InputError, match=r"images\.toml: (a is|is no TOML)"):
        read_allowances(tmp_path, tmp_path)


def test_without_a_plant_there_is_nothing_to_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDPATCHCORE_STATIONS", raising=False)
    monkeypatch.delenv("FEDPATCHCORE_RUNS", raising=False)
    assert read_allowances() == {}

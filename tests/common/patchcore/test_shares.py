"""The rows of a shared bank, divided among its categories."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config import Settings
from common.errors import InputError
from common.patchcore import FeatureExtractor, PatchCore
from common.patchcore.shares import Share, fair_sizes, pooled

categories = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=6
)  # images, most rows


def test_sizes_worked_by_hand() -> None:
    # One row each; 80 more by 60 : 20 images.
    assert fair_sizes(82, [60, 20], [1000, 1000]) == [61, 21]
    # The first can fill 11: the other 50 of its share go to the second.
    assert fair_sizes(82, [60, 20], [11, 1000]) == [11, 71]
    # Nobody can fill 60 of 82 rows: divided 45 : 15 all the same, as a plan must add up.
    assert fair_sizes(82, [60, 20], [11, 11]) == [56, 26]
    assert fair_sizes(2, [5, 5, 5], [9, 9, 9]) == [1, 1, 1]
    assert fair_sizes(0, [5], [9]) == [1]


@given(categories, st.integers(0, 300))
def test_sizes_add_up_and_nobody_waits_for_a_row_that_another_cannot_use(
    held: list[tuple[int, int]], total: int
) -> None:
    images, limits = [float(one) for one, _ in held], [limit for _, limit in held]
    sizes = fair_sizes(total, images, limits)
    assert sum(sizes) == max(total, len(held))
    assert min(sizes) >= 1
    if sum(limits) >= sum(sizes):
        assert all(size <= limit for size, limit in zip(sizes, limits, strict=True))
    else:
        assert all(size >= limit for size, limit in zip(sizes, limits, strict=True))


@given(categories, st.integers(1, 300))
def test_who_is_not_full_has_its_share_by_images(held: list[tuple[int, int]], total: int) -> None:
    images, limits = [float(one) for one, _ in held], [limit for _, limit in held]
    sizes = fair_sizes(total, images, limits)
    if sum(limits) < sum(sizes):
        return
    # Whoever has room has, beside its certain row, as many rows an image as all others with room,
    # and no fewer than those who are full: up to the rounding of one row.
    roomy = [i for i in range(len(held)) if sizes[i] < limits[i]]
    for i in roomy:
        for j in range(len(held)):
            mine, theirs = sizes[i] - 1, sizes[j] - 1
            assert (mine + 1) / images[i] >= (theirs - 1) / images[j]


@st.composite
def banks(draw: st.DrawFn) -> dict[str, np.ndarray]:
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return {name: rng.random((draw(st.integers(0, 12)), 3)) for name in names}


@given(banks())
def test_the_pool_is_the_slow_twins_and_every_prefix_is_fair(parts: dict[str, np.ndarray]) -> None:
    whole = pooled(parts)
    # One row after another, each from the category that is least far through its rows.
    done = dict.fromkeys(sorted(parts), 0)
    slow = []
    for _ in range(sum(map(len, parts.values()))):
        left = [name for name in done if done[name] < len(parts[name])]
        name = min(left, key=lambda one: (done[one] + 0.5) / len(parts[one]))
        slow.append(parts[name][done[name]])
        done[name] += 1
        for other in done:
            part = len(parts[other]) * len(slow) / len(whole)
            assert abs(done[other] - part) <= len(parts)
    np.testing.assert_array_equal(whole, np.array(slow).reshape(-1, 3))
    assert pooled(dict(reversed(parts.items()))).tobytes() == whole.tobytes()


def test_the_bank_of_one_category_is_its_own() -> None:
    rows = np.zeros((4, 2), dtype=np.float16)
    assert pooled({"clip": rows}) is rows


# ------------------------------------------------------------------- a bank in one place

COARSE, FINE = "gravel", "plate"


def drawn(category: str, seed: int) -> np.ndarray:
    """Strong grain, or a smooth plate that differs a little from one to the next."""
    rng = np.random.default_rng(seed)
    if category == COARSE:
        return rng.integers(0, 256, (64, 64), dtype=np.uint8)
    ys, xs = np.mgrid[:64, :64]
    return (120 + 20 * np.sin(ys / 9 + seed) + 20 * np.cos(xs / 7) + rng.normal(0, 1)).astype(
        np.uint8
    )


def items(*wanted: tuple[str, int]) -> list[dict[str, object]]:
    return [
        {"image": drawn(category, seed), "category": category}
        for category, images in wanted
        for seed in range(images)
    ]


@pytest.fixture
def make(extractor: FeatureExtractor, small: Settings):
    def model(**changes: object) -> PatchCore:
        return PatchCore(
            small.with_(**{"local_coreset_ratio": 0.5, "global_bank_size": 60, **changes}),
            extractor=extractor,
        )

    return model


def test_a_coarse_part_does_not_starve_a_fine_one(make) -> None:
    """Farthest first over both parts at once left the fine one next to nothing."""
    both = items((COARSE, 4), (FINE, 4))
    fair, blind = make().fit(both), make().fit([one["image"] for one in both])
    own = {part: make(global_bank_size=30).fit(items((part, 4)), part) for part in (COARSE, FINE)}
    expected = pooled({part: own[part].banks[part] for part in own})
    np.testing.assert_array_equal(fair.banks["shared"], expected)
    fine = {row.tobytes() for row in make(local_coreset_ratio=1.0, global_bank_size=9999).fit(
        items((FINE, 4))
    ).banks["shared"]}  # fmt: skip
    rows = [sum(row.tobytes() in fine for row in model.banks["shared"]) for model in (blind, fair)]
    assert rows[0] < 10
    assert rows[1] == 30
    assert fair.shares == {part: Share(30, own[part].radii[part]) for part in (COARSE, FINE)}
    assert fair.radii == {"shared": max(one.radius for one in own.values())}
    assert fair.categories == (COARSE, FINE)
    assert (blind.shares, blind.categories) == ({}, ())


def test_one_category_has_the_bank_that_nobody_named(make) -> None:
    named = items((FINE, 3))
    plain = make().fit([one["image"] for one in named])
    assert make().fit(named).banks["shared"].tobytes() == plain.banks["shared"].tobytes()
    assert make().fit(named).radii == plain.radii


def test_a_part_that_cannot_fill_its_share_leaves_it_to_the_others(make) -> None:
    # 8 x 8 patches an image. Half of 64 is 32 rows: the rest of its 55 goes to the other part.
    model = make(global_bank_size=110).fit(items((COARSE, 1), (FINE, 6)))
    assert {name: own.rows for name, own in model.shares.items()} == {COARSE: 16, FINE: 94}
    model = make(global_bank_size=110).fit(items((COARSE, 6), (FINE, 1)))
    assert sum(own.rows for own in model.shares.values()) == 110
    model = make(global_bank_size=1000, local_coreset_ratio=0.01).fit(items((COARSE, 1), (FINE, 6)))
    assert {name: own.rows for name, own in model.shares.items()} == {COARSE: 1, FINE: 4}
    tiny = make(global_bank_size=1).fit(items((COARSE, 1), (FINE, 1)))
    assert len(tiny.banks["shared"]) == 2


def test_images_of_no_part_are_one_group_and_progress_goes_on(make) -> None:
    seen = []
    mixed = [*items((FINE, 2)), *(one["image"] for one in items((COARSE, 2)))]
    model = make().fit(mixed, progress=lambda done, total: seen.append((done, total)))
    assert model.shares.keys() == {FINE}
    assert model.shares[FINE].rows == 30
    assert len(model.banks["shared"]) == 60
    assert [one for one in seen if one[1] == 4][:4] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(InputError, match="no training image"):
        make().fit([])


def test_loader_batches_and_folders_tell_whose_their_images_are(make, tmp_path) -> None:
    from PIL import Image

    from common.data import AutoVIDataset

    for category in (COARSE, FINE):
        folder = tmp_path / category / "train" / "good"
        folder.mkdir(parents=True)
        for seed in range(2):
            Image.fromarray(drawn(category, seed)).save(folder / f"{seed:03d}.png")
    folder_fit = make().fit(AutoVIDataset(tmp_path))
    assert {name: own.rows for name, own in folder_fit.shares.items()} == {COARSE: 30, FINE: 30}
    batch = {
        "image": [drawn(category, seed) for category in (COARSE, FINE) for seed in range(2)],
        "category": [COARSE, COARSE, FINE, FINE],
    }
    with pytest.raises(ValueError, match="4 images come with 3 categories"):
        make().fit([{**batch, "category": [COARSE, FINE, FINE]}])
    assert make().fit([{"image": drawn(FINE, 0), "category": 7}]).categories == ("7",)
    same = make().fit([batch])
    assert same.banks["shared"].tobytes() == folder_fit.banks["shared"].tobytes()


def test_shares_are_saved_and_a_dropped_bank_has_none(make, tmp_path) -> None:
    model = make().fit(items((COARSE, 2), (FINE, 2)))
    model.save(tmp_path / "m")
    again = PatchCore.load(tmp_path / "m", device="cpu")
    assert again.shares == model.shares
    again.drop_bank("shared")
    assert (again.shares, again.banks) == ({}, {})

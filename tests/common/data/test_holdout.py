"""Held-out good images: the last by natural order, at least one, never the only one."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from common.data.holdout import split_holdout
from common.data.images import natural_key
from common.data.layout import Sample


def train(category: str, names: list[str]) -> list[Sample]:
    return [Sample(Path(f"/d/{category}/{n}"), category, "train", 0, "good") for n in names]


def test_the_last_by_natural_order_of_every_category() -> None:
    samples = train("a", [f"{n}.png" for n in range(12)]) + train("b", ["x.png", "y.png"])
    random.Random(0).shuffle(samples)
    bank, held_out = split_holdout(samples, 0.25)
    # 0.25 x 12 = 3 of a: 9, 10, 11 (not 7, 8, 9 of the alphabet); 0.25 x 2 -> at least one of b.
    assert sorted(str(s.path) for s in held_out) == [
        "/d/a/10.png",
        "/d/a/11.png",
        "/d/a/9.png",
        "/d/b/y.png",
    ]
    assert bank == [sample for sample in samples if sample not in held_out]


def test_nothing_held_out_and_the_only_image_stays() -> None:
    samples = train("a", ["0.png", "1.png"])
    assert split_holdout(samples, 0.0) == (samples, [])
    assert split_holdout(samples[:1], 0.9) == (samples[:1], [])
    assert split_holdout([], 0.1) == ([], [])


@given(
    counts=st.dictionaries(st.sampled_from("abc"), st.integers(1, 40), min_size=1),
    fraction=st.floats(0, 0.9),
    seed=st.integers(0, 9),
)
def test_each_image_once_and_independent_of_the_order_given(
    counts: dict[str, int], fraction: float, seed: int
) -> None:
    samples = [s for c, n in counts.items() for s in train(c, [f"{i}.png" for i in range(n)])]
    bank, held_out = split_holdout(samples, fraction)
    assert sorted([*bank, *held_out], key=lambda s: str(s.path)) == sorted(
        samples, key=lambda s: str(s.path)
    )
    shuffled = random.Random(seed).sample(samples, len(samples))
    assert {s.path for s in split_holdout(shuffled, fraction)[1]} == {s.path for s in held_out}
    for category, count in counts.items():
        kept = [natural_key(s.path.name) for s in bank if s.category == category]
        taken = [natural_key(s.path.name) for s in held_out if s.category == category]
        if fraction == 0 or count == 1:
            assert not taken
        else:
            # Slow twin: the fraction of the count, rounded, at least 1 and at most all but one.
            assert len(taken) == min(max(round(fraction * count), 1), count - 1)
            assert max(kept) < min(taken)

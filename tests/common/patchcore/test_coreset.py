"""Coreset selection against a float64 loop of a few lines, on whatever numbers hypothesis finds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from plain_loops import plain_up_to
from slow_twins import slow_selection

from common.patchcore.coreset import Coreset, select_coreset
from common.patchcore.exact.kcenter import Selection
from common.patchcore.exact.projection import project, random_projection

ROOT = Path(__file__).resolve().parents[3]


def fast(
    rows: NDArray[np.float32],
    size: int,
    first: int | None = 0,
    centers: NDArray[np.float32] | None = None,
    stop_radius: float = -1.0,
    **blocks: int,
) -> tuple[list[int], list[float]]:
    """The compiled path, whatever the size of the problem."""
    known = np.empty((0, rows.shape[1]), np.float32) if centers is None else centers
    selection = Selection(rows, min(size, len(rows)), known, stop_radius, **blocks)
    selection.run(first, None)
    count = selection.count
    return selection.chosen[:count].tolist(), selection.radii[:count].tolist()


@st.composite
def feature_rows(draw: st.DrawFn) -> NDArray[np.float32]:
    """Rows of every nasty kind: ties, duplicates, constants, offsets, tiny and huge scales."""
    n = draw(st.integers(1, 90))
    d = draw(st.sampled_from([1, 2, 3, 7, 8, 9, 17, 64, 130, 300]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["normal", "lattice", "duplicates", "constant", "outlier"]))
    if kind == "normal":
        rows = rng.standard_normal((n, d))
    elif kind == "lattice":
        rows = rng.integers(-1, 2, (n, d)).astype(np.float64)
    elif kind == "duplicates":
        rows = rng.standard_normal((4, d))[rng.integers(0, 4, n)]
    elif kind == "constant":
        rows = np.ones((n, d))
    else:
        rows = rng.standard_normal((n, d))
        rows[rng.integers(n)] *= 1e9
    rows = rows * 10.0 ** draw(st.sampled_from([-38, -20, -3, 0, 3, 15, 25]))
    rows = rows + draw(st.sampled_from([0.0, 0.0, 1.0, -3e4, 1e15]))
    return rows.astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    rows=feature_rows(),
    share=st.floats(0.01, 1.3),
    blocks=st.sampled_from([(1, 1, 1), (4, 2, 3), (8, 64, 16), (64, 512, 4096)]),
    threads=st.sampled_from([1, 2]),
    bfloat16=st.booleans(),
)
def test_fast_path_equals_the_slow_selection(
    rows: NDArray[np.float32],
    share: float,
    blocks: tuple[int, int, int],
    threads: int,
    bfloat16: bool,
) -> None:
    size = max(1, int(share * len(rows)))
    found = fast(
        rows,
        size,
        first=len(rows) // 2,
        threads=threads,
        block_rows=blocks[0],
        block_centers=blocks[1],
        pool_rows=blocks[2],
        bfloat16=bfloat16,
    )
    assert found == slow_selection(rows, size, first=len(rows) // 2)


@settings(max_examples=80, deadline=None)
@given(
    rows=feature_rows(),
    n_centers=st.integers(1, 20),
    first=st.booleans(),
    stop=st.sampled_from([-1.0, 0.0, 0.5, 2.0, 1e15]),
    seed=st.integers(0, 1000),
    bfloat16=st.booleans(),
)
def test_given_centers_and_stop_radius_equal_the_slow_selection(
    rows: NDArray[np.float32],
    n_centers: int,
    first: bool,
    stop: float,
    seed: int,
    bfloat16: bool,
) -> None:
    rng = np.random.default_rng(seed)
    centers = rows[rng.integers(0, len(rows), n_centers)] * np.float32(rng.choice([1.0, 0.5]))
    start = 0 if first else None
    expected = slow_selection(rows, 30, start, centers, stop)
    found = fast(rows, 30, start, centers, stop, block_rows=8, pool_rows=4, bfloat16=bfloat16)
    assert found == expected
    result = select_coreset(rows, 30, first=start, centers=centers, stop_radius=stop)
    assert (result.indices.tolist(), result.radii.tolist()) == expected


@settings(max_examples=50, deadline=None)
@given(rows=feature_rows(), size=st.integers(1, 100))
def test_public_function_on_small_work_equals_the_slow_selection(
    rows: NDArray[np.float32], size: int
) -> None:
    result = select_coreset(rows, size)
    assert (result.indices.tolist(), result.radii.tolist()) == slow_selection(rows, size)
    assert result.indices.dtype == np.int64
    assert result.radii.dtype == np.float64


def test_large_work_takes_the_compiled_path_and_equals_the_plain_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    rows = np.maximum(rng.standard_normal((6000, 40)) @ rng.standard_normal((40, 96)), 0) + 7
    rows = rows.astype(np.float32)
    plain = select_coreset(rows, 500)
    plain_up_to(monkeypatch, 0)
    for threads in (1, 2):
        found = select_coreset(rows, 500, threads=threads)
        np.testing.assert_array_equal(found.indices, plain.indices)
        np.testing.assert_array_equal(found.radii, plain.radii)


def test_read_only_unaligned_and_strided_input(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_up_to(monkeypatch, 0)
    rows = np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)
    expected = select_coreset(rows, 20).indices
    unaligned = np.frombuffer(b"x" + rows.tobytes(), np.uint8)[1:].view(np.float32).reshape(200, 6)
    assert not unaligned.flags.writeable
    for form in (unaligned, np.asfortranarray(rows), rows.astype(np.float64)):
        np.testing.assert_array_equal(select_coreset(form, 20).indices, expected)


def test_worked_example() -> None:
    # On a line: 0, 1, 5, 10. From 0 the farthest is 10 (radius then 5, at point 5: 5 to either
    # side), then 5 (radius 1, at point 1), then 1 (radius 0).
    result = select_coreset(np.array([[0], [1], [5], [10]], np.float32), 9)
    assert result.indices.tolist() == [0, 3, 2, 1]
    assert result.radii.tolist() == [10.0, 5.0, 1.0, 0.0]


@pytest.mark.parametrize("work", [0, 10**9])
def test_duplicates_are_each_chosen_once(work: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_up_to(monkeypatch, work)
    # Five distinct points, each twice; after them the lowest rows not yet chosen, at radius 0.
    rows = np.repeat(np.arange(5, dtype=np.float32), 2)[:, None]
    result = select_coreset(rows, 10)
    assert result.indices.tolist() == [0, 8, 4, 2, 6, 1, 3, 5, 7, 9]
    assert result.radii.tolist() == [4, 2, 1, 1, 0, 0, 0, 0, 0, 0]


def test_every_prefix_is_the_smaller_coreset_and_the_radius_never_grows() -> None:
    rows = np.random.default_rng(2).standard_normal((400, 5)).astype(np.float32)
    whole = select_coreset(rows, 60)
    part = select_coreset(rows, 25)
    np.testing.assert_array_equal(whole.indices[:25], part.indices)
    np.testing.assert_array_equal(whole.radii[:25], part.radii)
    assert (np.diff(whole.radii) <= 0).all()


def test_start_row() -> None:
    rows = np.random.default_rng(3).standard_normal((100, 3)).astype(np.float32)
    assert select_coreset(rows, 4).indices[0] == 0
    assert select_coreset(rows, 4, first=17).indices[0] == 17
    drawn = np.random.default_rng(8).integers(100)
    assert select_coreset(rows, 4, rng=np.random.default_rng(8)).indices[0] == drawn
    # With centers and nothing else, the first choice is already the farthest from them.
    far = int(((rows.astype(float) - rows[0]) ** 2).sum(axis=1).argmax())
    assert select_coreset(rows, 4, centers=rows[:1]).indices[0] == far


def test_stop_radius_may_leave_nothing_to_choose() -> None:
    rows = np.zeros((5, 2), np.float32)
    assert len(select_coreset(rows, 3, centers=rows[:1], stop_radius=0.0).indices) == 0
    assert select_coreset(rows, 3, stop_radius=0.0).indices.tolist() == [0]


def test_projection_selects_on_the_projected_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(4).standard_normal((300, 50)).astype(np.float32)
    matrix = random_projection(50, 8, seed=1)
    short = project(rows, matrix)
    expected = slow_selection(short, 40, None, short[:3])
    for work in (0, 10**9):
        plain_up_to(monkeypatch, work)
        result: Coreset = select_coreset(rows, 40, centers=rows[:3], projection=matrix)
        assert (result.indices.tolist(), result.radii.tolist()) == expected


def test_progress_ends_at_what_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(4).standard_normal((9000, 4)).astype(np.float32)
    for work in (0, 10**9):
        plain_up_to(monkeypatch, work)
        seen: list[tuple[int, ...]] = []
        select_coreset(rows, 600, progress=lambda *counts, to=seen: to.append(counts))
        assert seen[-1] == (600, 600)
        assert len(seen) > 2
        assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        (np.empty((0, 3)), {}, "empty"),
        (np.empty((3, 0)), {}, "empty"),
        (np.zeros(3), {}, "two-dimensional"),
        (np.array([[np.nan]]), {}, "non-finite"),
        (np.array([[np.inf]]), {}, "non-finite"),
        (np.zeros((3, 2)), {"first": 3}, "first is 3"),
        (np.zeros((3, 2)), {"centers": np.zeros((2, 3))}, "3 columns"),
        (np.zeros((3, 2)), {"centers": np.full((1, 2), np.nan)}, "centers holds"),
        (np.zeros((3, 2)), {"threads": 0}, "threads"),
        (np.zeros((3, 2)), {"projection": np.zeros((3, 1))}, "project"),
    ],
)
def test_misuse_is_refused(
    rows: NDArray[np.float64], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        select_coreset(rows, 2, **arguments)
    if not arguments:
        return
    with pytest.raises(ValueError, match="size"):
        select_coreset(np.zeros((3, 2)), 0)


def test_read_only_installation_compiles_without_a_cache(tmp_path: Path) -> None:
    """No folder to cache in: the selection still runs (a container, an app folder)."""
    shutil.copytree(
        ROOT / "common", tmp_path / "common", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "common/patchcore/__init__.py").write_text("")  # the selection alone, quickly
    # A file where a cache folder would have to be: no permission bits, since root ignores them.
    for folder in ("patchcore", "patchcore/exact"):
        (tmp_path / "common" / folder / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    code = (
        "import numpy as np\n"
        "from common.patchcore import coreset\n"
        "from common.patchcore.exact import plain\n"
        "plain._LEAST = plain._MOST = 0\n"
        "rows = np.arange(50, dtype=np.float32)[:, None]\n"
        "print(coreset.select_coreset(rows, 3).indices.tolist())\n"
    )
    elsewhere = ("FEDPATCHCORE_CACHE", "NUMBA_CACHE_DIR")
    environment = {
        **{name: value for name, value in os.environ.items() if name not in elsewhere},
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split("\n")[0] == "[0, 49, 24]", done.stderr

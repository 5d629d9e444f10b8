"""Search and selection with the filter on a device, against float64 loops of a few lines.

Where there is no GPU the CPU plays the device: the code is the same, only the products are not
cuBLAS's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from plain_loops import plain_up_to
from played_device import PLAYED, forget
from slow_twins import Found, slow_search, slow_selection

from common.config import Settings
from common.patchcore import PatchCore, coreset, memory_bank
from common.patchcore.coreset import select_coreset
from common.patchcore.distances import Distances
from common.patchcore.exact import device_cover as _device_cover
from common.patchcore.exact import device_filter as _device_filter
from common.patchcore.exact import device_proof
from common.patchcore.exact.device import DeviceFailed, accelerator, take_notices
from common.patchcore.exact.device_filter import DeviceTable, device_products
from common.patchcore.exact.device_proof import trusted
from common.patchcore.exact.device_search import DeviceSearch
from common.patchcore.exact.kcenter import Selection
from common.patchcore.local_bank import covering_radius
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.inputs import ImageInput

CPU = torch.device("cpu")
DEVICES = [
    pytest.param("cpu", id="cpu"),
    pytest.param(
        "cuda",
        id="cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
        ],
    ),
]


def selected(
    rows: NDArray[np.float32],
    size: int,
    first: int | None = 0,
    centers: NDArray[np.float32] | None = None,
    stop_radius: float = -1.0,
    **options: Any,
) -> tuple[list[int], list[float]]:
    """The device's path, whatever the size of the problem."""
    known = np.empty((0, rows.shape[1]), np.float32) if centers is None else centers
    options.setdefault("device", CPU)
    selection = Selection(rows, min(size, len(rows)), known, stop_radius, **options)
    assert selection.device is not None
    selection.run(first, None)
    count = selection.count
    return selection.chosen[:count].tolist(), selection.radii[:count].tolist()


def assert_same(found: Found, expected: Found) -> None:
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


@st.composite
def nasty_rows(draw: st.DrawFn, most: int = 120) -> NDArray[np.float32]:
    """Ties, duplicates, constants, outliers, offsets, tiny and huge scales."""
    n = draw(st.integers(1, most))
    d = draw(st.sampled_from([1, 2, 7, 8, 9, 33, 130, 300]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["normal", "close", "lattice", "duplicates", "constant", "far"]))
    rows = rng.standard_normal((n, d))
    if kind == "close":  # differences that float32 products cannot tell apart
        rows = rows[:1] + 1e-5 * rows
    elif kind == "lattice":
        rows = rng.integers(-1, 2, (n, d)).astype(np.float64)
    elif kind == "duplicates":
        rows = rows[:4][rng.integers(0, min(n, 4), n)]
    elif kind == "constant":
        rows = np.ones((n, d))
    elif kind == "far":
        rows[rng.integers(n)] *= 1e9
    rows = rows * 10.0 ** draw(st.sampled_from([-38, -20, -3, 0, 3, 15, 25]))
    return (rows + draw(st.sampled_from([0.0, 0.0, 1.0, -3e4, 1e15]))).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    rows=nasty_rows(),
    noise=st.sampled_from([0.0, 0.0, 0.1, 1e3, 1e9]),
    k=st.integers(1, 6),
    blocks=st.sampled_from([(1, 1), (7, 5), (64, 40), (512, 1000)]),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 1000),
)
def test_search_equals_the_slow_twin(
    rows: NDArray[np.float32],
    noise: float,
    k: int,
    blocks: tuple[int, int],
    threads: int,
    seed: int,
) -> None:
    k = min(k, len(rows))
    rng = np.random.default_rng(seed)
    moved = noise * float(np.abs(rows).max()) * rng.integers(-2, 3, (20, rows.shape[1]))
    queries = (rows[rng.integers(0, len(rows), 20)] + moved).astype(np.float64)
    most = float(np.finfo(np.float32).max)
    queries = queries.clip(-most, most).astype(np.float32)
    search = DeviceSearch(rows, CPU, threads, *blocks)
    assert_same(search.nearest(queries, k), slow_search(rows, queries, k))


@settings(max_examples=150, deadline=None)
@given(
    rows=nasty_rows(),
    share=st.floats(0.01, 1.3),
    blocks=st.sampled_from([(1, 1), (4, 2), (8, 64), (64, 512)]),
    pool=st.sampled_from([1, 3, 16, 4096]),
    threads=st.sampled_from([1, 2]),
)
def test_selection_equals_the_slow_twin(
    rows: NDArray[np.float32], share: float, blocks: tuple[int, int], pool: int, threads: int
) -> None:
    size, first = max(1, int(share * len(rows))), len(rows) // 2
    options = {"device_blocks": blocks, "pool_rows": pool, "threads": threads, "block_rows": 4}
    assert selected(rows, size, first, **options) == slow_selection(rows, size, first)


@settings(max_examples=80, deadline=None)
@given(
    rows=nasty_rows(),
    n_centers=st.integers(1, 20),
    first=st.booleans(),
    stop=st.sampled_from([-1.0, 0.0, 0.5, 2.0, 1e15]),
    seed=st.integers(0, 1000),
)
def test_given_centers_and_stop_radius_equal_the_slow_twin(
    rows: NDArray[np.float32], n_centers: int, first: bool, stop: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    centers = rows[rng.integers(0, len(rows), n_centers)] * np.float32(rng.choice([1.0, 0.5]))
    start = 0 if first else None
    found = selected(rows, 30, start, centers, stop, device_blocks=(8, 3), pool_rows=4)
    assert found == slow_selection(rows, 30, start, centers, stop)


def near_duplicates(n: int, d: int, seed: int) -> NDArray[np.float32]:
    """Rows in clusters so narrow that float32 products order them wrongly."""
    rng = np.random.default_rng(seed)
    clusters = np.random.default_rng(0).standard_normal((40, d))[rng.integers(0, 40, n)]
    return (clusters + 1e-5 * rng.standard_normal((n, d))).astype(np.float32)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


def test_large_search_equals_the_slow_twin(device: torch.device) -> None:
    rows = near_duplicates(3000, 96, 1)
    queries = near_duplicates(700, 96, 2)
    expected = slow_search(rows, queries, 5)
    for blocks in ((512, 16384), (100, 700)):
        search = DeviceSearch(rows, device, 2, *blocks)
        assert_same(search.nearest(queries, 5), expected)
        nearest = expected[0][:, :1], expected[1][:, :1]
        assert_same(search.nearest(queries, 1), nearest)


def test_large_selection_equals_the_plain_loop(device: torch.device) -> None:
    rows = near_duplicates(5000, 48, 3)
    plain = select_coreset(rows, 500, centers=rows[:30] + np.float32(0.1))
    wanted = plain.indices.tolist(), plain.radii.tolist()
    centers = rows[:30] + np.float32(0.1)
    for blocks in (None, (300, 70)):
        found = selected(rows, 500, None, centers, device=device, device_blocks=blocks)
        assert found == wanted


def test_ties_without_end_go_to_the_lowest_rows(device: torch.device) -> None:
    rows, queries = np.ones((500, 9), np.float32), np.zeros((3, 9), np.float32)
    for block_rows in (1000, 90):
        squared, indices = DeviceSearch(rows, device, 1, 512, block_rows).nearest(queries, 5)
        assert indices.tolist() == 3 * [[0, 1, 2, 3, 4]]
        assert squared.tolist() == 3 * [5 * [9.0]]


def test_the_tolerance_is_needed() -> None:
    """Without it rows are ruled out that are the nearest: what these tests must notice."""
    rows, queries = near_duplicates(3000, 96, 1), near_duplicates(700, 96, 2)
    search = DeviceSearch(rows, CPU, 1)
    search.table.product = 0.0
    assert not np.array_equal(search.nearest(queries, 1)[1], slow_search(rows, queries, 1)[1])
    selection = Selection(rows, 300, rows[:0], -1.0, device=CPU, pool_rows=16)
    assert selection.device is not None
    selection.device.table.product = 0.0
    selection.run(0, None)
    assert selection.chosen.tolist() != slow_selection(rows, 300)[0]


def test_few_rows_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter leaves the nearest and what is as near within float32, not everything."""
    measured = 0
    inner = _device_filter.measure

    def counting(*arguments: Any) -> None:
        nonlocal measured
        measured += int(np.diff(arguments[4], axis=1).sum())
        inner(*arguments)

    monkeypatch.setattr(_device_filter, "measure", counting)
    rng = np.random.default_rng(0)
    rows, queries = rng.standard_normal((2, 2000, 64)).astype(np.float32)
    DeviceSearch(rows, CPU, 1).nearest(queries, 1)
    assert len(queries) <= measured < 1.1 * len(queries)
    measured = 0
    rows[:] = 1  # nothing to tell apart: every row for every query, once
    DeviceSearch(rows, CPU, 1).nearest(queries[:10], 1)
    assert measured == 10 * (1 + 2000)  # the most promising one is asked for twice


@pytest.fixture
def cpu_is_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `cpu` go the device's way, and small work, too."""
    for module in (coreset, memory_bank):
        monkeypatch.setattr(module, "accelerator", torch.device)
    plain_up_to(monkeypatch, 0)
    monkeypatch.setattr(device_proof, "_proved", {"cpu"})  # the trial has its own tests


@pytest.mark.usefixtures("cpu_is_a_device")
def test_public_functions_take_the_device(caplog: pytest.LogCaptureFixture) -> None:
    rows = near_duplicates(300, 20, 5)
    bank = MemoryBank(rows, device="cpu")
    distances, indices = bank.nearest(rows[::7], k=2)
    squared, wanted = slow_search(rows, rows[::7], 2)
    assert_same((distances, indices), (np.sqrt(squared), wanted))
    assert isinstance(bank._search, DeviceSearch)
    found = select_coreset(rows, 40, device="cpu")
    assert (found.indices.tolist(), found.radii.tolist()) == slow_selection(rows, 40)
    assert not caplog.records


@pytest.mark.usefixtures("cpu_is_a_device")
@pytest.mark.parametrize("late", [False, True])
def test_a_device_too_small_leaves_the_work_to_the_cpu(
    late: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, or in the middle of the work, as another process may take the memory.

    It has not failed: the next step tries it again.
    """
    merge, calls = DeviceTable.merge, 0

    def too_large(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        merge(*arguments)

    def none_free(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    if late:
        monkeypatch.setattr(DeviceTable, "merge", too_large)
        monkeypatch.setattr(_device_cover, "_BLOCKS", (100, 10))
    else:
        monkeypatch.setattr(_device_filter, "upload", none_free)
    rows = near_duplicates(1000, 20, 5)
    with caplog.at_level(logging.WARNING):
        found = select_coreset(rows, 200, device="cpu")
        calls = 3
        distances, indices = MemoryBank(rows, device="cpu").nearest(rows[:50])
    wanted = slow_selection(rows, 200)
    assert (found.indices.tolist(), found.radii.tolist()) == wanted
    squared, nearest = slow_search(rows, rows[:50], 1)
    assert_same((distances, indices), (np.sqrt(squared[:, 0]), nearest[:, 0]))
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("coreset selection")
    assert "CUDA out of memory" in first
    assert second.startswith("nearest neighbours by the CPU alone")
    assert take_notices() == [first, second]
    monkeypatch.undo()
    assert trusted(CPU) == CPU


def test_a_device_that_multiplies_in_short_leaves_the_work_to_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def short(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a.bfloat16().float(), b)

    forget(monkeypatch)
    monkeypatch.setattr(torch.Tensor, "__matmul__", short)
    rows = near_duplicates(100, 5, 5)
    with pytest.raises(DeviceFailed, match="full float32"):
        Selection(rows, 9, rows[:0], -1.0, device=CPU)
    assert trusted(PLAYED) is None
    assert "everything by the CPU alone: cpu:0 does not multiply in full float32" in caplog.text


def precision() -> list[object]:
    matmul = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]
    new: list[object] = [backend.fp32_precision for backend in matmul]
    try:
        return [*new, torch.get_float32_matmul_precision()]
    except RuntimeError:  # set in the newer way
        return new


@pytest.fixture
def usual_precision() -> Iterator[None]:
    before = precision()
    yield
    torch.set_float32_matmul_precision("highest")
    for backend, value in zip((torch.backends.cuda, torch.backends.mkldnn), before, strict=False):
        backend.matmul.fp32_precision = value


@pytest.mark.usefixtures("usual_precision")
@pytest.mark.parametrize("way", ["none", "older", "newer"])
def test_short_formats_are_off_inside_and_restored_after(way: str) -> None:
    if way == "older":
        torch.set_float32_matmul_precision("medium")
    elif way == "newer":
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    before = precision()
    first, second = device_products(CPU), device_products(CPU)
    first.__enter__()
    second.__enter__()
    # Contradicting settings would raise here, and in every product on a GPU.
    assert precision() == ["ieee", "ieee", "highest"]
    assert not torch.backends.cuda.matmul.allow_tf32
    first.__exit__(None, None, None)  # the second, in another thread, still multiplies
    assert precision() == ["ieee", "ieee", "highest"]
    second.__exit__(None, None, None)
    assert precision() == before


def test_a_model_works_on_its_network_s_device(
    extractor: FeatureExtractor,
    small: Settings,
    pictures: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def note(device: torch.device) -> None:
        asked.append(device)

    for module in (coreset, memory_bank):
        monkeypatch.setattr(module, "accelerator", note)
    model = PatchCore(small, extractor=extractor).fit(pictures[:2])
    model.predict_single(pictures[2])
    covering_radius(model.source, [ImageInput(pictures[3])], model.banks["shared"], Distances(0, 0))
    assert asked == 3 * [extractor.device]


def test_the_cpu_is_no_accelerator() -> None:
    assert accelerator(None) is accelerator("cpu") is accelerator(CPU) is None
    assert accelerator("meta") == torch.device("meta")
    assert accelerator("cuda") == torch.device("cuda:0") != accelerator("cuda:1")
    with pytest.raises(RuntimeError, match="nonsense"):
        MemoryBank(np.ones((2, 2), np.float32), device="nonsense")

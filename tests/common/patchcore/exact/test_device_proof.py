"""A device is used after its trial alone, and never again after an error.

The CPU plays the device (see `played_device`); where there is a GPU, it takes the trial, too.
"""

from __future__ import annotations

import logging
import time

import numpy as np
import pytest
import torch
from played_device import CRASH, PLAYED, Calls, forget, lie
from slow_twins import slow_search, slow_selection

from common.patchcore.coreset import select_coreset
from common.patchcore.exact import device_proof
from common.patchcore.exact.device import (
    DeviceFailed,
    DeviceUnfit,
    by_cpu,
    failure,
    guarded,
    take_notices,
)
from common.patchcore.exact.device_proof import trusted
from common.patchcore.memory_bank import MemoryBank

ROWS = np.random.default_rng(1).integers(-2, 3, (400, 12)).astype(np.float32)


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch)


def assert_right(device: torch.device | str) -> None:
    """Selection and search with this device are the slow twins', ties and duplicates included."""
    found = select_coreset(ROWS, 60, device=device)
    assert (found.indices.tolist(), found.radii.tolist()) == slow_selection(ROWS, 60)
    distances, indices = MemoryBank(ROWS, device=device).nearest(ROWS[::7] + np.float32(0.5), k=3)
    squared, nearest = slow_search(ROWS, ROWS[::7] + np.float32(0.5), 3)
    np.testing.assert_array_equal(distances, np.sqrt(squared))
    np.testing.assert_array_equal(indices, nearest)


def test_a_truthful_device_takes_its_trial_once_and_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls().watch(monkeypatch)
    assert trusted(None) is None
    assert calls.selecting == 0
    assert trusted(PLAYED) == PLAYED
    tried = calls.selecting, calls.searching
    assert min(tried) > 0
    assert trusted(PLAYED) == PLAYED
    assert (calls.selecting, calls.searching) == tried
    assert_right(PLAYED)
    assert calls.selecting > tried[0]
    assert calls.searching > tried[1]
    assert not caplog.records
    assert take_notices() == []


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("picks", "chose other rows than the CPU in its trial"),
        ("neighbours", "found other nearest rows than the CPU in its trial"),
    ],
)
def test_a_device_that_lies_in_its_trial_is_not_used(
    step: str, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lie(monkeypatch, step)
    with caplog.at_level(logging.WARNING, "fedpatchcore"):
        assert_right(PLAYED)
    notice = f"everything by the CPU alone: cpu:0 {reason}"
    assert [record.getMessage() for record in caplog.records] == [notice]
    assert take_notices() == [notice]
    assert failure(PLAYED) == f"cpu:0 {reason}"


@pytest.mark.parametrize("error", [RuntimeError(CRASH), torch.OutOfMemoryError("full"), KeyError()])
def test_a_device_that_cannot_take_its_trial_is_not_used(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls().watch(monkeypatch, searching=(2, error))
    assert_right(PLAYED)
    assert calls.searching <= 4  # the threads of the trial, and nothing after it
    assert "everything by the CPU alone: " in caplog.text
    assert trusted(PLAYED) is None


def test_a_device_that_is_not_there_leaves_the_work_to_the_cpu(
    caplog: pytest.LogCaptureFixture,
) -> None:
    missing = f"cuda:{torch.cuda.device_count()}"
    assert_right(missing)
    assert f"everything by the CPU alone: {missing}" in caplog.text


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("step", ["selecting", "searching"])
def test_after_an_error_the_step_is_done_again_and_the_device_is_left(
    step: str, call: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device_proof, "_proved", {"cpu:0"})
    monkeypatch.setattr("common.patchcore.exact.device_cover._BLOCKS", (100, 10))
    calls = Calls().watch(monkeypatch, **{step: (call, RuntimeError(f"{CRASH}\nSearch for it"))})
    bank = MemoryBank(ROWS, threads=1, device=PLAYED)
    queries = np.tile(ROWS, (6, 1))  # more than one block
    found = select_coreset(ROWS, 200, device=PLAYED, threads=1)
    distances, indices = bank.nearest(queries)
    assert (found.indices.tolist(), found.radii.tolist()) == slow_selection(ROWS, 200)
    squared, nearest = slow_search(ROWS, queries, 1)
    np.testing.assert_array_equal(distances, np.sqrt(squared[:, 0]))
    np.testing.assert_array_equal(indices, nearest[:, 0])
    assert getattr(calls, step) == call, "it broke off there and did not try again"
    begun = "coreset selection" if step == "selecting" else "nearest neighbours"
    notice = f"{begun} by the CPU alone: cpu:0 failed (RuntimeError: {CRASH})"
    assert [record.getMessage() for record in caplog.records] == [notice]
    done = calls.selecting, calls.searching
    assert_right(PLAYED)
    assert (calls.selecting, calls.searching) == done
    assert trusted(PLAYED) is None


def test_errors_of_a_device_are_told_apart() -> None:
    with pytest.raises(DeviceUnfit, match="memory of cpu:0 is used up") as small, guarded(PLAYED):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert not isinstance(small.value, DeviceFailed)
    with pytest.raises(DeviceUnfit, match="memory") as small, guarded(PLAYED):
        raise torch.AcceleratorError("CUDA error: out of memory")
    assert not isinstance(small.value, DeviceFailed)
    with pytest.raises(DeviceFailed, match="AcceleratorError"), guarded(PLAYED):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")
    with pytest.raises(KeyError), guarded(PLAYED):
        raise KeyError("our own mistake")
    by_cpu("all", PLAYED, DeviceFailed("it broke"))
    with pytest.raises(DeviceFailed, match="it broke"), guarded(PLAYED):
        pytest.fail("it must not be tried again")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_a_gpu_passes_its_trial_and_an_error_of_a_kernel_is_noticed() -> None:
    gpu = torch.device("cuda:0")
    torch.zeros(1, device=gpu)
    assert trusted(gpu) == gpu
    device_proof._proved.clear()
    begun = time.perf_counter()
    assert trusted(gpu) == gpu
    assert time.perf_counter() - begun < 1
    assert_right(gpu)
    with pytest.raises(DeviceUnfit, match="memory of cuda:0"), guarded(gpu):
        torch.empty(2**50, device=gpu)
    assert_right(gpu)

"""A whole run with a device that fails on the way: the CPU's result, and everybody is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_grid import Finished, run_local, small_settings
from played_device import CRASH, Calls, forget, play

from client_app import computing
from common.config import Settings
from common.data.layout import index_data
from common.runs.baseline import run_baseline

pytestmark = pytest.mark.usefixtures("flower_task")


@pytest.fixture(autouse=True)
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("common.runs.output.write_run_plots", lambda folder: [])
    yield
    computing._load_extractor.cache_clear()


def settings(data: Path, out: Path) -> Settings:
    return small_settings(data, out, num_stations=2, global_bank_size=40, batch_size=2)


def federated(data: Path, out: Path) -> Finished:
    return run_local(settings(data, out))


def baseline(data: Path, out: Path) -> Finished:
    run_baseline(settings(data, out), index_data(data), out)
    return Finished(out)


def told(run: Finished) -> list[Any]:
    """What computed, by station or in the one place."""
    return [station["device"] for station in run.run["stations"]] or [run.run["device"]]


@pytest.mark.parametrize("method", [federated, baseline])
def test_a_run_on_a_failing_device_is_the_cpu_s(
    method: Any, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    forget(monkeypatch)
    cpu = method(parts, tmp_path / "cpu")
    assert set(told(cpu)) == {"cpu"}

    with monkeypatch.context() as patch:
        play(patch)
        calls = Calls().watch(patch)
        truthful = method(parts, tmp_path / "truthful")
    assert set(told(truthful)) == {"cpu:0"}
    assert min(calls.images, calls.selecting, calls.searching) > 0
    assert not any("by the CPU alone" in notice for notice in truthful.run["notices"])
    assert truthful.bank != cpu.bank, "a device's features are not the CPU's to the bit"

    with monkeypatch.context() as patch:
        # Another cache: the images that the device has computed above must be computed here.
        patch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache-of-another"))
        play(patch)
        # The first bank's second batch: call 1 is the trial.
        Calls().watch(patch, images=(3, RuntimeError(CRASH)))
        found = method(parts, tmp_path / "failing")
    assert found.error is None
    assert found.bank == cpu.bank
    assert found.metrics == cpu.metrics
    reason = f"cpu:0 failed (RuntimeError: {CRASH})"
    assert set(told(found)) == {f"cpu ({reason})"}
    notices = [n for n in found.run["notices"] if f"features by the CPU alone: {reason}" in n]
    assert notices
    assert f"features by the CPU alone: {reason}" in caplog.text
    report = (tmp_path / "failing" / "report.html").read_text()
    assert f"features by the CPU alone: {reason}" in report
    if method is federated:
        # The second station finds the network as the first has left it, and says so, too.
        assert [n.partition(":")[0] for n in notices] == ["station-0", "station-1"]

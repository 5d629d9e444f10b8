"""Features of one bank come from one device, the CPU's where another fails; caches know whose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from played_device import CRASH, PLAYED, Calls, lie, play

from common.config import Settings
from common.data.transforms import Preparation
from common.patchcore import PatchCore
from common.patchcore.exact.device import take_notices
from common.patchcore.local_bank import Distances, build_local_bank
from common.patchcore.network import backbone
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.device_trial import find_difference
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput, as_inputs

CRASHES = [RuntimeError(CRASH), torch.OutOfMemoryError("CUDA out of memory")]


@pytest.fixture
def wanted(extractor: FeatureExtractor, pictures: list[Path]) -> list[Any]:
    return stream(FeatureSource(extractor), pictures)


@pytest.fixture(autouse=True)
def played(wanted: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch)


def stream(source: FeatureSource, paths: Sequence[Path]) -> list[Any]:
    return [np.array(features) for features in source.stream(as_inputs(paths))]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def test_a_truthful_device_computes_the_features(
    small: Settings,
    pictures: list[Path],
    wanted: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = Calls().watch(monkeypatch)
    network = FeatureExtractor.from_settings(small)
    assert (network.device, calls.images) == (PLAYED, 0)  # nothing is tried before it is needed
    found = stream(FeatureSource(network, batch_size=2), pictures)
    assert (calls.images, network.computed_by) == (1 + 4, "cpu:0")  # a trial; 3 and 2 sizes apart
    assert min(calls.selecting, calls.searching) > 0
    for features, one in zip(found, wanted, strict=True):
        np.testing.assert_allclose(features, one, rtol=1e-4, atol=1e-4)
    assert not caplog.records


@pytest.mark.parametrize("step", ["picks", "neighbours", "features"])
def test_a_device_that_lies_computes_no_feature(
    step: str,
    small: Settings,
    pictures: list[Path],
    wanted: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lie(monkeypatch, step)
    network = FeatureExtractor.from_settings(small)
    assert same(stream(FeatureSource(network), pictures), wanted)
    assert network.device == torch.device("cpu")
    assert network.computed_by.startswith("cpu (cpu:0 ")
    said = {
        "picks": "cpu:0 chose other rows",
        "neighbours": "cpu:0 found other nearest rows",
        "features": "cpu:0 failed: its features of a trial image are",
    }[step]
    assert f"features by the CPU alone: {said}" in caplog.text
    assert any(said in notice for notice in take_notices())


@pytest.mark.parametrize("error", CRASHES, ids=["crash", "memory"])
@pytest.mark.parametrize("call", [2, 3, 5])
def test_a_stream_goes_on_where_the_device_broke_off(
    call: int,
    error: Exception,
    small: Settings,
    pictures: list[Path],
    wanted: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Call 1 is the trial; images 4 (of another size) and 5 and 6 are batches of their own."""
    Calls().watch(monkeypatch, images=(call, error))
    source = FeatureSource(FeatureExtractor.from_settings(small), batch_size=2)
    found = stream(source, pictures)
    before = {2: 0, 3: 2, 5: 4}[call]
    assert same(found[before:], wanted[before:])
    np.testing.assert_allclose(np.vstack([f.reshape(-1, 384) for f in found[:before]] or [[0]]),
                               np.vstack([f.reshape(-1, 384) for f in wanted[:before]] or [[0]]),
                               rtol=1e-4, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("error", CRASHES, ids=["crash", "memory"])
@pytest.mark.parametrize("call", [2, 4, 6, 8])
@pytest.mark.parametrize("cached", [True, False])
def test_no_bank_mixes_devices(
    cached: bool,
    call: int,
    error: Exception,
    small: Settings,
    extractor: FeatureExtractor,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a cache the chosen rows are computed once more, from call 6 on."""

    def bank(network: FeatureExtractor) -> Any:
        cache = FeatureCache(tmp_path / "cache", 10**9) if cached else None
        source = FeatureSource(network, cache, batch_size=2)
        return build_local_bank(source, list(as_inputs(pictures)), 40, Distances(8, 0), np.float32)

    calls = Calls().watch(monkeypatch, images=(call, error))
    network = FeatureExtractor.from_settings(small)
    found, by_cpu = bank(network), bank(extractor)
    broke = call <= 5 or not cached
    assert network.computed_by.startswith("cpu (") == broke == (calls.images == call)
    assert ("features by the CPU alone" in caplog.text) == broke
    equal = found.rows.tobytes() == by_cpu.rows.tobytes()
    assert equal == broke, "a bank of one device alone"
    if broke:
        assert found.radii.tolist() == by_cpu.radii.tolist()


@pytest.mark.parametrize("step", ["selecting", "searching"])
def test_a_model_s_steps_are_the_cpu_s_after_an_error(
    step: str, small: Settings, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The features are the device's; selection and search give the same rows either way."""
    calls = Calls().watch(monkeypatch)
    whole = PatchCore(small).fit(pictures[:4])
    scores = [one.score for one in whole.predict(pictures[4:])]
    play(monkeypatch)
    Calls().watch(monkeypatch, **{step: (getattr(calls, step), RuntimeError(CRASH))})
    model = PatchCore(small).fit(pictures[:4])
    assert model.banks["shared"].tobytes() == whole.banks["shared"].tobytes()
    found = [one.score for one in model.predict(pictures[4:])]
    np.testing.assert_allclose(found, scores, rtol=1e-4)
    assert any(CRASH in notice for notice in take_notices())


def test_a_cache_keeps_what_devices_computed_apart(
    small: Settings,
    extractor: FeatureExtractor,
    pictures: list[Path],
    wanted: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def source(network: FeatureExtractor) -> FeatureSource:
        return FeatureSource(network, FeatureCache(tmp_path, 10**9))

    network = FeatureExtractor.from_settings(small)
    assert network.producer != extractor.producer
    device, cpu = source(network), source(extractor)
    by_device = stream(device, pictures)
    assert same(stream(cpu, pictures), wanted)
    assert not same(by_device, wanted)
    assert (device.computed, cpu.computed) == (6, 6)
    again = source(network), source(extractor)
    assert same(stream(again[0], pictures), by_device)
    assert same(stream(again[1], pictures), wanted)
    assert (again[0].computed, again[1].computed) == (0, 0)
    # A mended trunk is another producer, and so is another number format of the products.
    monkeypatch.setattr(backbone, "TRUNK_VERSION", backbone.TRUNK_VERSION + 1)
    mended = source(extractor)
    stream(mended, pictures[:2])
    assert mended.computed == 2
    short = FeatureExtractor.from_settings(small.with_(precision="bfloat16"))
    assert short.producer != network.producer


def test_not_a_number_is_no_equal() -> None:
    def features(value: float) -> Any:
        return lambda image: np.full((1, 2, 2, 3), value, np.float32)

    assert find_difference(features(1.0), features(1.0), "float32") is None
    assert find_difference(features(1.0), features(1.00005), "float32") is None
    assert find_difference(features(1.0), features(1.0002), "float32") is not None
    assert find_difference(features(np.nan), features(1.0), "float32") is not None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["resnet18", "wide_resnet50_2"])
def test_a_gpu_s_features_pass_the_trial(
    name: str, precision: str, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone, "choose_device", lambda name: torch.device("cuda:0"))
    chosen = Settings(backbone=name, weights="random", precision=precision)
    network = FeatureExtractor.from_settings(chosen)
    network(ImageInput(pictures[0]).tensor(Preparation())[None])
    assert (network.computed_by, network.left) == ("cuda:0", "")

"""Without any one of torch's private operators: the same picks, the same features, one line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hook_cases import losses, remove
from numpy.typing import NDArray
from PIL import Image
from plain_loops import plain_up_to

from common.config import Settings
from common.hooks import lookup
from common.hooks.table import BFLOAT16, CONVOLUTION, CONVOLUTION_ORDER, PRODUCT, Hook
from common.patchcore import PatchCore
from common.patchcore.coreset import select_coreset
from common.patchcore.exact.onednn import convolutions, linear
from common.patchcore.exact.products import NumberFormat, fast_bfloat16
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.cpu_trunk import CpuTrunk
from common.patchcore.network.weights import Weights, load_weights

SMALL = Settings(
    backbone="resnet18",
    weights="random",
    device="cpu",
    num_workers=1,
    global_bank_size=60,
    wire_dtype="float32",
)
pytestmark = pytest.mark.skipif(
    convolutions(torch.float32) is None, reason="torch has no oneDNN on this machine"
)


@dataclass
class Results:
    """What the program makes of a few images."""

    features: NDArray[np.float32]
    bank: NDArray[Any]
    score: float


def results(images: list[Path], weights: Weights) -> Results:
    extractor = FeatureExtractor(SMALL, weights)
    # Wide enough for Winograd's convolutions; two sizes, for orders of weights that differ.
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(1, 3, *size, generator=generator) for size in ((150, 170), (97, 64))]
    rows = [extractor(batch).reshape(-1, extractor.feature_dim) for batch in batches]
    model = PatchCore(SMALL, extractor=extractor).fit(images[1:])
    (bank,) = model.banks.values()
    return Results(np.concatenate(rows), bank, model.predict_single(images[0]).score)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(3)
    paths = [folder / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (96, 120, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture(scope="module")
def weights() -> Weights:
    return load_weights(SMALL.backbone, ("layer2", "layer3"), SMALL.weights, SMALL.seed)


@pytest.fixture(autouse=True, scope="module")
def nothing_is_small() -> Iterator[None]:
    """A few images go the way of many."""
    with pytest.MonkeyPatch.context() as patch:
        plain_up_to(patch, 0)
        yield


@pytest.fixture(scope="module")
def whole(images: list[Path], weights: Weights) -> Results:
    """With everything there."""
    return results(images, weights)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log, as of a fresh process."""
    lookup._tell.cache_clear()
    with caplog.at_level(logging.WARNING, "fedpatchcore.hooks"):
        yield caplog
    lookup._tell.cache_clear()


@pytest.mark.parametrize(("hook", "lost"), losses("torch"))
def test_a_missing_operator_changes_no_result(
    hook: Hook,
    lost: str,
    whole: Results,
    images: list[Path],
    weights: Weights,
    said: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = select_coreset(whole.features, 40)
    bank = MemoryBank(whole.features[wanted.indices])
    distances, indices = bank.nearest(whole.features, 2)
    remove(monkeypatch, hook, lost)
    found = select_coreset(whole.features, 40)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_array_equal(found.radii, wanted.radii)
    again = MemoryBank(whole.features[wanted.indices]).nearest(whole.features, 2)
    np.testing.assert_array_equal(again[0], distances)
    np.testing.assert_array_equal(again[1], indices)
    without = results(images, weights)
    apart = np.linalg.norm(without.features - whole.features, axis=1)
    assert (apart <= 1e-5 * np.linalg.norm(whole.features, axis=1)).all()
    # Rows in the same order of choice: the coreset of a fit is the same.
    np.testing.assert_allclose(without.bank, whole.bank, rtol=0, atol=1e-5 * whole.bank.max())
    assert without.score == pytest.approx(whole.score, rel=1e-4)
    if hook is BFLOAT16:  # asked for only where bfloat16 may be used
        NumberFormat(8, bfloat16=True)
    (line,) = said.messages
    assert line.startswith(f"torch {version('torch')} has no {hook.name} (")
    assert hook.without in line
    assert line.endswith(f"tested with torch {hook.first} to {hook.last}")


@pytest.mark.parametrize("hook", [CONVOLUTION, CONVOLUTION_ORDER, BFLOAT16])
def test_the_modules_take_the_place_of_fused_convolutions(
    hook: Hook, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = SMALL.with_(precision="bfloat16")
    batch = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    fused = FeatureExtractor(low, weights)
    remove(monkeypatch, hook)
    plain = FeatureExtractor(low, weights)
    assert not isinstance(plain._run, CpuTrunk)
    one, two = fused(batch), plain(batch)
    # bfloat16 keeps 8 bits, and is rounded at other places.
    assert np.abs(one - two).max() < 0.05 * np.abs(one).max()


@pytest.mark.parametrize("hook", [PRODUCT, BFLOAT16])
def test_bfloat16_is_not_chosen_without_fast_products(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert fast_bfloat16() is bool(linear(torch.bfloat16))
    remove(monkeypatch, hook)
    assert not fast_bfloat16()


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (lambda x, y, *rest: torch.zeros(len(x), len(y), dtype=x.dtype), "another result"),
        (lambda x, y: x @ y.T, "TypeError: "),
    ],
    ids=["another result", "other arguments"],
)
def test_an_operator_that_came_to_mean_something_else_is_not_used(
    other: Any,
    why: str,
    whole: Results,
    said: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = select_coreset(whole.features, 40).indices
    assert linear(torch.float32) is not None
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", other)
    assert linear(torch.float32) is None
    np.testing.assert_array_equal(select_coreset(whole.features, 40).indices, wanted)
    (line,) = said.messages
    assert "works otherwise than it did" in line
    assert why in line

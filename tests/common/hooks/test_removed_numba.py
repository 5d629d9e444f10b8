"""Without numba's helpers: the same sums, to the bit, by a plain loop."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hook_cases import forget, losses, remove

from common.hooks.table import CODE_CONTEXT, Hook
from common.patchcore.exact import lanes
from common.patchcore.exact.onednn import convolutions
from common.patchcore.network.cpu_trunk import _Convolution

MODULE = lanes.__name__


def sum_by(function: Any, a: np.ndarray, b: np.ndarray) -> float:
    @numba.njit
    def call(a: Any, b: Any, begin: int, end: int) -> Any:
        return function(a, b, begin, end)

    return float(call(a, b, 3, len(a)))


@pytest.mark.parametrize(("hook", "lost"), losses("numba"))
def test_sums_without_a_helper_are_the_same_bits(
    hook: Hook, lost: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        forget(patch, MODULE)
        remove(patch, hook, lost)
        without = import_module(MODULE)
    # numba itself calls what was taken away, so it is back before anything is compiled.
    assert without.eight_lane_sum is not lanes.eight_lane_sum
    rng = np.random.default_rng(4)
    # Sizes so far apart that another order of the additions gives another sum.
    a, b = (rng.lognormal(0, 4, 8 * 50 + 3).astype(np.float32) for _ in range(2))
    assert sum_by(without.eight_lane_sum, a, b) == sum_by(lanes.eight_lane_sum, a, b)
    assert sum_by(without.eight_lane_sum, a, b) != float(np.cumsum((a - b)[3:] ** 2.0)[-1])


@pytest.mark.parametrize("lost", ["", *CODE_CONTEXT.needs])
def test_3x3_convolutions_without_vector_instructions_are_onednns(
    lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused = convolutions(torch.float32)
    if fused is None:
        pytest.skip("torch has no oneDNN on this machine")
    torch.manual_seed(4)
    module = torch.nn.Conv2d(16, 32, 3, padding=1).requires_grad_(False)
    image = torch.randn(1, 16, 40, 44).contiguous(memory_format=torch.channels_last)
    winograds = _Convolution(module, torch.float32, fused)
    assert winograds.winograd is not None
    with pytest.MonkeyPatch.context() as patch:
        remove(patch, CODE_CONTEXT, lost)
        plain = _Convolution(module, torch.float32, fused)
    assert plain.winograd is None
    # Against sums in float64 Winograd's are off by up to 1.3e-5 here in 60 draws, oneDNN's by less.
    np.testing.assert_allclose(plain(image).numpy(), winograds(image).numpy(), rtol=0, atol=3e-5)

"""Winograd's convolution equals the plain one, tile by tile, at every size and portion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from common.patchcore.exact.onednn import convolutions
from common.patchcore.network import cpu_trunk as _cpu_trunk
from common.patchcore.network.cpu_trunk import _Winograd
from common.patchcore.network.winograd import transform_filter

FUSED = convolutions(torch.float32)
pytestmark = pytest.mark.skipif(FUSED is None, reason="torch has no oneDNN on this machine")


def case(
    height: int, width: int, n_in: int, n_out: int, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image, filters, bias and residual."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(1, n_in, height, width, generator=generator)
    weight = torch.randn(n_out, n_in, 3, 3, generator=generator) / (3 * n_in**0.5)
    bias = torch.randn(n_out, generator=generator)
    residual = torch.randn(1, n_out, height, width, generator=generator)
    image = image.contiguous(memory_format=torch.channels_last)
    return image, weight, bias, residual.contiguous(memory_format=torch.channels_last)


def plain(
    image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor | None
) -> np.ndarray:
    """Slow twin, in float64."""
    out = F.conv2d(image.double(), weight.double(), bias.double(), padding=1)
    return (out if residual is None else out + residual.double()).relu().numpy()


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    n_in=st.sampled_from([16, 48]),
    n_out=st.sampled_from([16, 32]),
    seed=st.integers(0, 99),
)
def test_equals_the_plain_convolution(
    height: int, width: int, n_in: int, n_out: int, seed: int
) -> None:
    image, weight, bias, residual = case(height, width, n_in, n_out, seed)
    convolution = _Winograd(weight, bias, FUSED)
    for added in (None, residual):
        found = convolution(image, added)
        assert found.is_contiguous(memory_format=torch.channels_last)
        # Values are of order 1. Direct float32 convolutions err by some 1e-6, Winograd's by more:
        # the worst pixel of 36,000 drawn cases by 4.2e-5.
        np.testing.assert_allclose(
            found.numpy(), plain(image, weight, bias, added), rtol=0, atol=1e-4
        )
        errors = found.numpy() - plain(image, weight, bias, added)
        assert np.sqrt(np.mean(errors**2)) < 3e-6  # such a pixel is one of thousands


def test_filters_in_winograds_space_are_g_times_filter_times_g() -> None:
    # A filter that is 1 in its middle: the middle column of G times itself.
    weight = np.zeros((1, 1, 3, 3), dtype=np.float32)
    weight[0, 0, 1, 1] = 1
    middle = np.array([0, -1 / 6, 1 / 6, 1 / 12, -1 / 12, 0])
    moved = transform_filter(weight)
    assert moved.shape == (36, 1, 1)
    np.testing.assert_allclose(moved[:, 0, 0].reshape(6, 6), np.outer(middle, middle), atol=1e-8)


def test_portions_and_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    image, weight, bias, residual = case(37, 50, 32, 48)  # 10 x 13 tiles
    wanted = _Winograd(weight, bias, FUSED)(image, residual).numpy()
    shared = _Winograd(weight, bias, FUSED)
    with ThreadPoolExecutor(2) as pool:
        for again in pool.map(lambda _: shared(image, residual).numpy(), range(6)):
            np.testing.assert_array_equal(again, wanted)
    monkeypatch.setattr(_cpu_trunk, "_PORTION", 36 * 48 * 32)
    portions = _Winograd(weight, bias, FUSED)(image, residual).numpy()
    np.testing.assert_allclose(portions, wanted, rtol=0, atol=1e-5)


def test_what_is_not_a_number_stays_one() -> None:
    image, weight, bias, _ = case(12, 12, 16, 16)
    image[0, 3, 5, 5] = torch.nan
    found = _Winograd(weight, bias, FUSED)(image, None).numpy()
    assert np.isnan(found).any()
    assert np.isfinite(found[..., 9:, 9:]).all()  # tiles that do not see the pixel


def layout(weight: torch.Tensor) -> bytes:
    """In which order oneDNN keeps weights."""
    return torch.ops.mkldnn._get_mkldnn_serialized_md(weight).numpy().tobytes()


def test_images_of_any_size_meet_filters_in_their_own_order() -> None:
    """Filters in another order are right, too, but took ten times as long: mixed image sizes."""
    channels = 512
    _, weight, bias, _ = case(1, 1, channels, channels)
    convolution = _Winograd(weight, bias, FUSED)
    for height, width in ((25, 25), (47, 63), (16, 16), (25, 25)):
        image, *_ = case(height, width, channels, channels)
        found = convolution(image, None).numpy()
        np.testing.assert_allclose(found, plain(image, weight, bias, None), rtol=0, atol=2e-4)
    moved = torch.from_numpy(transform_filter(weight.numpy())).view(36 * channels, channels, 1, 1)
    # 7 x 7 = 49 tiles are one portion of 52, 12 x 16 = 192 are three of 64, 4 x 4 = 16 are one.
    assert sorted(convolution.filters) == [16, 52, 64]
    for portion, filters in convolution.filters.items():
        size = [1, 36 * channels, portion, 1]
        fresh = torch.ops.mkldnn._reorder_convolution_weight(
            moved, [0, 0], [1, 1], [1, 1], 36, size
        )
        assert layout(filters) == layout(fresh)
    # What is in one order is kept once.
    assert len({layout(f) for f in convolution.filters.values()}) == len(convolution.layouts)
    assert len({id(f) for f in convolution.filters.values()}) == len(convolution.layouts)

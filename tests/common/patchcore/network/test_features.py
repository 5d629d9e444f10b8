"""Features of many images: the same bits however they are computed, and never computed twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.config import Settings
from common.data.transforms import Preparation
from common.errors import InputError
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.features import FeatureSource, _Wanted
from common.patchcore.network.inputs import ImageInput, as_inputs
from common.patchcore.network.weights import load_weights

PLAIN = _Wanted(np.dtype(np.float32), None, spare=False)


class Counting(FeatureExtractor):
    """Counts the images that go through the network."""

    images = 0

    def __call__(self, batch: torch.Tensor) -> Any:
        self.images += len(batch)
        return super().__call__(batch)


@pytest.fixture
def counting(small: Settings) -> Counting:
    weights = load_weights("resnet18", ("layer2", "layer3"), "random", small.seed)
    network = Counting(small, weights)
    network.images = 0  # after the probe of the feature dimension
    return network


def stream(source: FeatureSource, paths: Sequence[Path], dtype: Any = np.float32) -> list[Any]:
    return [np.array(f) for f in source.stream(list(as_inputs(paths)), dtype)]


def same(one: list[Any], two: list[Any]) -> bool:
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(one, two, strict=True)
    )


@pytest.fixture(scope="module")
def wanted(extractor: FeatureExtractor, pictures: list[Path]) -> list[Any]:
    return stream(FeatureSource(extractor, workers=1), pictures)


def test_features_are_the_extractors_and_in_order(
    extractor: FeatureExtractor, pictures: list[Path], wanted: list[Any]
) -> None:
    for path, features in zip(pictures, wanted, strict=True):
        image = ImageInput(path)
        assert features.shape == (*extractor.space.patch_grid(image.file_size), 384)
        alone = extractor(image.tensor(Preparation())[None])[0]
        np.testing.assert_allclose(features, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_bits_depend_on_nothing_but_the_image(
    extractor: FeatureExtractor,
    pictures: list[Path],
    wanted: list[Any],
    batch_size: int,
    workers: int,
    threads: int,
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        source = FeatureSource(extractor, batch_size=batch_size, workers=workers)
        assert same(stream(source, pictures), wanted)
        assert same(stream(source, pictures[::-1])[::-1], wanted)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_comes_back_when_a_stream_is_left(
    extractor: FeatureExtractor, pictures: list[Path]
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        streamed = FeatureSource(extractor).stream(as_inputs(pictures))
        next(streamed)
        streamed.close()  # type: ignore[attr-defined]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_float16_features_are_the_rounded_ones(
    extractor: FeatureExtractor, pictures: list[Path], wanted: list[Any]
) -> None:
    halves = stream(FeatureSource(extractor), pictures, np.float16)
    assert same(halves, [features.astype(np.float16) for features in wanted])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_hit_equals_a_miss_and_no_image_is_computed_twice(
    counting: Counting, pictures: list[Path], tmp_path: Path, wanted: list[Any], dtype: Any
) -> None:
    source = FeatureSource(counting, FeatureCache(tmp_path / "cache", 10**9), workers=2)
    first = stream(source, pictures, dtype)
    again = stream(source, pictures[::-1], dtype)[::-1]
    other = FeatureSource(counting, FeatureCache(tmp_path / "cache", 10**9))
    assert same(first, [features.astype(dtype) for features in wanted])
    assert same(again, first)
    assert same(stream(other, pictures, dtype), first)
    assert (counting.images, source.computed, other.computed) == (6, 6, 0)
    assert not list((tmp_path / "cache").rglob("*.partial"))


class FirstNumbers:
    """A view that is easy to check: the first numbers of every patch, negated."""

    def __init__(self, count: int) -> None:
        self.count, self.name, self.made = count, f"float32-first-{count}", 0

    def __call__(self, rows: Any) -> Any:
        self.made += 1
        return -np.asarray(rows[:, : self.count], dtype=np.float32)


@pytest.mark.parametrize("way", ["_on_cpu", "_on_gpu"])
def test_a_view_is_made_once_of_features_that_are_computed_once(
    counting: Counting, pictures: list[Path], tmp_path: Path, wanted: list[Any], way: str
) -> None:
    def looked_at(source: FeatureSource, view: FirstNumbers) -> list[Any]:
        stream_ = getattr(source, way)(
            list(as_inputs(pictures)), _Wanted(np.dtype(np.float16), view, spare=False)
        )
        return [np.array(rows) for rows in stream_]

    cache = FeatureCache(tmp_path, 10**9)
    seven, nine = FirstNumbers(7), FirstNumbers(9)
    rounded = [features.astype(np.float16).astype(np.float32) for features in wanted]
    first = looked_at(FeatureSource(counting, cache, workers=1), seven)
    for rows, features in zip(first, rounded, strict=True):
        assert rows.dtype == np.float32
        if way == "_on_cpu":  # the batches of a GPU round otherwise
            np.testing.assert_array_equal(rows, -features[..., :7])
        else:
            np.testing.assert_allclose(rows, -features[..., :7], rtol=1e-3, atol=1e-3)
    # Another process: it finds the views; another view is made of the features on the disk.
    other = FeatureSource(counting, FeatureCache(tmp_path, 10**9), workers=1)
    assert same(looked_at(other, seven), first)
    assert [rows.shape[-1] for rows in looked_at(other, nine)] == [9] * 6
    assert same(looked_at(other, seven), first)
    assert (seven.made, nine.made, counting.images) == (6, 6, 6)
    # A damaged view is made again, and so is a lost one.
    lost, damaged, *_ = sorted(tmp_path.glob("*first-7/*.npy"))
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-9])
    again = FeatureSource(counting, FeatureCache(tmp_path, 10**9), workers=1)
    assert same(looked_at(again, seven), first)
    assert (seven.made, counting.images) == (8, 6)
    # Without a cache a view is made of what is computed.
    assert same(looked_at(FeatureSource(counting, workers=1), seven), first) or way == "_on_gpu"


@pytest.mark.parametrize("way", ["_on_cpu", "_on_gpu"])
def test_a_judged_image_is_computed_once_and_rounded_from_what_was_kept(
    counting: Counting, pictures: list[Path], tmp_path: Path, wanted: list[Any], way: str
) -> None:
    """Measured with training images in the bank's number format first, judged in float32 then."""
    images = [ImageInput(path, judged=number > 3) for number, path in enumerate(pictures)]

    def looked_at(dtype: Any, view: FirstNumbers | None, chosen: Sequence[ImageInput]) -> list[Any]:
        source = FeatureSource(counting, FeatureCache(tmp_path, 10**9), workers=1)
        want = _Wanted(np.dtype(dtype), view, spare=False)
        return [np.array(rows) for rows in getattr(source, way)(list(chosen), want)]

    view = FirstNumbers(7)
    seen = looked_at(np.float16, view, images)
    judged = looked_at(np.float32, None, images[4:])
    whole = looked_at(np.float16, None, images)
    assert counting.images == len(images)
    assert same(whole[4:], [features.astype(np.float16) for features in judged])
    assert same(seen, [-features[..., :7].astype(np.float32) for features in whole])
    if way == "_on_cpu":  # the batches of a GPU round otherwise
        assert same(judged, wanted[4:])
        assert same(whole, [features.astype(np.float16) for features in wanted])
    # Of an image that is not judged nothing is kept beyond what was asked for.
    assert len(list(tmp_path.glob("*-float16/*.npy"))) == 4
    assert len(list(tmp_path.glob("*-float32/*.npy"))) == 2


def test_a_network_at_rest_computes_the_same_again(
    extractor: FeatureExtractor, pictures: list[Path], wanted: list[Any]
) -> None:
    source = FeatureSource(extractor)
    source.rest()
    assert same(stream(source, pictures[::-1])[::-1], wanted)
    source.rest()
    assert same(stream(source, pictures), wanted)


def test_number_formats_and_feature_spaces_are_kept_apart(
    small: Settings, counting: Counting, pictures: list[Path], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path, 10**9)
    stream(FeatureSource(counting, cache), pictures[:2], np.float16)
    full = FeatureSource(counting, cache)
    stream(full, pictures[:2], np.float32)
    assert full.computed == 2
    other = FeatureSource(FeatureExtractor.from_settings(small.with_(image_size=32)), cache)
    assert stream(other, pictures[:1], np.float16)[0].shape[:2] == (4, 6)
    assert other.computed == 1


def test_a_damaged_entry_is_computed_again(
    counting: Counting, pictures: list[Path], tmp_path: Path, wanted: list[Any]
) -> None:
    stream(FeatureSource(counting, FeatureCache(tmp_path, 10**9)), pictures)
    first, second, third, *_ = sorted(tmp_path.rglob("*.npy"))
    first.write_bytes(first.read_bytes()[:-100])
    second.write_bytes(b"")
    third.write_bytes(b"rubbish" * 100)
    source = FeatureSource(counting, FeatureCache(tmp_path, 10**9))
    assert same(stream(source, pictures), wanted)
    assert source.computed == 3
    assert same(stream(source, pictures), wanted)
    assert source.computed == 3


def test_a_cache_too_small_changes_nothing_but_the_work(
    counting: Counting, pictures: list[Path], tmp_path: Path, wanted: list[Any]
) -> None:
    size = wanted[0].nbytes + 200
    source = FeatureSource(counting, FeatureCache(tmp_path, 2 * size))
    assert same(stream(source, pictures), wanted)
    assert same(stream(source, pictures), wanted)
    assert source.computed == 6 + 4
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.npy")) <= 2 * size


def test_images_are_taken_in_a_few_at_a_time(
    extractor: FeatureExtractor, pictures: list[Path]
) -> None:
    taken = []

    def images() -> Iterator[ImageInput]:
        for number in range(1000):
            taken.append(number)
            yield ImageInput(pictures[0])

    streamed = FeatureSource(extractor, workers=2).stream(images())
    for _ in range(3):
        next(streamed)
    assert len(taken) < 10


def test_an_unreadable_image_is_named_in_its_turn(
    extractor: FeatureExtractor, pictures: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures[0].read_bytes()[:500])
    streamed = FeatureSource(extractor).stream(as_inputs([pictures[0], broken, pictures[1]]))
    next(streamed)
    with pytest.raises(InputError, match=r"broken\.png: found"):
        next(streamed)


def test_features_beyond_float16_are_an_error_not_infinity(
    extractor: FeatureExtractor, pictures: list[Path]
) -> None:
    bright = torch.full((3, 40, 56), 1e6)
    source = FeatureSource(extractor)
    assert np.isfinite(next(source.stream([ImageInput(bright)]))).all()
    with pytest.raises(InputError, match=r"^Tensor of 40 x 56 .*float16.*wire-dtype=float32"):
        list(source.stream([ImageInput(bright)], np.float16))


def test_the_batches_of_a_gpu_give_the_same_features_in_the_same_order(
    counting: Counting, pictures: list[Path], tmp_path: Path, wanted: list[Any]
) -> None:
    """The path of batches, run here on the CPU: equal up to rounding, cached likewise."""
    cache = FeatureCache(tmp_path, 10**9)
    source = FeatureSource(counting, cache, batch_size=2)
    inputs = list(as_inputs(pictures))
    list(source._on_gpu(inputs[1:2], PLAIN))
    found = [np.array(f) for f in source._on_gpu(inputs, PLAIN)]
    assert counting.images == 6
    for features, one in zip(found, wanted, strict=True):
        np.testing.assert_allclose(features, one, rtol=1e-4, atol=1e-4)
    again = [np.array(f) for f in source._on_gpu(iter(inputs), PLAIN)]
    assert same(again, found)
    assert counting.images == 6


def test_a_batch_is_decoded_while_the_one_before_is_computed(
    counting: Counting, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures[0].read_bytes()[:500])
    inputs = list(as_inputs([*pictures[:3], broken]))
    decoded: list[str] = []
    tensor = ImageInput.tensor

    def noted(image: ImageInput, size: int) -> torch.Tensor:
        decoded.append(image.name)
        return tensor(image, size)

    monkeypatch.setattr(ImageInput, "tensor", noted)
    streamed = FeatureSource(counting, batch_size=1, workers=1)._on_gpu(inputs, PLAIN)
    next(streamed)
    # One went through the network; the next is being decoded, the one after it is not.
    assert counting.images == 1
    assert set(decoded) <= {image.name for image in inputs[:2]}
    assert len([*itertools.islice(streamed, 2)]) == 2
    with pytest.raises(InputError, match=r"broken\.png: found"):
        next(streamed)
    assert sorted(decoded) == sorted(image.name for image in inputs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_a_gpu_agrees_with_the_cpu(
    small: Settings, pictures: list[Path], wanted: list[Any]
) -> None:
    source = FeatureSource(FeatureExtractor.from_settings(small.with_(device="cuda")))
    for features, one in zip(stream(source, pictures), wanted, strict=True):
        assert np.abs(features - one).max() < 1e-4 * np.abs(one).max()

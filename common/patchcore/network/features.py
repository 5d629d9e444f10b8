"""Patch features of many images: in parallel, bounded in memory, and never computed twice."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any, ParamSpec, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from common.errors import InputError
from common.patchcore.exact.device import DeviceUnfit, accelerator
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.inputs import ImageInput
from common.patchcore.network.memory import return_free_memory

Features = NDArray[np.floating]
Done = TypeVar("Done")
Given = ParamSpec("Given")


class View(Protocol):
    """What a pass over the images needs instead of whole features, as their projection."""

    @property
    def name(self) -> str:
        """Names the entries of the cache: views of one name are the same bits."""

    def __call__(self, rows: Features) -> Features:
        """Map features (n, d) to (n, p), row by row."""


@dataclass(frozen=True)
class _Wanted:
    """What a stream is asked for, see `FeatureSource.stream`."""

    dtype: np.dtype[Any]
    view: View | None
    spare: bool


@dataclass(frozen=True)
class _Keys:
    """Where the cache has an image's features: as asked for, and as the network gave them."""

    asked: str
    whole: str


@dataclass(frozen=True)
class _Batch:
    """Images on their way through a GPU: what is known of them, else their pictures to come."""

    images: list[ImageInput]
    keys: list[_Keys]
    known: list[Features | None]
    tensors: list[Future[torch.Tensor]]


class FeatureSource:
    """Gives the patch features of images, from the cache where they are known.

    Parameters
    ----------
    extractor : FeatureExtractor
    cache : FeatureCache, optional
        Without it everything is computed anew.
    batch_size : int
        Images of one size that go through a GPU together. On CPU every image is a call of its
        own, so that its features do not depend on its neighbours.
    workers : int
        Images decoded side by side; on CPU also computed side by side, one thread each, so that
        features do not depend on the number of cores either.

    Attributes
    ----------
    computed : int
        Images that went through the network so far.

    Notes
    -----
    If a GPU fails in the middle of a stream, the CPU computes what is left; `whole` is for work
    that must not mix the two.

    Peak memory beside the network: about `2 x workers` images and their features (or views of
    them) on CPU, two batches and the features of one on a GPU.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        cache: FeatureCache | None = None,
        batch_size: int = 32,
        workers: int = 4,
    ) -> None:
        self.extractor, self.cache = extractor, cache
        self.batch_size, self.workers = batch_size, max(1, workers)
        self.computed = 0
        self._lock = threading.Lock()
        self._whole = False

    def whole(self, work: Callable[Given, Done], *args: Given.args, **kwargs: Given.kwargs) -> Done:
        """Do some work with features that one device computes: if it fails, all again by the CPU.

        Parameters
        ----------
        work : callable
            Uses this source's streams; leaves nothing behind that a second call would find.
        *args, **kwargs
            What it is called with.

        Notes
        -----
        Work within other such work is done again with the whole of that.
        """
        if self._whole:
            return work(*args, **kwargs)
        self._whole = True
        try:
            return work(*args, **kwargs)
        except DeviceUnfit as error:
            self.extractor.leave_device(error)
        finally:
            self._whole = False
        return work(*args, **kwargs)

    def stream(
        self,
        inputs: Iterable[ImageInput],
        dtype: DTypeLike = np.float32,
        view: View | None = None,
        *,
        spare: bool = False,
    ) -> Iterator[Features]:
        """Yield the features of each image, in order.

        Parameters
        ----------
        inputs : iterable of ImageInput
            Taken in a few at a time.
        dtype : float16 or float32
            What the cache keeps; float16 features are rounded once, whether cached or not. Of
            images that will be judged, too (`ImageInput.judged`), it keeps float32 in any case.
        view : View, optional
            Yield this view of the features instead. The cache keeps both.
        spare : bool
            Whether the images are looked at once, as test images: the cache keeps their features
            only in room that no others need.

        Yields
        ------
        array of shape (rows, columns, d), `dtype`; or (rows, columns, p) of a view
            A file mapped into memory if the cache had it, and always if it keeps a view.

        Raises
        ------
        InputError
            Naming the image that cannot be read, or whose features are not finite in `dtype`.
        """
        want = _Wanted(np.dtype(dtype), view, spare)
        given, pending = iter(inputs), deque[ImageInput]()

        def taken() -> Iterator[ImageInput]:
            for image in given:
                pending.append(image)
                yield image

        if accelerator(self.extractor.device) is not None:
            try:
                for features in self._on_gpu(taken(), want):
                    pending.popleft()
                    yield features
                return
            except DeviceUnfit as error:
                if self._whole:
                    raise
                self.extractor.leave_device(error)
        yield from self._on_cpu(chain(pending, given), want)

    def rest(self) -> None:
        """Free the memory that only a computing network needs, and the remains of past images.

        The network takes it again with the next image, in about a second.
        """
        self.extractor.rest()
        return_free_memory()

    @property
    def side_by_side(self) -> int:
        """How many images a CPU computes at once, one thread each."""
        return min(self.workers, max(1, torch.get_num_threads()))

    def single(self, image: ImageInput) -> Features:
        """Compute one image as `stream` does on a CPU, in the thread that calls.

        For who gets his images one by one, and has a pool of `side_by_side` threads for them.

        Parameters
        ----------
        image : ImageInput

        Returns
        -------
        array of shape (rows, columns, d), float32

        Raises
        ------
        InputError
            As `stream`.
        """
        return self._single(image, _Wanted(np.dtype(np.float32), None, True))

    def _single(self, image: ImageInput, want: _Wanted) -> Features:
        torch.set_num_threads(1)  # holds for the pool's own threads, see FeatureExtractor
        keys = self._keys(image, want.dtype)
        known = self._known(image, keys, want)
        if known is not None:
            return known
        tensor = image.tensor(self.extractor.space.preparation)
        return self._compute([image], [keys], [tensor], want)[0]

    def _on_cpu(self, inputs: Iterable[ImageInput], want: _Wanted) -> Iterator[Features]:
        cores, parallel = torch.get_num_threads(), self.side_by_side

        def one(image: ImageInput) -> Features:
            return self._single(image, want)

        with ThreadPoolExecutor(parallel) as pool:
            try:
                yield from _in_order(pool, one, inputs, ahead=2 * parallel)
            finally:
                torch.set_num_threads(cores)

    def _on_gpu(self, inputs: Iterable[ImageInput], want: _Wanted) -> Iterator[Features]:
        """Batch by batch; while one is computed, the images of the next are decoded."""
        preparation = self.extractor.space.preparation
        waiting: deque[_Batch] = deque()
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for images, keys in self._batches(inputs, want):
                    known = [self._known(*pair, want) for pair in zip(images, keys, strict=True)]
                    tensors = []
                    if any(features is None for features in known):
                        tensors = [pool.submit(image.tensor, preparation) for image in images]
                    waiting.append(_Batch(images, keys, known, tensors))
                    if len(waiting) > 1:
                        yield from self._finish(waiting.popleft(), want)
                while waiting:
                    yield from self._finish(waiting.popleft(), want)
            finally:
                for batch in waiting:
                    for future in batch.tensors:
                        future.cancel()

    def _batches(
        self, inputs: Iterable[ImageInput], want: _Wanted
    ) -> Iterator[tuple[list[ImageInput], list[_Keys]]]:
        """Images of one size with their keys, those in the cache apart from the others."""
        pairs = ((image, self._keys(image, want.dtype)) for image in inputs)
        for _, group in groupby(
            pairs, lambda pair: (pair[0].file_size, self._knows(pair[1], want.view))
        ):
            while chunk := list(islice(group, self.batch_size)):
                yield [image for image, _ in chunk], [keys for _, keys in chunk]

    def _finish(self, batch: _Batch, want: _Wanted) -> Iterator[Features]:
        if not batch.tensors:
            return (features for features in batch.known if features is not None)
        tensors = [future.result() for future in batch.tensors]
        return iter(self._compute(batch.images, batch.keys, tensors, want))

    def _compute(
        self,
        images: list[ImageInput],
        keys: list[_Keys],
        tensors: list[torch.Tensor],
        want: _Wanted,
    ) -> list[Features]:
        batch = self.extractor(torch.stack(tensors))
        with self._lock:
            self.computed += len(images)
        results = []
        for image, own, whole in zip(images, keys, batch, strict=True):
            features = _rounded(image, whole, want.dtype)
            if self.cache is not None and image.judged:
                self.cache.put(own.whole, whole, spare=want.spare)
            elif self.cache is not None:
                self.cache.put(own.asked, features, spare=want.spare)
            results.append(self._viewed(own, features, want.view))
        return results

    def _keys(self, image: ImageInput, dtype: DTypeLike) -> _Keys:
        if self.cache is None:
            return _Keys("", "")
        content, extractor, cache = image.content_key(), self.extractor, self.cache
        fingerprint, producer = extractor.space.fingerprint, extractor.producer
        asked, whole = (
            cache.key(content, fingerprint, producer, one) for one in (dtype, np.float32)
        )
        return _Keys(asked, whole)

    def _knows(self, keys: _Keys, view: View | None) -> bool:
        if self.cache is None:
            return False
        entries = [keys.asked, keys.whole, *([] if view is None else [_of_view(keys.asked, view)])]
        return any(map(self.cache.has, entries))

    def _known(self, image: ImageInput, keys: _Keys, want: _Wanted) -> Features | None:
        """What is there already, or can be made of it without the network."""
        if self.cache is None:
            return None
        if want.view is not None:
            known = self.cache.get(_of_view(keys.asked, want.view))
            if known is not None:
                # Rows that are chosen by their view are then read whole, and so are judged images.
                self.cache.use(keys.asked)
                self.cache.use(keys.whole)
                return known
        features = self.cache.get(keys.asked)
        if features is None:
            whole = self.cache.get(keys.whole)
            features = None if whole is None else _rounded(image, whole, want.dtype)
        return None if features is None else self._viewed(keys, features, want.view)

    def _viewed(self, keys: _Keys, features: Features, view: View | None) -> Features:
        """Make a view and keep it; the kept one is mapped from its file, and needs no memory."""
        if view is None:
            return features
        rows = view(features.reshape(-1, features.shape[-1]))
        seen = rows.reshape(*features.shape[:2], -1)
        if self.cache is None:
            return seen
        self.cache.put(_of_view(keys.asked, view), seen)
        kept = self.cache.get(_of_view(keys.asked, view))
        return seen if kept is None else kept


def _rounded(image: ImageInput, features: Features, dtype: np.dtype[Any]) -> Features:
    """Features in the number format that is asked for, if it holds them."""
    with np.errstate(over="ignore"):
        found = np.asarray(features, dtype=dtype)
    if not np.isfinite(found).all():
        raise InputError(
            f"{image.name}: its features are not finite as {dtype.name}; "
            "use other weights or wire-dtype=float32"
        )
    return found


def _of_view(key: str, view: View) -> str:
    """Name the cache's entry of a view: in a folder of its own, beside that of the features."""
    folder, _, content = key.rpartition("/")
    return f"{folder}-{view.name}/{content}"


def _in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[ImageInput], Features],
    inputs: Iterable[ImageInput],
    ahead: int,
) -> Iterator[Features]:
    """Results in the order of the inputs, with at most `ahead` of them waiting."""
    waiting: deque[Future[Features]] = deque()
    try:
        for image in inputs:
            waiting.append(pool.submit(work, image))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()

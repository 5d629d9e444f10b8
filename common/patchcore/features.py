"""Patch features of many images: in parallel, bounded in memory, and never computed twice."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, islice

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from common.errors import InputError
from common.patchcore.backbone import FeatureExtractor
from common.patchcore.feature_cache import FeatureCache
from common.patchcore.inputs import ImageInput

Features = NDArray[np.floating]


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
    Peak memory beside the network: about `2 x workers` images and their features on CPU, one
    batch and its features on a GPU.
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

    def stream(
        self, inputs: Iterable[ImageInput], dtype: DTypeLike = np.float32
    ) -> Iterator[Features]:
        """Yield the features of each image, in order.

        Parameters
        ----------
        inputs : iterable of ImageInput
            Taken in a few at a time.
        dtype : float16 or float32
            What the cache keeps; float16 features are rounded once, whether cached or not.

        Yields
        ------
        array of shape (rows, columns, d), `dtype`

        Raises
        ------
        InputError
            Naming the image that cannot be read, or whose features are not finite in `dtype`.
        """
        on_cpu = self.extractor.device.type == "cpu"
        yield from self._on_cpu(inputs, dtype) if on_cpu else self._on_gpu(inputs, dtype)

    def _on_cpu(self, inputs: Iterable[ImageInput], dtype: DTypeLike) -> Iterator[Features]:
        cores = torch.get_num_threads()

        def one(image: ImageInput) -> Features:
            torch.set_num_threads(1)  # holds for the pool's own threads, see FeatureExtractor
            key = self._key(image, dtype)
            known = self._known(key)
            return known if known is not None else self._compute([image], [key], dtype)[0]

        parallel = min(self.workers, max(1, cores))
        with ThreadPoolExecutor(parallel) as pool:
            try:
                yield from _in_order(pool, one, inputs, ahead=2 * parallel)
            finally:
                torch.set_num_threads(cores)

    def _on_gpu(self, inputs: Iterable[ImageInput], dtype: DTypeLike) -> Iterator[Features]:
        pairs = ((image, self._key(image, dtype)) for image in inputs)
        for _, group in groupby(pairs, lambda pair: (pair[0].file_size, self._knows(pair[1]))):
            while chunk := list(islice(group, self.batch_size)):
                known = [self._known(key) for _, key in chunk]
                if all(features is not None for features in known):
                    yield from (features for features in known if features is not None)
                else:
                    images, chunk_keys = zip(*chunk, strict=True)
                    yield from self._compute(list(images), list(chunk_keys), dtype)

    def _compute(
        self, images: list[ImageInput], keys: list[str], dtype: DTypeLike
    ) -> list[Features]:
        size = self.extractor.space.image_size
        if len(images) > 1:
            with ThreadPoolExecutor(self.workers) as pool:
                tensors = list(pool.map(lambda image: image.tensor(size), images))
        else:
            tensors = [images[0].tensor(size)]
        batch = self.extractor(torch.stack(tensors))
        with np.errstate(over="ignore"):
            results = [np.asarray(features, dtype=dtype) for features in batch]
        with self._lock:
            self.computed += len(images)
        for image, key, features in zip(images, keys, results, strict=True):
            if not np.isfinite(features).all():
                raise InputError(
                    f"{image.name}: its features are not finite as {np.dtype(dtype).name}; "
                    "use other weights or wire-dtype=float32"
                )
            if self.cache is not None:
                self.cache.put(key, features)
        return results

    def _key(self, image: ImageInput, dtype: DTypeLike) -> str:
        if self.cache is None:
            return ""
        return self.cache.key(image.content_key(), self.extractor.space.fingerprint, dtype)

    def _knows(self, key: str) -> bool:
        return self.cache is not None and self.cache.has(key)

    def _known(self, key: str) -> Features | None:
        return None if self.cache is None else self.cache.get(key)


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

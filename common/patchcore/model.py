"""`PatchCore`: fit a memory bank on good images, judge others by their distance from it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.config import Settings
from common.errors import InputError
from common.patchcore.anomaly_map import AnomalyScorer
from common.patchcore.local_bank import (
    Distances,
    LocalBank,
    Progress,
    build_local_bank,
    row_budget,
)
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.model_store import SHARED, SavedModel, StationCalibration
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import as_inputs
from common.patchcore.network.weights import load_weights, random_seed, resolve_auto
from common.patchcore.row_format import row_dtype, settle
from common.system.files import temporary_folder

_SPILL_LIMIT = 2**50


@dataclass(frozen=True)
class Prediction:
    """How one image was judged.

    Attributes
    ----------
    anomaly_map : array of shape (H, W), float32
        Euclidean distances from the bank, at the image's own size.
    score : float
        The image score: the map's maximum (or a percentile, see `image-score`).
    """

    anomaly_map: NDArray[np.float32]
    score: float


class PatchCore:
    """PatchCore on a frozen ResNet.

    Parameters
    ----------
    settings : Settings, optional
        Default: the run config's defaults.
    extractor : FeatureExtractor, optional
        One that is loaded already.
    cache : FeatureCache, optional
        Keeps features between calls and processes.
    **changes
        Settings to change, as `PatchCore(image_size=256, weights="random")`.

    Examples
    --------
    >>> model = PatchCore(backbone="resnet18", weights="random")       # doctest: +SKIP
    >>> model.fit(sorted(Path("data/bottle/train/good").glob("*.png")))  # doctest: +SKIP
    >>> model.predict_single("data/bottle/test/good/000.png").score    # doctest: +SKIP

    References
    ----------
    Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        extractor: FeatureExtractor | None = None,
        cache: FeatureCache | None = None,
        **changes: Any,
    ) -> None:
        self.settings = (settings or Settings()).with_(**changes)
        if extractor is None:
            if self.settings.weights == "auto":
                source, _ = resolve_auto(self.settings.backbone, synthetic=False)
                self.settings = self.settings.with_(weights=source)
            extractor = FeatureExtractor.from_settings(self.settings)
        self.extractor = extractor
        self.source = FeatureSource(
            extractor, cache, self.settings.batch_size, self.settings.num_workers
        )
        self.banks: dict[str, NDArray[np.floating]] = {}
        self.thresholds: dict[str, dict[str, Any]] = {}
        self.calibration: dict[str, list[float]] = {}
        self.stations: dict[str, StationCalibration] = {}
        self.categories: tuple[str, ...] = ()
        self.selection: Distances | None = None
        self.radius: float | None = None
        self.provenance: dict[str, Any] = {}
        self._radii: dict[str, float] = {}
        self._search: dict[str, MemoryBank] = {}

    @property
    def space(self) -> FeatureSpace:
        """The feature space of the banks."""
        return self.extractor.space

    @property
    def storage_dtype(self) -> np.dtype[Any]:
        """Number format of bank rows."""
        return row_dtype(self.settings.wire_dtype)

    def fit(
        self,
        images: Iterable[Any],
        category: str | None = None,
        progress: Progress | None = None,
    ) -> PatchCore:
        """Build the memory bank of good images.

        Parameters
        ----------
        images : iterable
            Whatever `as_inputs` takes: paths, PIL images, arrays, tensors, data-set items, loader
            batches.
        category : str, optional
            Fit one bank per category by calling once for each; without it the bank is shared.
            A bank that is there already is replaced.
        progress : callable (images done, images), optional

        Returns
        -------
        PatchCore
            Itself.

        Raises
        ------
        InputError
            Without an image, or naming one that cannot be read.
        ValueError
            If a shared bank and banks of categories would stand side by side.

        Notes
        -----
        The bank has min(ceil(`local-coreset-ratio` x patches), `global-bank-size`) rows. Features
        are spilled to a temporary folder unless a cache was given.
        """
        name = category or SHARED
        if any((bank == SHARED) != (name == SHARED) for bank in self.banks):
            raise ValueError(
                f"cannot add the bank {name!r} to {sorted(self.banks)}: a model has either one "
                "shared bank or one per category"
            )
        self.selection = Distances(self.settings.coreset_projection, self.settings.seed)
        local = self._local_bank(images, self.selection, progress)
        self.set_bank(name, settle(local.rows, self.settings.wire_dtype))
        self._radii[name] = float(local.radii[-1])
        self.radius = max(self._radii.values())
        if category is not None and category not in self.categories:
            self.categories = (*self.categories, category)
        return self

    def _local_bank(
        self, images: Iterable[Any], distances: Distances, progress: Progress | None
    ) -> LocalBank:
        inputs = list(as_inputs(images))
        if not inputs:
            raise InputError("no training image was given; PatchCore needs at least one good image")
        settings = self.settings
        grids = [self.space.patch_grid(image.file_size) for image in inputs]
        patches = sum(rows * columns for rows, columns in grids)
        size = min(row_budget(settings.local_coreset_ratio, patches), settings.global_bank_size)
        if self.source.cache is not None:
            return build_local_bank(
                self.source, inputs, size, distances, self.storage_dtype, progress=progress
            )
        with temporary_folder("fedpatchcore-") as spill:
            source = FeatureSource(
                self.extractor,
                FeatureCache(spill, _SPILL_LIMIT),
                settings.batch_size,
                settings.num_workers,
            )
            return build_local_bank(
                source, inputs, size, distances, self.storage_dtype, progress=progress
            )

    def set_bank(self, name: str, rows: NDArray[np.floating]) -> None:
        """Take over a finished memory bank.

        Parameters
        ----------
        name : str
            A category, or `shared`.
        rows : array of shape (m, d)

        Raises
        ------
        ValueError
            If the rows are not of this feature space's dimension.
        """
        if rows.ndim != 2 or rows.shape[1] != self.extractor.feature_dim or len(rows) == 0:
            raise ValueError(
                f"bank {name!r}: shape {rows.shape}; expected (rows, {self.extractor.feature_dim})"
            )
        self.banks[name] = rows
        self._search.pop(name, None)

    def predict(self, images: Iterable[Any], category: str | None = None) -> list[Prediction]:
        """Judge images; see `predict_each` for folders too large to hold all maps at once."""
        return list(self.predict_each(images, category))

    def predict_single(self, image: Any, category: str | None = None) -> Prediction:
        """Judge one image."""
        return self.predict([image], category)[0]

    def predict_each(
        self, images: Iterable[Any], category: str | None = None
    ) -> Iterator[Prediction]:
        """Judge images one after another.

        Parameters
        ----------
        images : iterable
            Whatever `as_inputs` takes.
        category : str, optional
            Which bank judges; may be left out if there is only one.

        Yields
        ------
        Prediction
            In order; the map has the size of the image as it was given.

        Raises
        ------
        InputError
            If no bank fits, or an image cannot be read.
        """
        scorer = self.scorer(category)
        inputs, sizes = itertools.tee(as_inputs(images))
        for image, features in zip(sizes, self.source.stream(inputs), strict=True):
            anomaly_map = scorer.anomaly_map(features, image.file_size)
            yield Prediction(anomaly_map, scorer.image_score(anomaly_map))

    def scorer(self, category: str | None = None) -> AnomalyScorer:
        """Return what judges images of a category."""
        name = self.bank_name(category)
        if name not in self._search:
            rows = np.asarray(self.banks[name], dtype=np.float32)
            self._search[name] = MemoryBank(rows, device=self.extractor.device)
        return AnomalyScorer(
            self._search[name], self.space.image_size, self.settings.score_percentile
        )

    def bank_name(self, category: str | None) -> str:
        """Name of the bank that judges a category.

        Raises
        ------
        InputError
            If there is none, naming those that are there.
        """
        if not self.banks:
            raise InputError("the model has no memory bank yet; call fit or load first")
        if SHARED in self.banks:
            return SHARED
        if category in self.banks:
            return str(category)
        if category is None and len(self.banks) == 1:
            return next(iter(self.banks))
        raise InputError(
            f"the model has no bank for category {category!r}; it has: "
            f"{', '.join(sorted(self.banks))}"
        )

    def get_stats(self) -> dict[str, Any]:
        """Return `memory_bank_size`, `feature_dim`, `banks`, `radius`, `feature_space`, ..."""
        return {
            "memory_bank_size": sum(len(rows) for rows in self.banks.values()),
            "feature_dim": self.extractor.feature_dim,
            "banks": {name: len(rows) for name, rows in self.banks.items()},
            "categories": list(self.categories),
            "radius": self.radius,
            "backbone": self.space.backbone,
            "feature_space": self.space.describe(),
            "fingerprint": self.space.fingerprint,
            "device": str(self.extractor.device),
        }

    def save(self, folder: Path | str) -> None:
        """Write `bank.safetensors` and `model.json` (no pickle)."""
        if not self.banks:
            raise InputError("the model has no memory bank to save; call fit first")
        SavedModel(
            banks=self.banks,
            space=self.space,
            image_score=self.settings.image_score,
            categories=self.categories,
            thresholds=self.thresholds,
            calibration=self.calibration,
            stations=self.stations,
            selection=self.selection,
            radius=self.radius,
            weights_source=self.settings.absolute().weights,
            provenance=self.provenance,
        ).save(Path(folder))

    @classmethod
    def load(
        cls, folder: Path | str, *, cache: FeatureCache | None = None, **changes: Any
    ) -> PatchCore:
        """Read a saved model.

        Parameters
        ----------
        folder : path
            A model folder, or a run folder with `model/` in it.
        cache : FeatureCache, optional
        **changes
            `device`, `batch_size`, `num_workers`, `image_score`, or `weights` with the path of
            the weight file where this machine has it elsewhere.

        Raises
        ------
        InputError
            If the model is damaged, the weights found here are not those it was built with, or a
            change would make another feature space.
        """
        saved = SavedModel.load(Path(folder))
        space = saved.space
        seed, source = random_seed(space.weights), saved.weights_source
        if seed is not None:
            source = "random"
        elif space.weights == "imagenet" or source in ("", "auto", "random"):
            source = "imagenet"
        fitted: dict[str, Any] = {} if seed is None else {"seed": seed}
        if saved.selection is not None:
            chosen = saved.selection
            fitted = {"coreset_projection": chosen.components, "seed": chosen.seed}
        if changes.get("weights") == "auto":
            del changes["weights"]  # where the model itself says
        settings = Settings(
            backbone=space.backbone,
            layers=",".join(space.layers),
            neighborhood_size=space.neighborhood_size,
            image_size=space.image_size,
            precision=space.precision,
            image_score=saved.image_score,
            weights=source,
            **fitted,
            wire_dtype=str(next(iter(saved.banks.values())).dtype),
            bank_scope="shared" if SHARED in saved.banks else "category",
        ).with_(**changes)
        weights = load_weights(
            settings.backbone,
            settings.layer_names,
            settings.weights,
            settings.seed if seed is None else seed,
        )
        if weights.sha256 != space.weights_sha256:
            raise InputError(
                f"{folder}: built with weights {space.weights} (sha256 "
                f"{space.weights_sha256[:12]}...), found {weights.label} "
                f"({weights.sha256[:12]}...); name the right file with weights=PATH"
            )
        model = cls(settings, extractor=FeatureExtractor(settings, weights), cache=cache)
        if model.space.fingerprint != space.fingerprint:
            raise InputError(
                f"{folder}: was built in {space.describe()}; the settings given ask for "
                f"{model.space.describe()}, in which its bank means nothing"
            )
        for name, rows in saved.banks.items():
            if rows.shape[1] != model.extractor.feature_dim:
                raise InputError(
                    f"{folder}: bank {name!r} has {rows.shape[1]} numbers a row, its feature "
                    f"space {model.extractor.feature_dim}; the files do not belong together"
                )
            model.set_bank(name, rows)
            model._radii[name] = saved.radius or 0.0
        model.thresholds, model.categories = dict(saved.thresholds), saved.categories
        model.calibration, model.stations = dict(saved.calibration), dict(saved.stations)
        model.selection = saved.selection
        model.radius, model.provenance = saved.radius, dict(saved.provenance)
        return model

"""`PatchCore`: fit a memory bank on good images, judge others by their distance from it."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.config import Settings
from common.errors import InputError
from common.patchcore.anomaly_map import AnomalyScorer
from common.patchcore.distances import Distances
from common.patchcore.local_bank import (
    LocalBank,
    Progress,
    bank_patches,
    build_local_bank,
    row_budget,
)
from common.patchcore.memory_bank import MemoryBank
from common.patchcore.model_store import SHARED, SavedModel, StationCalibration, bank_of
from common.patchcore.names import check_names
from common.patchcore.network.architectures import find_backbone
from common.patchcore.network.backbone import FeatureExtractor
from common.patchcore.network.choice import settle_network
from common.patchcore.network.feature_cache import UNLIMITED_BYTES, FeatureCache
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput, as_inputs, with_copies
from common.patchcore.network.weights import load_weights, random_seed
from common.patchcore.owned_bank import OwnedBank
from common.patchcore.row_format import row_dtype, settle
from common.patchcore.shares import Share, fair_sizes, pooled
from common.system.files import temporary_folder


@dataclass(frozen=True)
class Prediction:
    """How one image was judged.

    Attributes
    ----------
    anomaly_map : array of shape (H, W), float32
        Euclidean distances from the bank, at the image's own size.
    score : float
        The image score, a Euclidean distance too: the map's maximum, or what `image-score` asks
        for instead.
    without : array of shape (owners,), float64, optional
        The image score without the rows of each owner, where the bank has several (`set_bank`).
    nearest_by : array of shape (owners,), int64, optional
        How many patches have their nearest row from each owner, where the bank knows.

    Examples
    --------
    >>> import numpy as np
    >>> from common.patchcore import Prediction
    >>> anomaly_map = np.zeros((4, 6), dtype=np.float32)
    >>> anomaly_map[1, 5] = 7.5  # the second row's last pixel is the strangest
    >>> found = Prediction(anomaly_map, score=float(anomaly_map.max()))
    >>> found.score, divmod(int(found.anomaly_map.argmax()), 6)
    (7.5, (1, 5))
    """

    anomaly_map: NDArray[np.float32]
    score: float
    without: NDArray[np.float64] | None = None
    nearest_by: NDArray[np.int64] | None = None


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

    References
    ----------
    Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from common.patchcore import PatchCore
    >>> good = np.zeros((2, 64, 48, 3), dtype=np.uint8)  # two black pictures
    >>> spotted = good[0].copy()
    >>> spotted[16:32, 16:32] = 255
    >>> model = PatchCore(backbone="resnet18", weights="random", device="cpu").fit(good)
    >>> black, spot = model.predict([good[0], spotted])
    >>> spot.anomaly_map.shape, spot.score > 2 * black.score
    ((64, 48), True)
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        extractor: FeatureExtractor | None = None,
        cache: FeatureCache | None = None,
        **changes: Any,
    ) -> None:
        self.settings = check_names((settings or Settings()).with_(**changes))
        if extractor is None:
            self.settings, notice = settle_network(self.settings, may_fall_back=True)
            if notice:
                warnings.warn(notice, stacklevel=2)
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
        self.radii: dict[str, float] = {}
        self.shares: dict[str, Share] = {}
        self.stale: tuple[str, ...] = ()
        self.uncalibrated = ""
        self.provenance: dict[str, Any] = {}
        self._owners: dict[str, NDArray[np.integer]] = {}
        self._search: dict[str, tuple[MemoryBank, OwnedBank | None]] = {}

    @property
    def space(self) -> FeatureSpace:
        """The feature space of the banks."""
        return self.extractor.space

    @property
    def radius(self) -> float | None:
        """The largest radius of all banks: how far any training patch lies from its own."""
        return max(self.radii.values(), default=None)

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
            Good parts only. Whatever `as_inputs` takes: paths; PIL images; arrays of shape (H, W)
            or (H, W, 3), uint8, sRGB from 0 to 255; tensors of shape (3, h, w) or (b, 3, h, w),
            float32, ImageNet-normalized; data-set items; loader batches. Sizes in pixels, and
            they may differ.
        category : str, optional
            Fit one bank per category by calling once for each; without it the bank is shared, and
            each category that the images name (data-set items do) has its share of the rows, in
            proportion to its images. A bank that is there already is replaced.
        progress : callable (images done, images in all), optional
            Called as the work goes on.

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
        The bank has min(ceil(`local-coreset-ratio` x patches), `global-bank-size`) rows, at least
        one for each category, chosen farthest first within the category: see `shares`. With
        `augment`, copies of the images join them: their patches count, images do not. Features
        are spilled to a temporary folder unless a cache was given.

        Examples
        --------
        One patch every 8 pixels: 2 pictures of 8 x 6 patches, a tenth of which are kept.

        >>> import numpy as np
        >>> from common.patchcore import PatchCore
        >>> good = np.zeros((2, 64, 48, 3), dtype=np.uint8)
        >>> model = PatchCore(backbone="resnet18", weights="random", device="cpu")
        >>> model.fit(good, category="clip").banks["clip"].shape
        (10, 384)
        """
        name = bank_of(category) if category else SHARED
        if any((bank == SHARED) != (name == SHARED) for bank in self.banks):
            raise ValueError(
                f"cannot add the bank {name!r} to {sorted(self.banks)}: a model has either one "
                "shared bank or one per category"
            )
        self.selection = Distances(self.settings.coreset_projection, self.settings.seed)
        inputs = list(as_inputs(images))
        if not inputs:
            raise InputError("no training image was given; PatchCore needs at least one good image")
        groups: dict[str, list[ImageInput]] = {}
        for image in inputs:
            groups.setdefault("" if category else image.category or "", []).append(image)
        built = self._local_banks(groups, self.selection, progress)
        wire = self.settings.wire_dtype
        rows = pooled({of: settle(local.rows, wire) for of, local in built.items()})
        self.set_bank(name, rows)
        self.radii[name] = max(float(local.radii[-1]) for local in built.values())
        if category:
            self.categories = tuple(dict.fromkeys((*self.categories, category)))
            return self
        self.shares = {
            of: Share(len(local.rows), float(local.radii[-1])) for of, local in built.items() if of
        }
        self.categories = tuple(self.shares) or self.categories
        return self

    def _local_banks(
        self,
        groups: Mapping[str, list[ImageInput]],
        distances: Distances,
        progress: Progress | None,
    ) -> dict[str, LocalBank]:
        """Choose the rows of each category, within its share; images of no category are one."""
        settings, names = self.settings, sorted(groups)
        patches = [
            sum(bank_patches(self.space, image.file_size, settings.augment) for image in groups[of])
            for of in names
        ]
        ratio = settings.local_coreset_ratio
        total = min(row_budget(ratio, sum(patches)), settings.global_bank_size)
        images = [float(len(groups[of])) for of in names]
        sizes = fair_sizes(total, images, [row_budget(ratio, count) for count in patches])
        copied = {of: with_copies(groups[of], settings.augment) for of in names}
        told = _Told(progress, sum(map(len, copied.values())))

        def build(source: FeatureSource) -> dict[str, LocalBank]:
            told.before = 0
            built = {}
            for of, size in zip(names, sizes, strict=True):
                own, dtype = copied[of], self.storage_dtype
                built[of] = build_local_bank(source, own, size, distances, dtype, progress=told)
                told.before += len(own)
            return built

        if self.source.cache is not None:
            return self.source.whole(build, self.source)
        with temporary_folder("fedpatchcore-") as spill:
            source = FeatureSource(
                self.extractor,
                FeatureCache(spill, UNLIMITED_BYTES),
                settings.batch_size,
                settings.num_workers,
            )
            return source.whole(build, source)

    def set_bank(
        self,
        name: str,
        rows: NDArray[np.floating],
        owners: NDArray[np.integer] | None = None,
    ) -> None:
        """Take over a finished memory bank.

        Parameters
        ----------
        name : str
            A category, or `shared`.
        rows : array of shape (m, d), float16 or float32
            Patch features in the network's own scale, farthest first. Not copied.
        owners : array of shape (m,), integers, optional
            Who brought each row: predictions then say what the score would be without any one of
            them, and are the same otherwise. Takes 4 m d bytes more, for the rows by owner.

        Raises
        ------
        ValueError
            If the rows are not of this feature space's dimension, or not one owner is there for
            each.
        """
        if rows.ndim != 2 or rows.shape[1] != self.extractor.feature_dim or len(rows) == 0:
            raise ValueError(
                f"bank {name!r}: shape {rows.shape}; expected (rows, {self.extractor.feature_dim})"
            )
        if owners is not None and owners.shape != (len(rows),):
            raise ValueError(f"bank {name!r}: {len(rows)} rows, owners of shape {owners.shape}")
        self.banks[name] = rows
        self._owners.pop(name, None)
        if owners is not None:
            self._owners[name] = owners
        self._search.pop(name, None)

    def drop_bank(self, name: str) -> None:
        """Forget a bank, if there is one: its rows, its category and its radius."""
        for kept in (self.banks, self._search, self._owners, self.radii):
            kept.pop(name, None)
        self.categories = tuple(
            category for category in self.categories if bank_of(category) != name
        )
        if name == SHARED:
            self.shares = {}

    def can_judge(self, category: str) -> bool:
        """Whether a bank is there for images of a category."""
        return SHARED in self.banks or bank_of(category) in self.banks

    def predict(self, images: Iterable[Any], category: str | None = None) -> list[Prediction]:
        """Judge images; see `predict_each` for folders too large to hold all maps at once.

        Parameters
        ----------
        images : iterable
            Of the kinds, shapes, dtypes and units that `fit` takes.
        category : str, optional
            Which bank judges; may be left out if there is only one.

        Returns
        -------
        list of Prediction
            In order. Each has `anomaly_map`, an array of shape (H, W), float32, of Euclidean
            distances at the size of the image as it was given, in pixels; and `score`.

        Raises
        ------
        InputError
            If no bank fits, or an image cannot be read.

        Examples
        --------
        A bank that keeps every patch as it is lies at distance 0 from its own pictures.

        >>> import numpy as np
        >>> from common.patchcore import PatchCore
        >>> good = np.zeros((2, 64, 48, 3), dtype=np.uint8)
        >>> model = PatchCore(backbone="resnet18", weights="random", device="cpu",
        ...                   local_coreset_ratio=1.0, wire_dtype="float32").fit(good)
        >>> [judged.score for judged in model.predict(good)]
        [0.0, 0.0]
        """
        return list(self.predict_each(images, category))

    def predict_single(self, image: Any, category: str | None = None) -> Prediction:
        """Judge one image.

        Parameters
        ----------
        image : path, PIL image, array or tensor
            Array of shape (H, W) or (H, W, 3), uint8, sRGB from 0 to 255; or tensor of shape
            (3, h, w), float32, ImageNet-normalized.
        category : str, optional
            Which bank judges; may be left out if there is only one.

        Returns
        -------
        Prediction
            As `predict` gives it.

        Raises
        ------
        InputError
            If no bank fits, or the image cannot be read.

        Examples
        --------
        >>> import numpy as np
        >>> from common.patchcore import PatchCore
        >>> grey = np.full((40, 56), 128, dtype=np.uint8)
        >>> model = PatchCore(backbone="resnet18", weights="random", device="cpu").fit([grey])
        >>> judged = model.predict_single(grey)
        >>> judged.anomaly_map.shape, judged.score == float(judged.anomaly_map.max())
        ((40, 56), True)
        """
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
        for image, features in zip(sizes, self.source.stream(inputs, spare=True), strict=True):
            yield _predicted(scorer, image, features)

    def predict_features(
        self, image: ImageInput, features: NDArray[np.floating], category: str | None = None
    ) -> Prediction:
        """Judge one image whose features are there already, as of `FeatureSource.single`.

        Parameters
        ----------
        image : ImageInput
        features : array of shape (rows, columns, d)
            In the extractor's own precision.
        category : str, optional

        Returns
        -------
        Prediction
            The very one of `predict_single`.

        Raises
        ------
        InputError
            If no bank fits.
        """
        return _predicted(self.scorer(category), image, features)

    def scorer(self, category: str | None = None) -> AnomalyScorer:
        """Return what judges images of a category."""
        name = self.bank_name(category)
        if name not in self._search:
            rows = np.asarray(self.banks[name], dtype=np.float32)
            bank, owned = MemoryBank(rows, device=self.extractor.device), None
            if name in self._owners:
                owned = OwnedBank(rows, self._owners[name], device=self.extractor.device)
            self._search[name] = bank, owned
        bank, owned = self._search[name]
        return AnomalyScorer(bank, self.space.image_size, self.settings.image_score, owned)

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
        if category is not None and bank_of(category) in self.banks:
            return bank_of(category)
        if category is None and len(self.banks) == 1:
            return next(iter(self.banks))
        raise InputError(
            f"the model has no bank for category {category!r}; it has: "
            f"{', '.join(sorted(self.banks))}"
        )

    def get_stats(self) -> dict[str, Any]:
        """Say what the model is and how large.

        Returns
        -------
        dict
            `memory_bank_size`: rows of all banks; `feature_dim`: numbers a row; `banks`: rows of
            each bank by name; `categories`; `radius`: Euclidean distance from the bank's rows to
            the training patch farthest from them, in the space of the coreset's distances (None
            before `fit`); `backbone`, `feature_space`, `fingerprint` and `device`: text.

        Examples
        --------
        >>> import numpy as np
        >>> from common.patchcore import PatchCore
        >>> model = PatchCore(backbone="resnet18", weights="random", device="cpu")
        >>> model.get_stats()["memory_bank_size"]
        0
        >>> stats = model.fit(np.zeros((2, 64, 48, 3), dtype=np.uint8)).get_stats()
        >>> stats["memory_bank_size"], stats["feature_dim"], stats["banks"]
        (10, 384, {'shared': 10})
        """
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
        """Write `bank.safetensors` and `model.json` (no pickle).

        Parameters
        ----------
        folder : path
            The model folder; made if missing.

        Raises
        ------
        InputError
            If there is no memory bank yet.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> from common.patchcore import PatchCore
        >>> model = PatchCore(backbone="resnet18", weights="random", device="cpu")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.fit(np.zeros((2, 64, 48, 3), dtype=np.uint8)).save(folder)
        ...     sorted(os.listdir(folder))
        ['bank.safetensors', 'model.json']
        """
        if not self.banks:
            raise InputError("the model has no memory bank to save; call fit first")
        SavedModel(
            banks=self.banks,
            space=self.space,
            image_score=self.settings.image_score,
            augment=self.settings.augment,
            categories=self.categories,
            thresholds=self.thresholds,
            calibration=self.calibration,
            stations=self.stations,
            selection=self.selection,
            radii=self.radii,
            shares=self.shares,
            stale=self.stale,
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
            Keeps features between calls and processes.
        **changes
            `device`, `batch_size`, `num_workers`, `image_score`, or `weights` with the path of
            the weight file where this machine has it elsewhere.

        Raises
        ------
        InputError
            If the model is damaged, the weights found here are not those it was built with, or a
            change would make another feature space.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from common.patchcore import PatchCore
        >>> good = np.zeros((2, 64, 48, 3), dtype=np.uint8)
        >>> model = PatchCore(backbone="resnet18", weights="random", device="cpu").fit(good)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(folder)
        ...     again = PatchCore.load(folder, device="cpu")
        >>> again.predict_single(good[0]).score == model.predict_single(good[0]).score
        True
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
        asked = Settings(
            backbone=space.backbone,
            layers=",".join(space.layers),
            neighborhood_size=space.neighborhood_size,
            feature_norm=space.feature_norm,
            image_size=space.image_size,
            precision=space.precision,
            image_score=saved.image_score,
            augment=saved.augment,
            weights=source,
            **fitted,
            wire_dtype=str(next(iter(saved.banks.values())).dtype),
            bank_scope="shared" if SHARED in saved.banks else "category",
        )
        settings = check_names(asked.with_(**changes))
        weights = load_weights(
            settings.backbone,
            find_backbone(settings.backbone).used(settings.layers),
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
        model.categories, model.selection = saved.categories, saved.selection
        model.radii, model.shares = dict(saved.radii), dict(saved.shares)
        model.provenance = dict(saved.provenance)
        if settings.image_score != saved.image_score:
            # A threshold is a score of one kind: it says nothing about scores of another.
            model.uncalibrated = (
                f"its thresholds are for image-score {saved.image_score}, not for "
                f"{settings.image_score}"
            )
            return model
        model.thresholds, model.calibration = dict(saved.thresholds), dict(saved.calibration)
        model.stations, model.stale = dict(saved.stations), saved.stale
        return model


class _Told:
    """Progress through the images of all categories, told category by category."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.before = progress, total, 0

    def __call__(self, done: int, of_category: int) -> None:
        if self.progress is not None:
            self.progress(self.before + done, self.total)


def _predicted(
    scorer: AnomalyScorer, image: ImageInput, features: NDArray[np.floating]
) -> Prediction:
    """What a bank says of one image's features."""
    evidence = scorer.evidence(features, image.file_size)
    score = scorer.image_score(evidence)
    if scorer.owned is None or evidence.owners is None:
        return Prediction(evidence.anomaly_map, score)
    uses = np.bincount(evidence.owners.ravel(), minlength=len(scorer.owned.owners))
    without = scorer.scores_without(evidence, score)
    return Prediction(evidence.anomaly_map, score, without, uses)

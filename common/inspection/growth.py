"""New normal images into a saved model, without a refit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.evaluation.drift import STALE
from common.inspection.new_images import NewImage, fresh_images, judge_new, refuse_suspicious
from common.inspection.successor import parent_of, require_free, save_beside
from common.patchcore import PatchCore
from common.patchcore.distances import Distances
from common.patchcore.local_bank import build_local_bank, covering_radius
from common.patchcore.model_folder import recover_model
from common.patchcore.model_store import SHARED, SavedModel
from common.patchcore.network.feature_cache import UNLIMITED_BYTES, FeatureCache
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput, with_copies
from common.patchcore.shares import Share
from common.system.files import temporary_folder

Progress = Callable[[int, int], None]

GROWTH = 0.1
"""By default a bank grows by at most this share of its rows in one go."""


@dataclass(frozen=True)
class Growth:
    """What adding images changed.

    Attributes
    ----------
    bank : str
        Name of the bank that grew.
    images, patches : int
        What was looked at.
    rows_before, rows_after : int
    reach_before, reach_after : float
        Distance of the new images' worst-covered patch from the bank.
    radius : float or None
        The bank's own radius before (in a shared bank the category's, where one was named); what
        lies within it is not new.
    folder : Path or None
        Where the new model was written; None if nothing was new.
    judged : tuple of NewImage
        Every image with what the model thought of it before.
    repeated : int
        Images passed over: copies of others, or added before and covered.
    dry_run : bool
        Whether this is only what would be done.
    stale : tuple of str
        Categories whose calibration this made older than their bank.
    projection_known : bool
        False for a model that does not tell how its coreset was selected.
    """

    bank: str
    images: int
    patches: int
    rows_before: int
    rows_after: int
    reach_before: float
    reach_after: float
    radius: float | None
    folder: Path | None = None
    judged: tuple[NewImage, ...] = ()
    repeated: int = 0
    dry_run: bool = False
    stale: tuple[str, ...] = ()
    projection_known: bool = True

    @property
    def sentence(self) -> str:
        """What happened, in plain words."""
        words = [self._change]
        if self.judged and self.judged[0].threshold is None:
            words.append("The model has no threshold, so it could not say whether they are good")
        if self.repeated:
            words.append(
                f"{self.repeated} images passed over: copies of others, or added before and covered"
            )
        if self.stale:
            words.append(f"{', '.join(self.stale)}: {STALE}")
        if not self.projection_known:
            words.append(
                "The model was saved by an older version: its projection is not known, so "
                "distances were measured in the default one"
            )
        return ". ".join(words)

    @property
    def _change(self) -> str:
        if not self.images:
            return "nothing to add"  # all were passed over
        if self.rows_after == self.rows_before:
            covered = "" if self.radius is None else f"; its radius is {self.radius:.4g}"
            return (
                f"nothing to add: all {self.patches} patches of the {self.images} images lie "
                f"within {self.reach_before:.4g} of the bank{covered}"
            )
        short = ""
        if self.radius is not None and self.reach_after > self.radius:
            short = (
                f" (more than the bank's radius of {self.radius:.4g}: add them again, or with "
                "more --rows, to cover them as well as the others)"
            )
        lay, now = ("lies", "then") if self.dry_run else ("lay", "now")
        return (
            f"{self.rows_after - self.rows_before} rows "
            f"{'would be added' if self.dry_run else 'added'} to {self.rows_before}: the farthest "
            f"patch of the {self.images} images {lay} {self.reach_before:.4g} from the bank, {now} "
            f"{self.reach_after:.4g}{short}"
        )


def add_images(
    folder: Path,
    images: Sequence[Path],
    *,
    category: str | None = None,
    out: Path | None = None,
    write: Callable[[SavedModel], Path] | None = None,
    most_rows: int | None = None,
    progress: Progress | None = None,
    changes: dict[str, Any] | None = None,
    suspicious: bool = False,
    dry_run: bool = False,
) -> Growth:
    """Continue the coreset of a saved model with the patches of new normal images.

    Parameters
    ----------
    folder : Path
        Model or run folder.
    images : sequence of Path
        Good parts. What they show counts as normal from now on.
    category : str, optional
        Which bank; may be left out if there is only one.
    out : Path, optional
        Where to write the new model; by default beside the old one, as `MODEL.1`. No model is ever
        overwritten.
    write : callable (model) -> Path, optional
        Stores the new model in another way than in a folder, and returns where it is.
    most_rows : int, optional
        At most so many rows are added; by default a tenth of the bank's.
    progress : callable (images done, images), optional
    changes : dict of setting to value, optional
        Where and how to compute, such as `device` or `weights`; see `PatchCore.load`. The
        projection belongs to the model and is not to be changed.
    suspicious : bool
        Take images, too, that the model itself calls anomalous: somebody has looked at them.
    dry_run : bool
        Write nothing, and refuse no image for its score; say what would be done.

    Returns
    -------
    Growth

    Raises
    ------
    InputError
        If there is no such model or bank, an image cannot be read, `out` holds anything,
        `changes` ask for another projection than the model's, or images score above the threshold:
        a defect that is added is normal from then on.

    Notes
    -----
    Farthest first, from the rows that are there: only patches farther from the bank than its
    radius are taken, the farthest first, until none is left or `most_rows` are reached. The radius
    itself stays: what is left beyond it can be added the next time. Distances are measured in the
    projected space in which the model's own coreset was selected. A model that was saved before
    that was kept is continued in the default projection: its rows cover the images all the same,
    only the comparison with the radius is then between two projections of the same distances.
    """
    if most_rows is not None and most_rows < 1:
        raise InputError(f"--rows {most_rows}: expected at least 1")
    if out is not None and not dry_run:
        require_free(out)
    place = folder if dry_run else recover_model(folder)
    saved = SavedModel.load(place)
    model = PatchCore.load(place, **(changes or {}))
    distances = _distances(saved, model, changes or {})
    name = model.bank_name(category)
    if category is not None and saved.categories and category not in saved.categories:
        raise InputError(
            f"the model was not built for category {category!r}; it knows: "
            f"{', '.join(saved.categories)}"
        )
    bank = model.banks[name]
    radius = saved.limit(name, category)
    fresh = fresh_images(images, name, radius, _added(saved))
    judged = judge_new(model, category, fresh)
    if not (suspicious or dry_run):
        refuse_suspicious(judged)
    # As the images that are in the bank already: with the copies that its model was built with.
    inputs = with_copies((ImageInput(image.path) for image in judged), saved.augment)
    patches = sum(math.prod(model.space.patch_grid(image.file_size)) for image in inputs)
    limit = radius if radius is not None else 0.0
    growth = Growth(
        bank=name,
        images=len(judged),
        patches=patches,
        rows_before=len(bank),
        rows_after=len(bank),
        reach_before=0.0,
        reach_after=0.0,
        radius=radius,
        judged=judged,
        repeated=len(images) - len(judged),
        dry_run=dry_run,
        projection_known=saved.selection is not None,
    )
    if not inputs:
        return growth
    with temporary_folder("fedpatchcore-") as spill:
        # Features are needed up to three times; on disk they need no memory and are computed once.
        source = FeatureSource(
            model.extractor,
            FeatureCache(spill, UNLIMITED_BYTES),
            model.settings.batch_size,
            model.settings.num_workers,
        )
        before = covering_radius(source, inputs, bank, distances, bank.dtype)
        growth = replace(growth, reach_before=before, reach_after=before)
        if before <= limit:
            return growth
        budget = most_rows or max(1, math.ceil(GROWTH * len(bank)))
        new = build_local_bank(source, inputs, budget, distances, bank.dtype, bank, limit, progress)
    after = float(new.radii[-1])
    growth = replace(growth, rows_after=len(bank) + len(new.rows), reach_after=after)
    if dry_run:
        return growth
    calibrated = tuple(sorted(saved.calibrated(name)))
    grown = replace(
        saved,
        banks={**saved.banks, name: np.concatenate([bank, new.rows])},
        shares=_grown_shares(saved, name, category, growth),
        stale=tuple(sorted({*saved.stale, *calibrated})),
        provenance={
            **saved.provenance,
            **parent_of(place),
            "added": [*_added(saved), _record(growth)],
        },
    )
    target = write(grown) if write is not None else save_beside(grown, place, out)
    return replace(growth, folder=target, stale=calibrated)


def _distances(saved: SavedModel, model: PatchCore, changes: dict[str, Any]) -> Distances:
    """Distances of the model's own coreset; those of the defaults if it does not tell."""
    if saved.selection is None:
        return Distances(model.settings.coreset_projection, model.settings.seed)
    own = {"coreset_projection": saved.selection.components, "seed": saved.selection.seed}
    for key, value in own.items():
        if changes.get(key, value) != value:
            raise InputError(
                f"--set {key.replace('_', '-')}={changes[key]}: the model's coreset was selected "
                f"with {value}, and goes on with it; leave this setting out"
            )
    return saved.selection


def _grown_shares(
    saved: SavedModel, bank: str, category: str | None, growth: Growth
) -> dict[str, Share]:
    """Count the new rows to the category's share of a shared bank; to none if it was not named."""
    own = saved.shares.get(category) if category is not None and bank == SHARED else None
    if category is None or own is None:
        return saved.shares
    grown = replace(own, rows=own.rows + growth.rows_after - growth.rows_before)
    return {**saved.shares, category: grown}


def _added(saved: SavedModel) -> list[dict[str, Any]]:
    earlier = saved.provenance.get("added", [])
    return list(earlier) if isinstance(earlier, list) else []


def _record(growth: Growth) -> dict[str, object]:
    """What the model keeps of it; of the files their names, as folders are nobody else's affair."""
    return {
        "bank": growth.bank,
        "images": growth.images,
        "patches": growth.patches,
        "rows": growth.rows_after - growth.rows_before,
        "reach": growth.reach_after,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": [
            {"name": one.path.name, "sha256": one.sha256, "score": one.score}
            for one in growth.judged
        ],
    }

"""What a station's scores would be without the rows of any one owner of the bank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.data.layout import Sample
from common.patchcore import Prediction

KINDS: Final = ("held-out", "good", "defective")
"""Images of which each is told: held out, and good and defective test images."""
NEAREST: Final = "nearest"
LARGEST: Final = 1e30
"""No distance of features in float32 is above; squares of such numbers stay finite."""
ARRAY_NAMES: Final = (*KINDS, NEAREST)


@dataclass(frozen=True)
class OwnerScores:
    """Of one category at one station.

    Attributes
    ----------
    scores : dict of kind to array of shape (images, owners), float64
        The image score without each owner's rows, for each of `KINDS`; the images in ascending
        order of their score with all rows.
    nearest : array of shape (owners,), int64
        How many patches of the held-out images have their nearest row from each owner.
    """

    scores: dict[str, NDArray[np.float64]]
    nearest: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """By the names of `ARRAY_NAMES`."""
        return {**self.scores, NEAREST: self.nearest}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], known: Mapping[str, Sequence[float]], owners: int
    ) -> OwnerScores:
        """Read what `to_arrays` gave, received from anywhere.

        Parameters
        ----------
        arrays : mapping of name to array
        known : mapping of kind to sequence of float
            The scores with all rows, ascending: without some of them none is lower.
        owners : int

        Raises
        ------
        ValueError
            With one sentence, if they cannot be those of these images.
        """
        if set(arrays) != set(ARRAY_NAMES):
            raise ValueError(f"arrays {sorted(arrays)[:9]}, expected {list(ARRAY_NAMES)}")
        for kind in KINDS:
            found, expected = arrays[kind], (len(known[kind]), owners)
            if found.dtype != np.float64 or found.shape != expected:
                raise ValueError(
                    f"{kind}: {found.dtype} of shape {found.shape}, expected float64 of {expected}"
                )
            if not np.isfinite(found).all():
                raise ValueError(f"{kind}: a score that is not finite")
            if (found > LARGEST).any():
                raise ValueError(f"{kind}: a score above any distance")
            if found.size and (found < np.asarray(known[kind])[:, None]).any():
                raise ValueError(
                    f"{kind}: a score without some rows that is below the score with all of them"
                )
        nearest = arrays[NEAREST]
        if nearest.dtype != np.int64 or nearest.shape != (owners,) or (nearest < 0).any():
            raise ValueError(
                f"{NEAREST}: {nearest.dtype} of shape {nearest.shape}, expected counts, int64 of "
                f"{(owners,)}"
            )
        if bool(nearest.any()) and not len(known["held-out"]):
            raise ValueError(f"{NEAREST}: patches of held-out images, of which there are none")
        return cls({kind: arrays[kind] for kind in KINDS}, nearest)


@dataclass
class OwnerNotes:
    """Collects `OwnerScores` of predictions as they go by; of plain ones it collects nothing."""

    _rows: dict[str, list[tuple[float, NDArray[np.float64]]]] = field(default_factory=dict)
    _nearest: NDArray[np.int64] | None = None

    def tested(
        self, samples: Sequence[Sample], predictions: Iterable[Prediction]
    ) -> Iterator[Prediction]:
        """Pass the predictions of test images on."""
        for sample, prediction in zip(samples, predictions, strict=True):
            self._take("defective" if sample.label else "good", prediction)
            yield prediction

    def held_out(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Pass the predictions of held-out images on."""
        for prediction in predictions:
            self._take("held-out", prediction)
            if prediction.without is not None and prediction.nearest_by is not None:
                before = 0 if self._nearest is None else self._nearest
                self._nearest = prediction.nearest_by + before
            yield prediction

    def forget(self, what: str) -> None:
        """Forget the images (`test` or `held-out`) that could not all be judged."""
        for kind in KINDS[1:] if what == "test" else KINDS[:1]:
            self._rows.pop(kind, None)
        if what == "held-out":
            self._nearest = None

    def scores(self) -> OwnerScores | None:
        """Return what was collected; None of predictions that know no owners."""
        owners = {len(row) for rows in self._rows.values() for _, row in rows}
        if len(owners) != 1:
            return None
        columns = owners.pop()
        nearest = np.zeros(columns, np.int64) if self._nearest is None else self._nearest
        return OwnerScores({kind: self._array(kind, columns) for kind in KINDS}, nearest)

    def _array(self, kind: str, columns: int) -> NDArray[np.float64]:
        rows = sorted(self._rows.get(kind, ()), key=lambda row: row[0])
        return np.array([row for _, row in rows], dtype=np.float64).reshape(len(rows), columns)

    def _take(self, kind: str, prediction: Prediction) -> None:
        if prediction.without is not None:
            self._rows.setdefault(kind, []).append((prediction.score, prediction.without))

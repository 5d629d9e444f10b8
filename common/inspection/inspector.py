"""Images in, results out: one model, loaded once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.data.images import read_image
from common.errors import InputError
from common.inspection.overlay import draw_overlay, save_picture
from common.inspection.regions import SuspiciousRegion, find_regions
from common.inspection.verdict import Rule
from common.patchcore import PatchCore, Prediction
from common.paths import path_text


@dataclass(frozen=True)
class Result:
    """How one image was judged.

    Attributes
    ----------
    path : Path
        Absolute.
    category : str or None
    score : float or None
        None for an image that could not be read.
    threshold : float or None
    anomalous : bool or None
        Whether the score is above the threshold; None without a score or a threshold.
    regions : list of SuspiciousRegion
        Where the map is above the threshold, the highest peak first.
    overlay : str or None
        Relative to the folder of the results.
    error : str or None
        Why the image could not be judged.
    seconds : float
        Time from image to result; not part of the files.
    """

    path: Path
    category: str | None
    score: float | None
    threshold: float | None
    anomalous: bool | None
    regions: list[SuspiciousRegion] = field(default_factory=list)
    overlay: str | None = None
    error: str | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The entry of `results.json`; `error` is there only if there is one."""
        entry: dict[str, Any] = {
            "path": path_text(self.path),
            "category": self.category,
            "score": self.score,
            "threshold": self.threshold,
            "anomalous": self.anomalous,
            "regions": [region.to_json() for region in self.regions],
            "overlay": self.overlay,
        }
        return entry if self.error is None else {**entry, "error": self.error}


class Inspector:
    """Judges images and draws their overlays.

    Parameters
    ----------
    model : PatchCore
    rule : Rule
        See `choose_rule`.
    out : Path
        Folder of the results.
    """

    def __init__(self, model: PatchCore, rule: Rule, out: Path) -> None:
        self.model, self.rule, self.out = model, rule, out

    def judge(self, images: Sequence[tuple[Path, str]]) -> Iterator[Result]:
        """Judge images one after another.

        Parameters
        ----------
        images : sequence of (absolute path, overlay name)

        Yields
        ------
        Result
            In order, each when its overlay is written. An image that cannot be read gives a
            result with an error and does not stop the others.
        """
        clock = time.perf_counter()
        predictions = self._predictions([path for path, _ in images])
        for (path, name), prediction in zip(images, predictions, strict=True):
            result = self._result(path, name, prediction)
            now = time.perf_counter()
            yield Result(**{**vars(result), "seconds": now - clock})
            clock = time.perf_counter()

    def _predictions(self, paths: list[Path]) -> Iterator[Prediction | InputError]:
        """One answer a path; after an unreadable image the rest goes on."""
        done = 0
        while done < len(paths):
            try:
                for prediction in self.model.predict_each(paths[done:], self.rule.category):
                    yield prediction
                    done += 1
            except InputError:
                # The stream reads ahead: it may have failed at a later image than this one.
                yield self._single(paths[done])
                done += 1

    def _single(self, path: Path) -> Prediction | InputError:
        try:
            return self.model.predict_single(path, self.rule.category)
        except InputError as error:
            return error

    def _result(self, path: Path, name: str, prediction: Prediction | InputError) -> Result:
        rule = self.rule
        try:
            if isinstance(prediction, InputError):
                raise prediction
            image = np.asarray(read_image(path))
        except InputError as error:
            return unjudged(path, rule, str(error))
        score, anomaly_map = prediction.score, prediction.anomaly_map
        if not np.isfinite(score):
            return unjudged(path, rule, f"{path}: its score is {score}; the model cannot judge it")
        save_picture(draw_overlay(image, anomaly_map, rule.limits, rule.threshold), self.out / name)
        if rule.threshold is None:
            return Result(path, rule.category, score, None, None, overlay=name)
        regions = find_regions(anomaly_map, rule.threshold)
        anomalous = score > rule.threshold
        return Result(path, rule.category, score, rule.threshold, anomalous, regions, name)


def unjudged(path: Path, rule: Rule, error: str) -> Result:
    """Result of an image that could not be judged: neither good nor anomalous."""
    return Result(path, rule.category, None, rule.threshold, None, error=error)

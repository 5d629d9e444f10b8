"""The same few test images judged by several runs, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from common.data.layout import DataIndex, Sample
from common.patchcore import PatchCore
from common.patchcore.network.feature_cache import FeatureCache
from common.paths import cache_folder
from common.runs.baseline import CACHE_BYTES


def first_test_images(index: DataIndex, category: str, per_type: int = 1) -> list[Sample]:
    """The first test images of each defect type of a category, good ones first."""
    own = index.select("test", category)
    names = dict.fromkeys(sample.defect_type for sample in own)
    return [
        sample
        for name in names
        for sample in [one for one in own if one.defect_type == name][:per_type]
    ]


def score_table(runs: Mapping[str, Path], index: DataIndex, per_type: int = 1) -> pd.DataFrame:
    """Image scores of some test images by the models of several runs.

    Parameters
    ----------
    runs : mapping of str to Path
        Column name to run folder (with a saved model).
    index : DataIndex
    per_type : int
        Images of each category and defect type.

    Returns
    -------
    DataFrame
        Index (category, defect_type, image); `label` ("good" or "defective") and one column of
        distances for each run, NaN where a run has no bank for the category. Scores of different
        banks have different typical sizes: compare the order of good and defective images within
        a column, not the columns' sizes.

    Raises
    ------
    InputError
        If a folder holds no model or its weights are not on this machine.
    """
    cache = FeatureCache(cache_folder("simulation", "features"), CACHE_BYTES)
    samples = [one for name in index.categories for one in first_test_images(index, name, per_type)]
    keys = [(one.category, one.defect_type, one.path.name) for one in samples]
    table = pd.DataFrame(
        {"label": ["defective" if one.label else "good" for one in samples]},
        index=pd.MultiIndex.from_tuples(keys, names=["category", "defect_type", "image"]),
    )
    for name, folder in runs.items():
        model = PatchCore.load(folder, cache=cache)
        known = [one for one in samples if one.category in model.banks or "shared" in model.banks]
        scores = {one.path: model.predict_single(one.path, one.category).score for one in known}
        table[name] = [scores.get(one.path) for one in samples]
    return table

"""Copies of training images are in the bank wherever it is built, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from local_grid import Finished, small_settings
from PIL import Image

from common.config import Settings
from common.data.layout import index_data
from common.patchcore import PatchCore
from common.patchcore.network.augmentation import AUGMENTATIONS
from common.patchcore.network.backbone import FeatureExtractor
from common.plant.preflight.data import Holding, weigh
from common.runs.baseline import run_baseline
from common.runs.local import run_local as run_stations

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache", "plain_files")

Run = Callable[..., Finished]
AUGMENT = pytest.mark.parametrize("augment", ["rotations", "light"])


@AUGMENT
@pytest.mark.parametrize("scope", ["shared", "category"])
def test_one_station_has_the_bank_of_one_place(
    run: Run, parts: Path, tmp_path: Path, augment: str, scope: str
) -> None:
    told = {"num_stations": 1, "bank_scope": scope, "augment": augment, "global_bank_size": 3000}
    done = run(aggregation="concatenate", min_stations=1, oversample_factor=100.0, **told)
    settings = small_settings(parts, tmp_path / "central", **told)
    run_baseline(settings, index_data(parts), tmp_path / "central")
    central = Finished(tmp_path / "central")
    assert central.bank == done.bank
    run_stations(settings, index_data(parts), tmp_path / "local")
    alone = Finished(tmp_path / "local")
    for name, metrics in alone.metrics.items():
        assert metrics["localization"] == done.metrics[name]["localization"]
    # Either tells of the one station that there is.
    (ours,), (theirs,) = alone.contributions.values(), done.contributions.values()
    assert ours["patches"] == theirs["patches"]


@AUGMENT
def test_images_are_those_that_were_taken_and_patches_those_of_all_copies(
    run: Run, augment: str
) -> None:
    """Weights, hold-out and test images stay; patches are 4 or 3 times as many."""
    plain, copied = run(), run(augment=augment)
    times = 1 + len(AUGMENTATIONS[augment])
    for name, station in copied.contributions.items():
        assert station["patches"] == times * plain.contributions[name]["patches"]
        assert station["images"] == plain.contributions[name]["images"]
    for name, scores in copied.model["calibration"].items():
        assert len(scores) == len(plain.model["calibration"][name])
    for name, metrics in copied.metrics.items():
        assert metrics["counts"] == plain.metrics[name]["counts"]
    assert (plain.model["augment"], copied.model["augment"]) == ("none", augment)
    # Held-out and test images once, those of the bank with their copies.
    bank = sum(station["images"] for station in plain.contributions.values())
    again = run(augment=augment, layers="layer1", num_server_rounds=2)
    once = run(layers="layer3", num_server_rounds=2)
    assert again.extracted == once.extracted + (times - 1) * bank


def test_preflight_weighs_the_copies_of_what_goes_into_the_bank(parts: Path) -> None:
    """Two images of 32 x 32 pixels are 2 x 16 patches; the one in the bank is there four times."""
    settings = Settings(backbone="resnet18", weights="random", device="cpu")
    extractor = FeatureExtractor.from_settings(settings)
    paths = [one.path for one in index_data(parts).select("train", "pipe_clip")][:2]
    holding = Holding(index_data(parts), dict.fromkeys(paths, (32, 32)), paths[:1])
    plain = weigh(holding, extractor, settings)
    assert (plain.images, plain.patches, plain.training_patches) == (2, 32, 16)
    copied = weigh(holding, extractor, settings.with_(augment="rotations"))
    assert (copied.images, copied.patches, copied.training_patches) == (2, 80, 64)


def test_turned_parts_of_the_bank_lie_nearer_to_it(run: Run, parts: Path) -> None:
    paths = [one.path for one in index_data(parts).select("train", "tank_screw")]
    turned = [np.rot90(np.asarray(Image.open(path).convert("RGB"))) for path in paths]
    means = {}
    for augment in ("none", "rotations"):
        model = PatchCore.load(run(augment=augment, global_bank_size=400).folder, device="cpu")
        means[augment] = np.mean([found.score for found in model.predict(turned, "tank_screw")])
    assert means["rotations"] < means["none"]

"""A station judges its own images by real models: good, damaged, of other weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspection_cases import draw_part

from common.data.layout import Sample, index_data
from common.evaluation import calibrate_threshold
from common.line.models import Acceptance, ModelVersions, accept_version
from common.line.models.known_scores import KnownScores, scores_key
from common.patchcore import PatchCore
from common.patchcore.model_store import SavedModel, StationCalibration
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput
from common.runs.record import threshold_facts


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 training images, and 10 good and 10 defective test images of `plate`."""
    root = tmp_path_factory.mktemp("parts")
    for number in range(12):
        draw_part(root / f"plate/train/good/{number:03d}.png", number)
    for number in range(10):
        draw_part(root / f"plate/test/good/{number:03d}.png", 100 + number)
        draw_part(root / f"plate/test/cut/{number:03d}.png", 200 + number, defect=True)
    return root


@pytest.fixture(scope="module")
def samples(data: Path) -> tuple[list[Sample], list[Sample]]:
    """Held-out training images (the last six), and test images."""
    index = index_data(data)
    return index.select("train")[6:], index.select("test")


@pytest.fixture(scope="module")
def fitted(samples: tuple[list[Sample], list[Sample]], data: Path) -> SavedModel:
    model = PatchCore(backbone="resnet18", weights="random", global_bank_size=60, num_workers=1)
    model.fit(sorted((data / "plate/train/good").glob("*.png"))[:6], "plate")
    scores = [one.score for one in model.predict([one.path for one in samples[0]], "plate")]
    model.thresholds = threshold_facts({"plate": calibrate_threshold(scores, 0.2)})
    model.calibration = {"plate": sorted(scores)}
    model.save(data.parent / "fitted")
    return SavedModel.load(data.parent / "fitted")


def noise(model: SavedModel) -> SavedModel:
    """The same facts, and rows of noise in the bank."""
    rows = np.random.default_rng(0).normal(size=model.banks["plate"].shape)
    return replace(model, banks={"plate": rows.astype(np.float16)})


@pytest.fixture
def versions(tmp_path: Path, fitted: SavedModel) -> ModelVersions:
    found = ModelVersions(tmp_path / "models")
    found.store("1", "1", fitted)
    found.activate("1", by="", why="")
    return found


def test_a_bank_of_noise_is_refused_and_the_old_model_stays(
    versions: ModelVersions,
    fitted: SavedModel,
    samples: tuple[list[Sample], list[Sample]],
    tmp_path: Path,
) -> None:
    held_out, test = samples
    active, told = versions.active(), []
    assert active is not None
    new = versions.store("2", "2", noise(fitted))
    cache = FeatureCache(tmp_path / "features", 2**30)
    found = accept_version(
        new.folder,
        active.folder,
        held_out=held_out,
        test=test,
        compared_with=active.name,
        cache=cache,
        progress=lambda done, total: told.append((done, total)),
    )
    assert not found.accepted
    figures = found.categories["plate"]
    assert (figures["held_out_images"], figures["false_alarms"]) == (6, 6)
    assert figures["auroc_active"] == 1.0
    assert "plate: 6 of 6 held-out good parts lie above the threshold" in found.sentence
    assert found.compared_with == "1"
    assert "/" not in found.sentence
    assert told == [(26, 52), (52, 52)]
    versions.refuse("2", found.to_json(), found.sentence)
    assert versions.active() == active
    assert {one.name: one.state for one in versions.all()} == {"2": "refused", "1": "active"}


def test_the_scores_are_those_of_the_model(
    versions: ModelVersions, fitted: SavedModel, samples: tuple[list[Sample], list[Sample]]
) -> None:
    held_out, test = samples
    active = versions.active()
    assert active is not None
    new = versions.store("2", "2", replace(fitted, provenance={"other": 1}))
    found = accept_version(new.folder, active.folder, held_out=held_out, test=test)
    assert found.accepted
    figures, limit = found.categories["plate"], fitted.thresholds["plate"]["value"]
    model = PatchCore.load(new.folder)
    scores = [one.score for one in model.predict([one.path for one in test], "plate")]
    labels = [one.label for one in test]
    above = [label for label, score in zip(labels, scores, strict=True) if score > limit]
    assert figures["test_detections"] == above.count(1)
    assert figures["test_good_false_alarms"] == above.count(0)
    # The threshold is the first of six scores: none of its own lies above it.
    assert figures["false_alarms"] == sum(s > limit for s in fitted.calibration["plate"]) == 0
    assert (figures["auroc_difference"], figures["auroc"]) == (0, figures["auroc_active"])


def test_a_stations_own_threshold_judges_where_the_model_prefers_it(
    versions: ModelVersions, fitted: SavedModel, samples: tuple[list[Sample], list[Sample]]
) -> None:
    own = {**fitted.thresholds["plate"], "value": 1e6, "reason": "by hand"}
    model = replace(fitted, stations={"mill": StationCalibration({"plate": own}, {})})
    low = {**fitted.thresholds["plate"], "value": 1e-6, "reason": "by hand"}
    model = replace(model, thresholds={"plate": low})
    new = versions.store("2", "2", model)
    held_out, _ = samples
    assert accept_version(new.folder, None, held_out=held_out, station="mill").accepted
    assert not accept_version(new.folder, None, held_out=held_out).accepted
    assert not accept_version(new.folder, None, held_out=held_out, station="other").accepted


def test_another_feature_space_than_the_stations_weights(
    versions: ModelVersions, fitted: SavedModel, samples: tuple[list[Sample], list[Sample]]
) -> None:
    space = replace(fitted.space, weights_sha256="f" * 64)
    new = versions.store("2", "2", replace(fitted, space=space))
    active = versions.active()
    assert active is not None
    found = accept_version(new.folder, active.folder, held_out=samples[0], compared_with="1")
    assert not found.accepted
    assert found.sentence.startswith("refused: it cannot judge with this station's weights: built")
    assert "sha256 ffffffffffff" in found.sentence
    assert "/" not in found.sentence
    # The other way round the active one is of no use any more: that speaks not against the new.
    old = accept_version(versions.get("1").folder, new.folder, held_out=samples[0])
    assert old.accepted
    assert "the active model cannot be used to compare" in old.sentence


def test_images_that_cannot_be_read_are_counted_and_left_out(
    versions: ModelVersions,
    samples: tuple[list[Sample], list[Sample]],
    tmp_path: Path,
) -> None:
    held_out, test = samples
    broken = replace(test[3], path=tmp_path / "broken.png")
    broken.path.write_bytes(b"no image")
    place = versions.get("1").folder
    found = accept_version(place, place, held_out=held_out, test=[*test[:3], broken, *test[3:]])
    assert found.accepted
    assert found.unknown == ("1 images of plate could not be read",)
    assert (
        found.categories["plate"]["test_good"] + found.categories["plate"]["test_defective"] == 20
    )


def test_a_part_that_the_model_does_not_know(
    versions: ModelVersions, samples: tuple[list[Sample], list[Sample]]
) -> None:
    strange = [replace(one, category="screw") for one in samples[0]]
    place = versions.get("1").folder
    found = accept_version(place, None, held_out=strange)
    assert found.accepted
    assert found.categories == {}
    assert found.unknown == ("screw is a part that the model does not know",)


def test_what_a_bank_has_judged_before_is_not_judged_again(
    versions: ModelVersions,
    fitted: SavedModel,
    samples: tuple[list[Sample], list[Sample]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed: list[Path] = []
    compute = FeatureSource._compute

    def counted(source: FeatureSource, images: list[ImageInput], *rest: Any) -> Any:
        computed.extend(image.source for image in images)
        return compute(source, images, *rest)

    monkeypatch.setattr(FeatureSource, "_compute", counted)
    held_out, test = samples
    new, active = versions.store("2", "2", noise(fitted)), versions.active()
    assert active is not None
    plain = accept_version(new.folder, active.folder, held_out=held_out, test=test)
    computed.clear()

    def again(test: list[Sample] = test) -> Acceptance:
        computed.clear()
        known = KnownScores(tmp_path)
        return accept_version(new.folder, active.folder, held_out=held_out, test=test, known=known)

    assert again() == plain
    assert len(computed) == 2 * 26
    assert again() == plain
    assert computed == []
    assert {path.name for path in (tmp_path / "scores").iterdir()} == {
        f"{scores_key(PatchCore.load(one.folder), 'plate')}.json" for one in (new, active)
    }
    # A file that is another one now is judged again, by both, and alone.
    other = tmp_path / "other.png"
    draw_part(other, 300)
    exchanged = [replace(test[0], path=other), *test[1:]]
    again(exchanged)
    assert computed == [other, other]
    broken = replace(test[0], path=tmp_path / "broken.png")
    broken.path.write_bytes(b"no image")
    assert again([broken, *test]).unknown == ("1 images of plate could not be read",)
    assert computed == []

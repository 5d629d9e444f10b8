"""PatchCore as a whole: what it finds and where, what it keeps, what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from saved_models import write_facts

from common.config import Settings
from common.data.layout import index_data
from common.data.transforms import Preparation
from common.errors import InputError
from common.evaluation import ExactEvaluation
from common.evaluation.judge import judge
from common.patchcore import FeatureExtractor, MemoryBank, PatchCore, Prediction
from common.patchcore.anomaly_map import AnomalyScorer
from common.patchcore.distances import Distances
from common.patchcore.local_bank import build_local_bank
from common.patchcore.network.feature_cache import FeatureCache
from common.patchcore.network.inputs import ImageInput


def make(extractor: FeatureExtractor, small: Settings, **changes: Any) -> PatchCore:
    return PatchCore(small.with_(**{"local_coreset_ratio": 0.2, **changes}), extractor=extractor)


def same(one: list[Prediction], two: list[Prediction]) -> bool:
    return all(
        a.score == b.score and a.anomaly_map.tobytes() == b.anomaly_map.tobytes()
        for a, b in zip(one, two, strict=True)
    )


@pytest.fixture(scope="module")
def fitted(extractor: FeatureExtractor, small: Settings, pictures: list[Path]) -> PatchCore:
    return make(extractor, small).fit(pictures[:4])


def part(size: tuple[int, int], seed: int) -> np.ndarray:
    """A smooth part under a little noise."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[: size[0], : size[1]]
    base = 100 + 40 * np.sin(ys / 17) + 40 * np.cos(xs / 11)
    pixels = base[..., None] + rng.normal(0, 4, (*size, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "image_size", "layers"),
    [
        ((96, 64), 0, "layer1,layer2"),
        ((64, 96), 0, "layer1,layer2"),
        ((96, 64), 48, "layer1,layer2"),
        ((64, 96), 48, "layer1,layer2"),
        ((192, 128), 0, "layer2,layer3"),
        ((128, 192), 0, "layer2,layer3"),
    ],
)
def test_an_off_centre_defect_is_found_where_it_is(
    size: tuple[int, int], image_size: int, layers: str
) -> None:
    """Height and width are not mixed up anywhere between the file and the map."""
    model = PatchCore(
        backbone="resnet18", weights="random", device="cpu", image_size=image_size, layers=layers
    ).fit(part(size, seed) for seed in range(6))
    row, column, half = size[0] * 3 // 4, size[1] // 5, min(size) // 12
    image = part(size, 99)
    good = model.predict_single(image)
    image[row - half : row + half, column - half : column + half] = (250, 20, 20)
    bad = model.predict_single(image)
    assert bad.anomaly_map.shape == size
    assert bad.score > 2 * good.score
    peak = np.unravel_index(np.argmax(bad.anomaly_map), size)
    assert np.hypot(peak[0] - row, peak[1] - column) < 6


def test_the_bank_is_a_coreset_of_the_size_asked_for(
    extractor: FeatureExtractor, small: Settings, pictures: list[Path], fitted: PatchCore
) -> None:
    # Three images of 5 x 7 patches and one of 5 x 6: ceil(0.2 x 135) = 27 rows.
    assert fitted.banks["shared"].shape == (27, 384)
    assert fitted.banks["shared"].dtype == np.float16
    local = build_local_bank(
        fitted.source, [ImageInput(path) for path in pictures[:4]], 27, Distances(128, 42)
    )
    np.testing.assert_array_equal(fitted.banks["shared"], local.rows)
    assert fitted.radius == local.radii[-1]
    capped = make(extractor, small, global_bank_size=10).fit(pictures[:4])
    np.testing.assert_array_equal(capped.banks["shared"], local.rows[:10])
    full = make(extractor, small, wire_dtype="float32").fit(pictures[:4])
    assert full.banks["shared"].dtype == np.float32


def test_predictions_are_distances_from_the_bank(
    fitted: PatchCore, pictures: list[Path], extractor: FeatureExtractor
) -> None:
    (found,) = fitted.predict([pictures[5]])
    features = extractor(ImageInput(pictures[5]).tensor(Preparation())[None])[0].reshape(-1, 384)
    distances, _ = MemoryBank(fitted.banks["shared"].astype(np.float32)).nearest(features)
    assert found.anomaly_map.dtype == np.float32
    assert found.score == found.anomaly_map.max()
    assert distances.min() <= found.anomaly_map.min() <= found.score <= distances.max()


def test_a_path_a_picture_an_array_and_a_tensor_are_judged_alike(
    fitted: PatchCore, pictures: list[Path]
) -> None:
    path = pictures[3]
    image = Image.open(path).convert("RGB")
    predictions = fitted.predict([path, str(path), image, np.asarray(image)])
    assert all(same([p], predictions[:1]) for p in predictions)
    assert predictions[0].anomaly_map.shape == (33, 47)
    tensor = ImageInput(path).tensor(Preparation())
    assert same([fitted.predict_single(tensor)], predictions[:1])
    assert same(fitted.predict(torch.stack([tensor, tensor])[None, 0]), predictions[:1])


def test_fitting_takes_what_predicting_takes(
    extractor: FeatureExtractor, small: Settings, pictures: list[Path], fitted: PatchCore
) -> None:
    arrays = [np.asarray(Image.open(path)) for path in pictures[:4]]
    again = make(extractor, small).fit(iter(arrays))
    np.testing.assert_array_equal(again.banks["shared"], fitted.banks["shared"])


def test_a_cache_changes_the_work_and_nothing_else(
    extractor: FeatureExtractor,
    small: Settings,
    pictures: list[Path],
    fitted: PatchCore,
    tmp_path: Path,
) -> None:
    cache = FeatureCache(tmp_path, 10**9)
    settings = small.with_(local_coreset_ratio=0.2)
    cached = PatchCore(settings, extractor=extractor, cache=cache).fit(pictures[:4])
    np.testing.assert_array_equal(cached.banks["shared"], fitted.banks["shared"])
    assert cached.source.computed == 4
    wanted = fitted.predict(pictures)
    assert same(cached.predict(pictures), wanted)
    assert same(cached.predict(pictures), wanted)
    assert cached.source.computed == 4 + 6


@pytest.mark.parametrize(
    ("dtype", "score"),
    [
        ("float16", "99"),
        ("float32", "99"),
        ("float16", "max"),
        ("float16", "top-5"),
        ("float16", "reweighted"),
        ("int8", "reweighted"),
    ],
)
def test_saving_and_loading_changes_no_bit(
    extractor: FeatureExtractor,
    small: Settings,
    pictures: list[Path],
    tmp_path: Path,
    dtype: str,
    score: str,
) -> None:
    model = make(extractor, small, wire_dtype=dtype, image_score=score).fit(pictures[:4])
    model.thresholds = {"bolt": {"value": 1.0}}
    model.provenance = {"method": "centralized"}
    model.save(tmp_path / "run/model")
    loaded = PatchCore.load(tmp_path / "run")
    assert same(loaded.predict(pictures), model.predict(pictures))
    assert {k: v for k, v in loaded.get_stats().items() if k != "device"} == {
        k: v for k, v in model.get_stats().items() if k != "device"
    }
    assert loaded.thresholds == model.thresholds
    assert loaded.provenance == model.provenance
    loaded.save(tmp_path / "again")
    for name in ("bank.safetensors", "model.json"):
        assert (tmp_path / "again" / name).read_bytes() == (
            tmp_path / "run/model" / name
        ).read_bytes()


def test_a_local_weight_file_is_found_again_or_asked_for(
    pictures: list[Path], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    # A name that begins as the label of random weights does.
    first, moved = tmp_path / "random_init.pth", tmp_path / "elsewhere.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), first)
    model = PatchCore(backbone="resnet18", weights=first, device="cpu").fit(pictures[:2])
    model.save(tmp_path / "m")
    wanted = model.predict(pictures[:1])
    assert same(PatchCore.load(tmp_path / "m").predict(pictures[:1]), wanted)
    assert same(PatchCore.load(tmp_path / "m", weights="auto").predict(pictures[:1]), wanted)
    first.rename(moved)
    with pytest.raises(InputError, match=r"random_init\.pth': no such file"):
        PatchCore.load(tmp_path / "m")
    assert same(PatchCore.load(tmp_path / "m", weights=moved).predict(pictures[:1]), wanted)
    with pytest.raises(InputError, match=r"built with weights random_init\.pth .*weights=PATH"):
        PatchCore.load(tmp_path / "m", weights="random")


def test_a_loaded_model_keeps_its_feature_space(
    fitted: PatchCore, pictures: list[Path], tmp_path: Path
) -> None:
    fitted.save(tmp_path / "m")
    with pytest.raises(InputError, match=r"shorter side 64.* in which its bank means nothing"):
        PatchCore.load(tmp_path / "m", image_size=64)
    harmless = PatchCore.load(tmp_path / "m", batch_size=1, num_workers=1, device="cpu")
    assert same(harmless.predict(pictures[:2]), fitted.predict(pictures[:2]))
    path = tmp_path / "m/model.json"
    facts = json.loads(path.read_text())
    write_facts(path, {**facts, "image_score": "mean"})
    with pytest.raises(InputError, match="image-score"):
        PatchCore.load(tmp_path / "m")
    shutil.rmtree(tmp_path / "m")
    with pytest.raises(InputError, match="no model here"):
        PatchCore.load(tmp_path / "m")


def test_a_bank_of_another_width_is_refused(
    fitted: PatchCore, tmp_path: Path, pictures: list[Path]
) -> None:
    model = PatchCore(fitted.settings, extractor=fitted.extractor)
    with pytest.raises(ValueError, match=r"expected \(rows, 384\)"):
        model.set_bank("shared", np.zeros((3, 10), dtype=np.float32))
    model.banks["shared"] = np.zeros((3, 10), dtype=np.float16)
    model.save(tmp_path / "m")
    with pytest.raises(InputError, match="10 numbers a row, its feature space 384"):
        PatchCore.load(tmp_path / "m")


def test_banks_of_categories(
    extractor: FeatureExtractor, small: Settings, pictures: list[Path], tmp_path: Path
) -> None:
    model = make(extractor, small)
    model.fit(pictures[:2], "bolt").fit(pictures[3:5], "nut")
    stats = model.get_stats()
    assert stats["banks"] == {"bolt": 14, "nut": 13}
    assert stats["memory_bank_size"] == 27
    assert stats["categories"] == ["bolt", "nut"]
    alone = make(extractor, small).fit(pictures[3:5])
    assert same(model.predict(pictures, "nut"), alone.predict(pictures, "anything"))
    assert not same(model.predict(pictures, "bolt"), model.predict(pictures, "nut"))
    with pytest.raises(InputError, match="no bank for category 'pipe'; it has: bolt, nut"):
        model.predict(pictures[:1], "pipe")
    with pytest.raises(InputError, match="no bank for category None"):
        model.predict(pictures[:1])
    model.save(tmp_path / "m")
    loaded = PatchCore.load(tmp_path / "m")
    assert loaded.settings.bank_scope == "category"
    assert same(loaded.predict(pictures, "nut"), model.predict(pictures, "nut"))
    only = make(extractor, small).fit(pictures[:2], "bolt")
    assert same(only.predict(pictures), model.predict(pictures, "bolt"))
    for name in (None, "nut"):
        with pytest.raises(ValueError, match="one shared bank or one per category"):
            (only if name is None else alone).fit(pictures[:2], name)


def test_fitting_again_replaces_the_bank_and_its_radius(
    extractor: FeatureExtractor, small: Settings, pictures: list[Path]
) -> None:
    flat = np.full((40, 56, 3), 128, dtype=np.uint8)
    model = make(extractor, small).fit(pictures[:4])
    before = model.predict_single(flat).score
    model.fit([flat, flat])
    assert model.predict_single(flat).score < before
    assert model.radius == make(extractor, small).fit([flat, flat]).radius
    model = make(extractor, small).fit([flat], "flat").fit(pictures[:2], "noisy")
    assert model.radius == make(extractor, small).fit(pictures[:2]).radius


def test_stats(fitted: PatchCore, extractor: FeatureExtractor) -> None:
    stats = fitted.get_stats()
    assert stats["memory_bank_size"] == 27
    assert stats["feature_dim"] == 384
    assert stats["banks"] == {"shared": 27}
    assert stats["backbone"] == "resnet18"
    assert stats["fingerprint"] == extractor.space.fingerprint
    assert stats["device"] == "cpu"
    assert stats["radius"] == fitted.radius > 0
    json.dumps(stats)


def test_nothing_fitted_and_nothing_given(
    extractor: FeatureExtractor, small: Settings, pictures: list[Path], tmp_path: Path
) -> None:
    model = make(extractor, small)
    with pytest.raises(InputError, match="no memory bank yet; call fit or load"):
        model.predict(pictures[:1])
    with pytest.raises(InputError, match="no memory bank to save"):
        model.save(tmp_path / "m")
    with pytest.raises(InputError, match="at least one good image"):
        model.fit([])
    assert model.get_stats()["memory_bank_size"] == 0
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    with pytest.raises(InputError, match=r"broken\.png: found an empty file"):
        model.fit([pictures[0], broken])
    assert model.fit(pictures[:1]).predict([]) == []


def test_settings_that_change_a_result_and_those_that_do_not(
    extractor: FeatureExtractor, small: Settings, pictures: list[Path], fitted: PatchCore
) -> None:
    wanted = fitted.predict(pictures)
    for change in ({"batch_size": 1}, {"num_workers": 0}, {"num_workers": 5}):
        other = make(extractor, small, **change).fit(pictures[:4])
        assert same(other.predict(pictures), wanted)
    for change in (
        {"local_coreset_ratio": 0.1},
        {"coreset_projection": 0},
        {"seed": 43},  # of the projection and the first row: the network is the same here
        {"wire_dtype": "float32"},
        {"global_bank_size": 9},
    ):
        other = make(extractor, small, **change).fit(pictures[:4])
        assert not same(other.predict(pictures), wanted)


def test_a_percentile_changes_scores_and_no_map(
    extractor: FeatureExtractor, small: Settings, pictures: list[Path], fitted: PatchCore
) -> None:
    other = make(extractor, small, image_score="90").fit(pictures[:4])
    for a, b in zip(fitted.predict(pictures), other.predict(pictures), strict=True):
        np.testing.assert_array_equal(a.anomaly_map, b.anomaly_map)
        assert b.score == pytest.approx(np.percentile(b.anomaly_map, 90))
        assert b.score < a.score


def test_other_scores_change_no_map_and_search_the_bank_that_judges(
    extractor: FeatureExtractor, small: Settings, pictures: list[Path], fitted: PatchCore
) -> None:
    plain = fitted.predict(pictures)
    bank = MemoryBank(fitted.banks["shared"].astype(np.float32))
    streamed = fitted.source.stream(iter(map(ImageInput, pictures)))
    for name in ("top-5", "reweighted"):
        other = make(extractor, small, image_score=name).fit(pictures[:4])
        scorer = AnomalyScorer(bank, score=name)
        found = other.predict(pictures)
        for a, b, features in zip(plain, found, streamed, strict=True):
            np.testing.assert_array_equal(a.anomaly_map, b.anomaly_map)
            evidence = scorer.evidence(features, a.anomaly_map.shape)
            assert b.score == scorer.image_score(evidence) != a.score
        streamed = fitted.source.stream(iter(map(ImageInput, pictures)))


def test_bfloat16_is_another_feature_space(
    small: Settings, pictures: list[Path], fitted: PatchCore
) -> None:
    low = PatchCore(small, precision="bfloat16", local_coreset_ratio=0.2).fit(pictures[:4])
    assert low.space.fingerprint != fitted.space.fingerprint
    one, two = fitted.predict(pictures[4:]), low.predict(pictures[4:])
    assert not same(one, two)
    assert [p.score for p in two] == pytest.approx([p.score for p in one], rel=0.1)


def test_auto_weights_are_never_random_by_themselves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(InputError, match=r"put torchvision's file resnet18-f37072fd\.pth at"):
        PatchCore(backbone="resnet18")


@pytest.mark.realdata
def test_real_bottles_as_anomalib_judges_them(test_data: Path) -> None:
    """Reference: anomalib 2.7.0, 819 rows, same weights and size: AUROC 1.0000, AUC 0.8467."""
    index = index_data(test_data / "parts", ["bottle"])
    model = PatchCore(
        backbone="resnet18",
        weights=test_data / "weights/resnet18_trunk.pth",
        image_size=256,
        local_coreset_ratio=0.01,
        global_bank_size=800,
    )
    model.fit(sample.path for sample in index.select("train"))
    assert model.get_stats()["memory_bank_size"] == 800
    evaluation = judge(model, index, "bottle", index.select("test"), (), ExactEvaluation).evaluation
    result = evaluation.compute().overall
    assert result.auc_roc is not None
    assert result.auc_roc >= 0.995
    assert result.auc_spro[0.05] == pytest.approx(0.8467, abs=0.01)
    assert result.pixel_auc_roc == pytest.approx(0.9828, abs=0.005)

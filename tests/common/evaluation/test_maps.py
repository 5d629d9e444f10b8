"""Exported maps keep the scores, and maps of others are read or refused by name."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_cases import make_shots
from evaluation_twin import add_all
from PIL import Image

from common.errors import InputError
from common.evaluation.curve import FPR_LIMITS
from common.evaluation.exact import ExactEvaluation
from common.evaluation.map_export import MapExporter, MapScale
from common.evaluation.maps import find_maps, read_map, read_scale


def export(folder, maps, category="pipe_clip"):
    export_pairs(folder, maps.items(), category)


def export_pairs(folder, pairs, category):
    with MapExporter(folder, category) as exporter:
        for (defect_type, stem), scores in pairs:
            exporter.add(defect_type, stem, scores)


def test_one_scale_for_the_whole_category(tmp_path):
    rng = np.random.default_rng(0)
    maps = {
        ("good", "000"): rng.gamma(3, 1, (5, 7)).astype(np.float32),
        ("good", "001"): np.zeros((4, 2), dtype=np.float32),
        ("missing", "000"): (10 + rng.random((5, 7))).astype(np.float32),
    }
    export(tmp_path, maps)
    assert sorted(path.name for path in (tmp_path / "pipe_clip").iterdir()) == [
        "scale.json",
        "test",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["pipe_clip"]
    scale = read_scale(tmp_path, "pipe_clip")
    highest = max(float(scores.max()) for scores in maps.values())
    assert scale.lowest == 0
    assert scale.step == pytest.approx(highest / 65535)
    found = find_maps(tmp_path, "pipe_clip")
    assert list(found) == sorted(maps)
    for name, path in found.items():
        with Image.open(path) as image:
            assert image.mode == "I;16"
            pixels = np.asarray(image)
        np.testing.assert_array_equal(pixels, np.rint(maps[name].astype(float) / scale.step))
        back = read_map(path, size=maps[name].shape, scale=scale)
        assert back.dtype == np.float32
        np.testing.assert_allclose(back, maps[name], atol=scale.step / 2 * 1.001)
        np.testing.assert_array_equal(read_map(path), pixels)


def test_sixteen_bits_hardly_change_the_metrics(tmp_path):
    shots = make_shots(7, 3, 4, "smooth")
    names = [(shot.defect_type, f"{number:03}") for number, shot in enumerate(shots)]
    export(tmp_path, {name: shot.anomaly_map for name, shot in zip(names, shots, strict=True)})
    found = find_maps(tmp_path, "pipe_clip")
    again = [
        shot._replace(anomaly_map=read_map(found[name]))
        for name, shot in zip(names, shots, strict=True)
    ]
    before = add_all(ExactEvaluation(), shots).compute().overall
    after = add_all(ExactEvaluation(), again).compute().overall
    assert after.auc_spro == pytest.approx(before.auc_spro, abs=1e-3)
    assert set(after.auc_spro) == set(FPR_LIMITS)


def test_constant_and_negative_maps(tmp_path):
    export(tmp_path, {("good", "a"): np.full((2, 3), 7.0)}, "flat")
    scale = read_scale(tmp_path, "flat")
    assert scale.step == 0
    flat = read_map(find_maps(tmp_path, "flat")["good", "a"], scale=scale)
    np.testing.assert_array_equal(flat, np.full((2, 3), 7.0, dtype=np.float32))
    assert MapScale(-2.0, 0.5).encode(np.array([[-2.0, -1.0]], np.float32)).tolist() == [[0, 2]]


def test_an_error_leaves_nothing_and_an_export_is_replaced(tmp_path):
    ones = np.ones((2, 3))
    twice = [("good", "a"), ("good", "a")]
    with pytest.raises(ValueError, match="added twice"):
        export_pairs(tmp_path, [(name, ones) for name in twice], "clip")
    assert list(tmp_path.iterdir()) == []
    export(tmp_path, {("good", "old"): ones}, "clip")
    export(tmp_path, {("good", "new"): ones}, "clip")
    assert list(find_maps(tmp_path, "clip")) == [("good", "new")]
    (tmp_path / "data" / "test").mkdir(parents=True)
    with pytest.raises(InputError, match="no export of maps"):
        MapExporter(tmp_path, "data")
    with pytest.raises(ValueError, match="cannot be the name"):
        MapExporter(tmp_path, "../data")
    with MapExporter(tmp_path, "clip") as exporter:
        for bad in ("..", "a/b"):
            with pytest.raises(ValueError, match="cannot be the name"):
                exporter.add("good", bad, ones)


def test_maps_of_other_methods(tmp_path):
    scores = np.array([[0.25, 1.5, -3.0], [1e-4, 2e5, 0.0]], dtype=np.float32)
    grey = np.array([[0, 128, 255]], dtype=np.uint8)
    np.save(tmp_path / "a.npy", scores.astype(np.float64))
    np.save(tmp_path / "layered.npy", scores[None])
    np.save(tmp_path / "trailing.npy", scores[:, :, None])
    Image.fromarray(scores).save(tmp_path / "b.tiff")
    Image.fromarray(grey).save(tmp_path / "c.png")
    Image.fromarray(grey.astype(np.uint16) * 200).save(tmp_path / "d.tif")
    for name in ("a.npy", "layered.npy", "trailing.npy", "b.tiff"):
        np.testing.assert_array_equal(read_map(tmp_path / name, size=(2, 3)), scores)
    np.testing.assert_array_equal(read_map(tmp_path / "c.png"), grey)
    np.testing.assert_array_equal(read_map(tmp_path / "d.tif"), grey.astype(float) * 200)
    # A scale belongs to exported PNG files alone.
    scaled = read_map(tmp_path / "b.tiff", scale=MapScale(1.0, 2.0))
    np.testing.assert_array_equal(scaled, scores)


def test_unusable_maps_are_named(tmp_path):
    def refused(name, match, **options):
        with pytest.raises(InputError, match=match) as caught:
            read_map(tmp_path / name, **options)
        assert name in str(caught.value)

    np.save(tmp_path / "nan.npy", np.array([[1.0, np.nan]]))
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    np.save(tmp_path / "line.npy", np.ones(4))
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    Image.fromarray(np.zeros((2, 2, 3), dtype=np.uint8)).save(tmp_path / "colour.png")
    Image.fromarray(np.zeros((2, 3), dtype=np.uint8)).save(tmp_path / "small.png")
    refused("nan.npy", "not finite")
    refused("text.npy", "expected numbers")
    refused("line.npy", "expected \\(height, width\\)")
    refused("pickle.npy", "cannot be read")
    refused("broken.png", "cannot be read")
    refused("none.png", "cannot be read")
    refused("colour.png", "one grey channel")
    refused("small.png", "2 high and 3 wide, its image 3 high and 2 wide", size=(3, 2))


def test_folders_without_maps(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_maps(tmp_path, "clip")
    folder = tmp_path / "clip" / "test" / "good"
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no anomaly map"):
        find_maps(tmp_path, "clip")
    (folder / "a.png").touch()
    for name in ("good/~$a.npy", "@eaDir/a.png"):  # left behind by systems
        (folder.parent / name).parent.mkdir(exist_ok=True)
        (folder.parent / name).touch()
    assert find_maps(tmp_path, "clip") == {("good", "a"): folder / "a.png"}
    (folder / "a.npy").touch()
    with pytest.raises(InputError, match=r"a.npy is a map of the same image"):
        find_maps(tmp_path, "clip")


def test_scale_files(tmp_path):
    assert read_scale(tmp_path, "clip") is None
    (tmp_path / "clip").mkdir()
    path = tmp_path / "clip" / "scale.json"
    for content in ("{", "[]", '{"lowest": 0}', '{"lowest": 0, "step": -1}'):
        path.write_text(content)
        with pytest.raises(InputError, match=r"scale\.json"):
            read_scale(tmp_path, "clip")

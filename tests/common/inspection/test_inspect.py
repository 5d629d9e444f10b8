"""`inspect` on a folder: its scores, its verdicts, its files, and what it does with bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspection_cases import draw_part
from PIL import Image

from common.cli.main import run
from common.data.layout import Sample, index_data
from common.errors import InputError
from common.evaluation import ExactEvaluation, calibrate_threshold
from common.evaluation.judge import judge
from common.inspection.images import OverlayNames, find_images
from common.inspection.inspector import Inspector
from common.inspection.verdict import choose_rule
from common.patchcore import PatchCore, Prediction
from common.patchcore.model_store import StationCalibration
from common.runs.record import threshold_facts


def results(out: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((out / "results.json").read_text())
    return entries


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_scores_are_those_of_evaluate_whatever_the_batch_size(
    parts: Path, fitted: PatchCore, saved: Path, tmp_path: Path, batch: int
) -> None:
    index = index_data(parts)
    samples = index.select("test")
    paths = [sample.path for sample in samples]
    before = [prediction.score for prediction in fitted.predict(paths, "plate")]
    model = PatchCore.load(saved, batch_size=batch, num_workers=2)
    evaluated: list[float] = []

    def watch(_: Sample, prediction: Prediction) -> None:
        evaluated.append(prediction.score)

    judge(model, index, samples[0].category, samples, (), ExactEvaluation, watch)
    inspector = Inspector(model, choose_rule(model, "plate"), tmp_path)
    judged = list(inspector.judge([(p, f"overlays/{n}.png") for n, p in enumerate(paths)]))
    assert [result.score for result in judged] == evaluated == before


def test_a_folder_is_judged_with_its_sub_folders(parts: Path, saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(["inspect", str(saved), str(parts / "plate/test"), "--out", str(out)]) == 0
    entries = results(out)
    assert [Path(e["path"]).relative_to(parts / "plate/test").as_posix() for e in entries] == [
        *(f"cut/{n:03d}.png" for n in range(4)),
        *(f"good/{n:03d}.png" for n in range(4)),
    ]
    for entry in entries:
        assert set(entry) == {
            "path", "category", "score", "threshold", "anomalous", "regions", "overlay",
        }  # fmt: skip
        assert Path(entry["path"]).is_absolute()
        assert entry["category"] == "plate"
        assert entry["anomalous"] is (entry["score"] > entry["threshold"])
        assert bool(entry["regions"]) == entry["anomalous"]
        kind, name = Path(entry["path"]).parts[-2:]
        assert entry["overlay"] == f"overlays/{kind}/{name}"
        assert Image.open(out / entry["overlay"]).size == (72, 48)
    assert [entry["anomalous"] for entry in entries[:4]] == [True] * 4
    for entry in entries[:4]:
        worst = entry["regions"][0]
        # The defect lies in rows 32 to 41 and columns 52 to 63 of a 48 x 72 image.
        assert 28 <= worst["peak_row"] < 46
        assert 48 <= worst["peak_column"] < 68
        assert worst["peak"] == entry["score"]
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["score"]) for row in rows] == [entry["score"] for entry in entries]
    assert [row["anomalous"] == "true" for row in rows] == [e["anomalous"] for e in entries]


def test_a_folder_judged_again_has_no_overlays_of_before(
    parts: Path, saved: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name in ("good", "cut"):
        images = parts / "plate/test" / name
        assert run(["inspect", str(saved), str(images), "--out", str(out)]) == 0
    assert sorted(p.name for p in (out / "overlays").iterdir()) == [f"00{n}.png" for n in range(4)]
    assert all("/cut/" in entry["path"] for entry in results(out))


def test_the_exit_code_says_whether_a_part_failed(
    parts: Path, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = parts / "plate/test/good/000.png", parts / "plate/test/cut/000.png"

    def judge(*arguments: object) -> int:
        return run(["inspect", str(saved), *map(str, arguments), "--out", str(tmp_path / "out")])

    assert judge(good, bad) == 0
    assert judge(bad, "--fail-on-anomaly") == 1
    assert judge(bad, "--fail-on-anomaly", "--threshold", "1e9") == 0
    assert judge(good, "--fail-on-anomaly", "--threshold", "1e-9") == 1
    capsys.readouterr()
    assert judge(tmp_path / "absent.png") == 2
    assert judge(tmp_path) == 2
    assert judge() == 2
    assert judge(good, "--watch", tmp_path) == 2
    assert judge(good, "--category", "plat") == 2
    assert judge(good, "--threshold", "nan") == 2
    assert "no bank for category 'plat'; it has: plate" in capsys.readouterr().err


def test_an_unreadable_image_is_named_and_does_not_stop_the_others(
    parts: Path, saved: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(parts / "plate/test/good", folder)
    whole = (folder / "001.png").read_bytes()
    (folder / "001.png").write_bytes(whole[: len(whole) // 2])
    (folder / "002.png").write_bytes(b"")
    assert run(["inspect", str(saved), str(folder), "--out", str(tmp_path / "out")]) == 1
    entries = results(tmp_path / "out")
    assert [entry["score"] is None for entry in entries] == [False, True, True, False]
    for entry in entries[1:3]:
        assert entry["anomalous"] is None
        assert entry["overlay"] is None
        assert entry["path"] in entry["error"]
    assert "an empty file" in entries[2]["error"]


def test_without_a_threshold_verdicts_are_refused_and_scores_are_to_be_asked_for(
    parts: Path, fitted: PatchCore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = PatchCore(fitted.settings, extractor=fitted.extractor)
    bare.set_bank("shared", fitted.banks["plate"])
    bare.save(tmp_path / "model")
    arguments = ["inspect", str(tmp_path / "model"), str(parts / "plate/test/cut/000.png")]
    out = ["--out", str(tmp_path / "out")]
    assert run([*arguments, *out]) == 2
    error = capsys.readouterr().err
    for words in ("no threshold", "--threshold", "calibration-fraction", "--scores-only"):
        assert words in error
    assert not (tmp_path / "out").exists()
    assert run([*arguments, *out, "--scores-only"]) == 0
    (entry,) = results(tmp_path / "out")
    assert entry["score"] > 0
    assert (entry["threshold"], entry["anomalous"], entry["regions"]) == (None, None, [])
    assert run([*arguments, *out, "--fail-on-anomaly"]) == 2
    assert run([*arguments, *out, "--scores-only", "--fail-on-anomaly"]) == 2
    assert run([*arguments, *out, "--scores-only", "--threshold", "1"]) == 2
    assert run([*arguments, *out, "--threshold", "0.001"]) == 0
    assert results(tmp_path / "out")[0]["anomalous"] is True


def model_of(fitted: PatchCore, banks: Sequence[str], thresholds: dict[str, float]) -> PatchCore:
    model = PatchCore(fitted.settings, extractor=fitted.extractor)
    for name in banks:
        model.set_bank(name, fitted.banks["plate"])
    model.thresholds = {name: {"value": value, "note": ""} for name, value in thresholds.items()}
    model.categories = tuple(thresholds)
    return model


def test_which_threshold_judges(fitted: PatchCore) -> None:
    one = model_of(fitted, ["shared"], {"bolt": 2.0})
    assert (choose_rule(one, None).category, choose_rule(one, None).threshold) == ("bolt", 2.0)
    assert choose_rule(one, None).limits == (1.0, 4.0)
    shared = model_of(fitted, ["shared"], {"bolt": 2.0, "clip": 3.0})
    assert choose_rule(shared, "bolt").threshold == 2.0
    # Not knowing the part, only the highest threshold keeps every part's promise.
    assert choose_rule(shared, None).threshold == 3.0
    assert choose_rule(shared, None).category is None
    assert choose_rule(shared, "clip", 1.5).threshold == 1.5
    with pytest.raises(InputError, match="not built for category 'nut'; it knows: bolt, clip"):
        choose_rule(shared, "nut")
    several = model_of(fitted, ["bolt", "clip"], {"bolt": 2.0, "clip": 3.0})
    assert choose_rule(several, "clip").threshold == 3.0
    with pytest.raises(InputError, match="bolt, clip; say which with --category"):
        choose_rule(several, None)
    with pytest.raises(InputError, match="no bank for category 'nut'"):
        choose_rule(several, "nut")


def test_a_station_judges_by_its_own_threshold_where_it_has_one(fitted: PatchCore) -> None:
    shared = model_of(fitted, ["shared"], {})
    shared.categories = ("bolt", "clip")
    held_out = {"north": {"bolt": [1.0, 1.5], "clip": [4.0]}, "south": {"bolt": [2.0, 2.5]}}
    shared.stations = {
        name: StationCalibration(
            threshold_facts({k: calibrate_threshold(v, 0.3) for k, v in own.items()}), own
        )
        for name, own in held_out.items()
    }
    merged = {"bolt": [1.0, 1.5, 2.0, 2.5], "clip": [4.0]}
    shared.calibration = merged
    shared.thresholds = threshold_facts(
        {name: calibrate_threshold(scores, 0.3) for name, scores in merged.items()}
    )
    assert choose_rule(shared, "bolt").threshold == 2.5
    assert choose_rule(shared, "bolt").note.startswith(
        "that of all 2 stations together: 4 held-out"
    )
    north = choose_rule(shared, "bolt", station="north")
    assert (north.threshold, list(north.calibration)) == (1.5, [1.0, 1.5])
    assert north.note.startswith("north's own (the merged one is 2.5 and promises 20.0%")
    # South judges bolts only: its part need not be named.
    south = choose_rule(shared, None, station="south")
    assert (south.category, south.threshold, list(south.calibration)) == ("bolt", 2.5, [2.0, 2.5])
    clip = choose_rule(shared, "clip", station="south")
    assert (clip.threshold, list(clip.calibration)) == (4.0, [4.0])
    assert "because south held out no good image of clip" in clip.note
    assert choose_rule(shared, None, station="north").threshold == 4.0
    assert choose_rule(shared, "bolt", 9.0, "north").threshold == 9.0
    with pytest.raises(InputError, match="no such station; it knows: north, south"):
        choose_rule(shared, "bolt", station="nord")
    with pytest.raises(InputError, match="keeps no thresholds per station"):
        choose_rule(model_of(fitted, ["shared"], {"bolt": 2.0}), "bolt", station="north")


def test_images_are_found_once_in_natural_order(tmp_path: Path) -> None:
    for name in ("b/10.png", "b/2.JPG", "a.bmp", "b/.hidden.png", "b/notes.txt", "out/x.png"):
        draw_part(tmp_path / "in" / name, 0) if name[-4:] != ".txt" else (
            (tmp_path / "in" / name).write_text("x")
        )
    os.symlink(tmp_path / "in", tmp_path / "in/b/loop")
    found = find_images([tmp_path / "in", tmp_path / "in/b/2.JPG"], skip=tmp_path / "in/out")
    assert [one.place.as_posix() for one in found] == ["a.bmp", "b/2.JPG", "b/10.png"]
    with pytest.raises(InputError, match="no image by its name"):
        find_images([tmp_path / "in/b/notes.txt"])


def test_thumbnails_and_recycle_bins_are_not_judged(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        draw_part(tmp_path / name, 0)
        draw_part(tmp_path / f"@eaDir/{name}/SYNOPHOTO_THUMB_M.png", 0)
        draw_part(tmp_path / f"#recycle/{name}", 0)
        draw_part(tmp_path / f"~${name}", 0)
    found = find_images([tmp_path])
    assert [one.place.as_posix() for one in found] == ["a.png", "b.png", "c.png"]


def test_every_image_has_an_overlay_of_its_own() -> None:
    names = OverlayNames(["overlays/d.png"])
    places = ["good/000.png", "good/000.jpg", "good/000.png", "bad/000.png", "d.png"]
    assert [names.name(Path(place)) for place in places] == [
        "overlays/good/000.png",
        "overlays/good/000.jpg.png",
        "overlays/good/000.png.png",
        "overlays/bad/000.png",
        "overlays/d.png.png",
    ]


def test_odd_picture_formats_are_judged(saved: Path, tmp_path: Path) -> None:
    source = Image.open(draw_part(tmp_path / "in/a.png", 1))
    grey16 = (np.asarray(source.convert("L")).astype(np.uint16) * 257).astype(np.uint16)
    Image.fromarray(grey16).save(tmp_path / "in/b.png")
    source.convert("RGBA").save(tmp_path / "in/c.tif")
    source.convert("L").save(tmp_path / "in/d.bmp")
    assert run(["inspect", str(saved), str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    scores = [entry["score"] for entry in results(tmp_path / "out")]
    assert scores == [scores[0]] * 4  # the part is grey: all four hold the same pixels


def test_a_turned_picture_is_judged_and_shown_upright(saved: Path, tmp_path: Path) -> None:
    upright = Image.open(draw_part(tmp_path / "in/a.png", 200, defect=True))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned to the left; to be turned to the right
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "in/b.png", exif=exif)
    assert run(["inspect", str(saved), str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    first, second = results(tmp_path / "out")
    assert first["anomalous"]
    assert (second["score"], second["regions"]) == (first["score"], first["regions"])
    overlays = [np.asarray(Image.open(tmp_path / "out" / e["overlay"])) for e in (first, second)]
    assert (overlays[0] == overlays[1]).all()

"""A `station.toml` stands for the station's active model; what changes it makes a new version."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from inspection_cases import draw_part
from model_versions import station_toml

from common.cli.main import run
from common.errors import InputError
from common.evaluation import calibrate_threshold
from common.inspection.hand_threshold import set_threshold
from common.line.models import ModelVersions, admit
from common.patchcore import PatchCore
from common.patchcore.model_store import SavedModel, StationCalibration
from common.plant.station.own_images import own_images, station_rules
from common.plant.station.station_file import read_station_file


@pytest.fixture
def file(saved: Path, parts: Path, tmp_path: Path) -> Path:
    """A station whose own threshold is not the merged one; its last six training images are kept
    out of the bank."""
    path = station_toml(tmp_path / "station")
    (tmp_path / "station/data").symlink_to(parts)
    model = SavedModel.load(saved)
    model = replace(model, provenance={**model.provenance, "calibration_fraction": 0.5})
    own = {**model.thresholds["plate"], "value": 0.5, "reason": "by hand"}
    model = replace(model, stations={"mill": StationCalibration({"plate": own}, {})})
    versions = ModelVersions(tmp_path / "station/cache/models")
    versions.store("77", "77", model)
    versions.activate("77", by="", why="")
    return path


def versions_of(file: Path) -> ModelVersions:
    return ModelVersions(file.parent / "cache/models")


def results(out: Path) -> list[dict[str, object]]:
    return [
        {key: one[key] for key in ("path", "score", "threshold", "anomalous")}
        for one in json.loads((out / "results.json").read_text())
    ]


def test_inspect_show_and_evaluate_take_the_active_model(
    file: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And judge by the station's own threshold, as its service does."""
    images = str(parts / "plate/test")
    assert run(["inspect", str(file), images, "--out", str(tmp_path / "a")]) == 0
    folder = str(versions_of(file).folder / "77")
    words = ["inspect", folder, images, "--out", str(tmp_path / "b"), "--station", "mill"]
    assert run(words) == 0
    assert results(tmp_path / "a") == results(tmp_path / "b")
    assert results(tmp_path / "a")[0]["threshold"] == 0.5
    capsys.readouterr()
    assert run(["show", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert run(["show", folder, "--json"]) == 0
    assert told == json.loads(capsys.readouterr().out)
    assert run(["evaluate", str(file.parent), str(parts), "--out", str(tmp_path / "c")]) == 0
    notices = json.loads((tmp_path / "c/run.json").read_text())["notices"]
    assert any("mill's own" in notice for notice in notices)


def test_add_makes_a_version_that_names_its_parent(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = draw_part(tmp_path / "new.png", 5, defect=True)
    before = versions_of(file).active()
    assert before is not None
    bytes_before = (before.folder / "model.json").read_bytes()
    assert run(["add", str(file), str(image), "--yes"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    active = versions_of(file).active()
    assert active is not None
    assert (active.name, active.parent, active.run_id) == ("77.1", "77", "77")
    assert f"Active now: 77.1 (sha256 {active.sha256[:12]}...)" in text
    grown = SavedModel.load(active.folder)
    assert grown.provenance["parent"] == {"name": "77", "sha256": before.sha256}
    assert len(grown.banks["plate"]) > len(SavedModel.load(before.folder).banks["plate"])
    assert (before.folder / "model.json").read_bytes() == bytes_before
    assert versions_of(file).rollback().name == "77"
    assert run(["add", str(file), str(image), "--yes", "--out", str(tmp_path / "x")]) == 2
    assert "leave --out out" in capsys.readouterr().err


def test_a_version_waits_where_the_station_file_says_so(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    station_toml(file.parent, 'activate = "manual"')
    words = ["threshold", str(file), "--category", "plate", "--value", "0.6", "--reason", "lamp"]
    assert run(words) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Active still: 77; 77.1 waits for `fedpatchcore models {file} --activate" in text
    assert {one.name: one.state for one in versions_of(file).all()} == {
        "77.1": "waiting",
        "77": "active",
    }


def test_what_the_station_refuses_stays_and_the_old_one_judges(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its held-out parts look otherwise by now: all six lie above, 1 / 7 is promised."""
    (file.parent / "data").unlink()
    for number in range(12):
        draw_part(file.parent / f"data/plate/train/good/{number:03d}.png", number, defect=True)
    for number in range(6):
        draw_part(tmp_path / f"today/{number}.png", 700 + number)
    first = SavedModel.load(versions_of(file).get("77").folder)
    scores = first.calibration["plate"]
    mill = StationCalibration(first.stations["mill"].thresholds, {"plate": scores})
    versions_of(file).store("78", "78", replace(first, stations={"mill": mill}))
    active = versions_of(file).activate("78", by="", why="")
    value = max(scores) * 1.01
    part = ["--category", "plate"]
    for number, words in enumerate(
        (
            ["threshold", str(file), *part, "--value", str(value), "--reason", "lamp"],
            ["calibrate", str(file), *part, "--from", str(tmp_path / "today")],
        ),
        start=1,
    ):
        assert run(words) == 1
        text = " ".join(capsys.readouterr().out.split())
        name = f"78.{number}"
        assert f"{name}: refused: plate: 6 of 6 held-out good parts lie above" in text
        assert f"Active still: 78; to let {name} judge all the same: `fedpatchcore models" in text
        assert versions_of(file).active() == active
        refused = versions_of(file).get(name)
        assert (refused.state, refused.parent) == ("refused", "78")
        assert refused.acceptance is not None
        assert refused.acceptance["categories"]["plate"]["false_alarms"] == 6
    assert run(["models", str(file), "--activate", "78.2"]) == 2
    assert run(["models", str(file), "--activate", "78.2", "--even-refused"]) == 0


def test_what_cannot_be_tested_waits(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file.parent / "data").unlink()
    image = draw_part(tmp_path / "new.png", 5, defect=True)
    assert run(["add", str(file), str(image), "--yes"]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert f"Not tested: {file.parent}/data" in text
    assert "Active still: 77; 77.1 waits for" in text
    assert versions_of(file).get("77.1").state == "waiting"


def test_images_that_were_added_are_not_held_out_any_more(file: Path, parts: Path) -> None:
    held_out = sorted((parts / "plate/train/good").glob("*.png"))[6:]
    found = own_images(read_station_file(file), versions_of(file).get("77").folder)
    assert [one.path.name for one in found.held_out] == [path.name for path in held_out]
    assert run(["add", str(file), str(held_out[0]), str(held_out[3]), "--yes"]) == 0
    active = versions_of(file).active()
    assert active is not None
    if active.name == "77.1":  # what lies within the radius already adds nothing
        found = own_images(read_station_file(file), active.folder)
        names = [one.path.name for one in found.held_out]
        assert names == [held_out[place].name for place in (1, 2, 4, 5)]


def test_a_model_that_came_meanwhile_stays(file: Path) -> None:
    versions = versions_of(file)
    first = SavedModel.load(versions.get("77").folder)
    made = versions.store("77.1", "77", replace(first, provenance={"made": 1}), parent="77")
    versions.store("78", "78", replace(first, provenance={"made": 2}))
    versions.activate("78", by="", why="delivered")
    rules = station_rules(read_station_file(file))
    with pytest.raises(
        InputError, match=r"78 became active while 77\.1 was made of 77; 77\.1 waits"
    ):
        admit(versions, made, rules, by="anna", why="lamp", instead_of="77")
    assert versions.get("78").state == "active"


def test_a_threshold_set_by_hand(
    file: Path,
    parts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOGNAME", "anna")
    scores = SavedModel.load(versions_of(file).get("77").folder).calibration["plate"]
    value = (scores[3] + scores[4]) / 2  # two of six lie above: 3 / 7 is what that supports
    words = ["threshold", str(file), "--category", "plate", "--value", str(value)]
    assert run([*words, "--reason", "new lamp"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "accepted: 2 of 6 held-out good parts lie above the threshold" in text
    assert "(was 0.5)" in text
    assert "Active now: 77.1" in text
    active = versions_of(file).active()
    assert active is not None
    assert active.reason == "threshold of plate set by hand: new lamp"
    model = SavedModel.load(active.folder)
    own, merged = model.stations["mill"].thresholds["plate"], model.thresholds["plate"]
    assert own["value"] == merged["value"] == value
    assert merged["promised_false_alarm_rate"] == pytest.approx(3 / 7)
    assert (own["previous"], own["by"], own["reason"]) == (0.5, "anna", "new lamp")
    assert (
        merged["previous"]
        == SavedModel.load(versions_of(file).get("77").folder).thresholds["plate"]["value"]
    )
    assert own["when"].endswith("+00:00")
    assert len(model.provenance["thresholds_set"]) == 2
    # It judges, and every command can read it.
    assert run(["inspect", str(file), str(parts / "plate/test"), "--out", str(tmp_path / "a")]) == 0
    assert results(tmp_path / "a")[0]["threshold"] == value
    assert run(["evaluate", str(file), str(parts), "--out", str(tmp_path / "b")]) == 0
    capsys.readouterr()
    assert run(["show", str(file)]) == 0
    assert "Set by anna" in " ".join(capsys.readouterr().out.split())


def test_a_threshold_of_a_plain_model(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SavedModel.load(saved).save(tmp_path / "model")
    model = tmp_path / "model"
    content = (model / "model.json").read_bytes()
    words = ["threshold", str(model), "--category", "plate", "--reason", "lamp", "--value"]
    assert run([*words, "1e-6"]) == 0
    assert "below the scores of all 6 held-out good images: nothing is promised" in " ".join(
        capsys.readouterr().out.split()
    )
    made = SavedModel.load(tmp_path / "model.1")
    assert made.thresholds["plate"]["promised_false_alarm_rate"] == 1
    assert made.provenance["parent"]["name"] == "model"
    assert (model / "model.json").read_bytes() == content
    for bad, expected in (
        ([*words, "0"], "--value 0.0: expected a distance above 0"),
        ([*words, "nan"], "--value nan: expected a distance above 0"),
        ([*words[:-2], " ", "--value", "1"], "say in 1 to 500"),
        ([*words, "1", "--station", "x"], "the model knows no such station; it knows none"),
        (["threshold", str(model), "--category", "bolt", *words[4:], "1"], "does not know it"),
    ):
        assert run(bad) == 2
        assert expected in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.1"]


def test_calibrating_from_good_parts_of_today(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The threshold is what `calibrate_threshold` makes of the scores; stale is stale no more."""
    today = [draw_part(tmp_path / f"today/{n}.png", 700 + n) for n in range(9)]
    shutil.copy(today[0], tmp_path / "today/copy.png")
    image = draw_part(tmp_path / "new.png", 5, defect=True)
    assert run(["add", str(file), str(image), "--yes"]) == 0
    grown = versions_of(file).active()
    assert grown is not None
    assert SavedModel.load(grown.folder).stale == ("plate",)
    words = ["calibrate", str(file), "--category", "plate", "--from"]
    assert run([*words, str(tmp_path / "today")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Active now: 77.2" in text
    active = versions_of(file).active()
    assert active is not None
    assert active.parent == "77.1"
    model, judge = SavedModel.load(active.folder), PatchCore.load(grown.folder)
    scores = [one.score for one in judge.predict(today, "plate")]
    expected = calibrate_threshold(scores, 0.2, fenced=True)  # what the threshold before was for
    assert expected is not None
    facts = model.thresholds["plate"]
    assert (facts["value"], facts["promised_false_alarm_rate"]) == (expected.value, 0.2)
    assert model.calibration["plate"] == sorted(scores)
    assert model.stale == ()
    assert facts["reason"] == "calibrated from 9 good parts"  # of a copy one counts
    assert model.stations["mill"].thresholds["plate"]["value"] == expected.value
    assert model.stations["mill"].thresholds["plate"]["previous"] == 0.5
    # Inspecting the same parts finds no drift from themselves.
    assert run(["inspect", str(file), *map(str, today), "--out", str(tmp_path / "a")]) == 0
    assert results(tmp_path / "a")[0]["threshold"] == expected.value
    capsys.readouterr()
    for bad, said in (
        ([*words, str(image)], "was added to the bank (1 of 1 images were)"),
        ([*words, str(tmp_path / "today"), "--rate", "1"], "expected a share above 0 and below 1"),
    ):
        assert run(bad) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_a_delivered_model_has_the_stations_own_scores_alone(saved: Path) -> None:
    """They are what a value set by hand is held against, also for all stations' threshold."""
    model = SavedModel.load(saved)
    scores = model.calibration["plate"]
    own = StationCalibration(model.thresholds, {"plate": scores})
    model = replace(model, calibration={}, stations={"mill": own})
    value = (scores[4] + scores[5]) / 2
    made = set_threshold(model, "plate", value, reason="lamp", by="anna", station="mill")
    for facts in (
        made.model.thresholds["plate"],
        made.model.stations["mill"].thresholds["plate"],
    ):
        assert facts["promised_false_alarm_rate"] == pytest.approx(2 / 7)
        assert facts["held_out_images"] == 6
    assert made.model.calibration == {}
    assert "Of 6 held-out good images 1 lie above it" in made.sentence
    none = replace(model, stations={})
    assert (
        "No held-out score is kept"
        in set_threshold(none, "plate", value, reason="lamp", by="anna").sentence
    )

"""`calibrate --from JOURNAL`: parts reviewed as good set the threshold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from journal_cases import PLAIN, sha256
from model_versions import small_model, station_toml

from common.cli.main import run
from common.evaluation import calibrate_threshold
from common.line.journal import Journal
from common.line.models import ModelVersions
from common.line.models.reviewed import same_rows
from common.patchcore.model_store import SavedModel, StationCalibration

FACTS = {
    "value": 9.0,
    "target_false_alarm_rate": 0.1,
    "promised_false_alarm_rate": 0.1,
    "held_out_images": 9,
    "note": "",
}
GOOD = [1.0 + n / 10 for n in range(12)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Version 1.1 has the rows of 1 and another threshold, and judges; 2 has other rows."""
    path, first = station_toml(tmp_path), small_model(1, thresholds={"plate": FACTS})
    versions = ModelVersions(tmp_path / "cache/models")
    versions.store("1", "1", first)
    versions.store("1.1", "1", replace(first, thresholds={"plate": {**FACTS, "value": 8.0}}))
    versions.store("2", "2", small_model(2))
    versions.activate("1.1", by="", why="")
    return path


def versions_of(file: Path) -> ModelVersions:
    return ModelVersions(file.parent / "cache/models")


def write(file: Path, parts: list[tuple[float, str, str | None]]) -> Path:
    """A journal of parts: score, version that judged, review."""
    folder = file.parent / "journal"
    with Journal(folder) as journal:
        for number, (score, name, review) in enumerate(parts):
            told = replace(
                PLAIN,
                category="plate",
                score=score,
                anomalous=score > 8.0,
                model_sha256=versions_of(file).get(name).sha256,
                image_sha256=sha256(str(number).encode()),
            )
            id = journal.add_verdict(told).id
            if review is not None:
                journal.add_review(id, "unsure", "Ann")  # the latest counts
                journal.add_review(id, review, "Ann")
    return folder


def calibrate(file: Path, *more: str) -> int:
    words = ["calibrate", str(file), "--category", "plate", "--from", str(file.parent / "journal")]
    return run([*words, *more])


def test_reviewed_good_parts_set_the_threshold(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts: list[tuple[float, str, str | None]] = [
        (score, "1" if n % 2 else "1.1", "good") for n, score in enumerate(GOOD[:11])
    ]
    parts += [(8.5, "1.1", "good"), (12.0, "1.1", "defect"), (1.5, "1.1", "defect")]
    parts += [(99.0, "2", "good"), (50.0, "1.1", None), (60.0, "1.1", "unsure")]
    write(file, parts)
    # Without images of its own the station cannot test it: it waits, which is exit code 1.
    assert calibrate(file) == 1
    text = " ".join(capsys.readouterr().out.split())
    made = versions_of(file).get("1.2")
    scores = [*GOOD[:11], 8.5]
    expected = calibrate_threshold(scores, 0.1, fenced=True)
    assert expected is not None
    facts = SavedModel.load(made.folder).thresholds["plate"]
    assert facts["value"] == expected.value
    assert facts["reason"] == "calibrated from 12 reviewed parts of the journal"
    assert (made.parent, made.state) == ("1.1", "waiting")
    assert "of 2 parts reviewed as defective 1 lie above it" in text
    assert "1 of the 12 good parts had been rejected" in text


def test_too_few_say_how_many_are_missing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(file, [*((score, "1", "good") for score in GOOD[:8]), (1.0, "2", "good")])
    assert calibrate(file) == 2
    text = " ".join(capsys.readouterr().err.split())
    assert "plate: 8 parts were reviewed as good" in text
    assert "a false-alarm rate of 0.1 takes 9, so 1 are missing" in text
    assert "1 reviewed parts were judged by other rows" in text
    assert [one.name for one in versions_of(file).all()] == ["2", "1.1", "1"]
    assert calibrate(file, "--rate", "0.12") == 1  # 8 support 1 / 9: made, and waits
    assert calibrate(file, "--rate", "2") == 2


def test_a_journal_comes_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(file, [])
    assert calibrate(file, "--from", str(file.parent)) == 2
    assert "is a journal; give it alone" in " ".join(capsys.readouterr().err.split())


def test_a_plain_model_and_its_versions_beside_it(file: Path, tmp_path: Path) -> None:
    model = small_model(1, thresholds={"plate": FACTS})
    model.save(tmp_path / "model")
    replace(model, stations={"x": StationCalibration()}).save(tmp_path / "model.1")
    small_model(3).save(tmp_path / "model.2")
    assert len(same_rows(tmp_path / "model", tmp_path / "model", "plate")) == 2
    assert same_rows(tmp_path / "model", tmp_path / "model", "bolt") == set()

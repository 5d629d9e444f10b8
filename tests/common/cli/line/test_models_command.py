"""`fedpatchcore models`: the table, the switch, the confirmation, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_versions import small_model, station_toml

from common.cli.main import run
from common.line.models import ModelVersions

FIGURES = {
    "accepted": True,
    "categories": {
        "plate": {
            "held_out_images": 20,
            "false_alarms": 1,
            "auroc": 0.975,
            "auroc_active": 0.96,
        }
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A station with three versions: 1 was active, 2 is, 3 was refused."""
    path = station_toml(tmp_path)
    versions = ModelVersions(tmp_path / "cache/models")
    for number in (1, 2, 3):
        versions.store(str(number), str(number), small_model(number))
    versions.accept("2", FIGURES)
    versions.activate("1", by="", why="")
    versions.activate("2", by="", why="")
    versions.refuse("3", {"accepted": False}, "6 of 6 held-out good parts lie above the threshold")
    return path


def said(capsys: pytest.CaptureFixture[str]) -> str:
    found = capsys.readouterr()
    return " ".join((found.out + found.err).split())


def active(file: Path) -> str:
    found = ModelVersions(file.parent / "cache/models").active()
    assert found is not None
    return found.name


def test_the_list(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.cli.console.console._width", 200)
    assert run(["models", str(file)]) == 0
    text = said(capsys)
    assert f"Models of mill in {file.parent}/cache/models" in text
    digest = ModelVersions(file.parent / "cache/models").get("2").sha256
    for words in (
        digest[:12],
        "plate: 1 of 20 false alarms, AUROC 0.975 (was 0.960)",
        "refused",
        "6 of 6 held-out good parts lie above the threshold",
        "kept",
        "run 2",
    ):
        assert words in text
    assert "Active now" not in text


def test_the_list_names_the_program_that_made_a_model(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.cli.console.console._width", 200)
    made = {"program_version": "1.2.3", "app_sha256": "ab" * 32}
    versions = ModelVersions(file.parent / "cache/models")
    versions.store("4", "4", small_model(4, provenance=made))
    assert run(["models", str(file)]) == 0
    assert "run 4, fedpatchcore 1.2.3, app abababababab" in said(capsys)
    assert run(["models", str(file), "--json"]) == 0
    told = {one["name"]: one for one in json.loads(capsys.readouterr().out)["versions"]}
    assert {word: told["4"][word] for word in made} == made
    # Of a model from before that was kept nothing is claimed.
    assert (told["1"]["program_version"], told["1"]["app_sha256"]) == (None, None)
    assert run(["show", str(versions.get("4").folder)]) == 0
    assert "fedpatchcore 1.2.3, app abababababab" in said(capsys)


def test_json_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", str(file.parent), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["station"], told["active"], told["removed"]) == ("mill", "2", [])
    assert {one["name"]: one["state"] for one in told["versions"]} == {
        "1": "kept",
        "2": "active",
        "3": "refused",
    }
    (two,) = (one for one in told["versions"] if one["name"] == "2")
    assert two["acceptance"] == FIGURES
    assert len(two["sha256"]) == 64


def test_switching_says_what_is_active_now(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "anna")
    assert run(["models", str(file), "--rollback"]) == 0
    assert "Active now: 1 (sha256 " in said(capsys)
    assert active(file) == "1"
    assert run(["models", str(file), "--activate", "2", "--why", "lamp is mended"]) == 0
    assert "Active now: 2 (sha256 " in said(capsys)
    last = ModelVersions(file.parent / "cache/models").switches()[-1]
    assert (last["by"], last["why"], last["from"]) == ("anna", "lamp is mended", "1")


def test_a_refused_version_needs_a_confirmation(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", str(file), "--activate", "3"]) == 2
    text = said(capsys)
    assert "was refused: 6 of 6 held-out good parts" in text
    assert "add --even-refused" in text
    assert active(file) == "2"
    assert run(["models", str(file), "--activate", "3", "--even-refused"]) == 0
    assert active(file) == "3"


def test_the_oldest_are_removed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", str(file), "--keep", "2"]) == 0
    assert "Removed: 3" in said(capsys)
    assert run(["models", str(file), "--keep", "2"]) == 0
    assert "Removed: none" in said(capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--activate", "7"], "no model version 7; there are: 3, 2, 1"),
        (["--activate", "../2"], "expected a run id"),
        (["--activate", "1", "--rollback"], "use one"),
        (["--even-refused"], "belongs to --activate"),
        (["--keep", "0"], "--keep 0: expected at least 1"),
    ],
)
def test_what_cannot_be_done(
    file: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", str(file), *words]) == 2
    assert expected in said(capsys)
    assert active(file) == "2"


def test_a_station_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = station_toml(tmp_path)
    assert run(["models", str(path)]) == 0
    assert "mill has no model in" in said(capsys)
    for words in (["--rollback"], ["--activate", "1"]):
        assert run(["models", str(path), *words]) == 2
        assert "no model version is there yet" in said(capsys)
    assert not (tmp_path / "cache").exists()
    assert run(["show", str(path)]) == 2
    assert "mill has no active model in" in said(capsys)
    assert run(["models", str(tmp_path / "nowhere.toml")]) == 2
    assert "no such file" in said(capsys)

"""`audit`: one part on one screen, what was changed, scores again, exports."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from journal_cases import PLAIN, change, sha256, small_journal, station_key, verdict
from model_versions import small_model

from common.cli.main import run
from common.data.layout import index_data
from common.errors import InputError
from common.line.journal import Journal, KeepRule, verify
from common.line.models.version import model_sha256
from common.patchcore import PatchCore
from common.plant.keys.journal_keys import head_key

FILES = Path(__file__).parents[3] / "fixtures" / "first_version"
MODEL = FILES / "runs" / "federated_shared" / "model"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    signer, _ = station_key(tmp_path)
    small_journal(tmp_path / "journal", signer)
    return tmp_path / "journal"


def judge(model: PatchCore, name: str, folder: Path, images: list[tuple[Path, str]]) -> list[int]:
    """Judge images as the service does, and keep them all."""
    with Journal(folder, keep=KeepRule(one_in=1)) as journal:
        ids = []
        for path, category in images:
            content = path.read_bytes()
            told = replace(
                PLAIN,
                part="4711",
                category=category,
                score=float(model.predict_single(path, category).score),
                image_sha256=sha256(content),
                model_sha256=name,
                name=path.name,
            )
            ids.append(journal.add_verdict(told, content).id)
    return ids


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    assert run(["audit", *map(str, words)]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    if code == 2:
        assert out == ""
        assert err.count("\n") == 1
    return " ".join((out + err).split())


def test_a_summary(
    journal: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.cli.console.console._width", 200)
    text = said(capsys, journal)
    assert "7 judged: 5 passed, 1 rejected, 1 undecided; 1 reviewed" in text
    assert "7 verdicts, 2 reviews, 2 switches, 2 thresholds, 3 heads, 7 images" in text
    facts = json.loads(said(capsys, journal, "--json"))["summary"]
    assert facts["categories"]["bottle"]["rejected"] == 1
    assert facts["head"]["seq"] == 22
    assert facts["rows_since"] == 0


def test_one_part_on_one_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.cli.console.console._width", 200)
    name = model_sha256(MODEL)
    told, image = verdict(1, part="4711", model_sha256=name, anomalous=True, category="bottle")
    with Journal(tmp_path / "journal") as journal:
        journal.add_switch(name, "run-7", "eve", "delivered")
        journal.add_threshold("bottle", 2.5, 2.0, "by hand", "eve", "missed one")
        first = journal.add_verdict(*verdict(2, part="4711"))
        entry = journal.add_verdict(told, image)
        journal.add_review(entry.id, "good", "ann", "[bold]dust[/bold] :smile:")
        picture = journal.store.path(told.image_sha256)
    assert run(["audit", str(tmp_path / "journal"), "--part", "4711", "--models", str(MODEL)]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") <= 40
    stations = json.loads((MODEL / "model.json").read_text())["provenance"]["stations"]
    assert len(stations) > 1
    for expected in (
        "REJECTED (bottle)",
        "1.25, threshold 2",
        "good images held out; promises 5 %",
        str(picture),
        name,
        "to run run-7 by eve: delivered",
        "2.5 to 2 by eve: missed one",
        "good by ann: [bold]dust[/bold] :smile:",
        f"also entry {first.id}",
        *(f"{station} {rows} rows" for station, rows in stations.items()),
    ):
        assert expected in out
    parts = json.loads(
        said(capsys, tmp_path / "journal", "--part", f"#{first.id}", "--models", MODEL, "--json")
    )["parts"]
    assert len(parts) == 1
    assert parts[0]["picture"] is None
    assert parts[0]["model"] is None  # another version's, which is not there
    assert parts[0]["verdict"]["score"] == 1.25


def test_a_verdict_names_the_program_that_made_its_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.cli.console.console._width", 200)
    made = {"program_version": "1.2.3", "app_sha256": "ab" * 32}
    model = tmp_path / "model"
    small_model(1, provenance=made).save(model)
    told, image = verdict(1, part="4711", model_sha256=model_sha256(model))
    with Journal(tmp_path / "journal") as journal:
        journal.add_verdict(told, image)
    words = [tmp_path / "journal", "--part", "4711", "--models", model]
    text = said(capsys, *words)
    assert "its program" in text
    assert "fedpatchcore 1.2.3, app abababababab" in text
    (part,) = json.loads(said(capsys, *words, "--json"))["parts"]
    assert {word: part["model"][word] for word in made} == made


def test_verify(journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "station.key"
    assert "Whole: 23 rows, 3 heads, 7 images" in said(capsys, journal, "--verify", "--key", key)
    assert "signatures were not checked" in said(capsys, journal, "--verify")
    change(journal, "UPDATE verdicts SET score = 0.5 WHERE part = 'P2'")
    text = said(capsys, journal, "--verify", "--key", key, code=1)
    assert "row changed: row 7 (verdicts, " in text
    facts = json.loads(said(capsys, journal, "--verify", "--json", code=1))["verify"]
    assert not facts["whole"]
    assert [(one["kind"], one["row"]) for one in facts["findings"]] == [("row changed", 7)]


def test_a_station_file_stands_for_its_models_and_key(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(MODEL, tmp_path / "versions" / "run-1")
    station = tmp_path / "station.toml"
    station.write_text(
        'station = "a"\ndata-root = "data"\ncache-dir = "cache"\nmodels-dir = "versions"\n'
        '[server]\naddress = "localhost:9443"\nca = "ca.crt"\nkey = "station.key"\n'
        'certificate = "station.pem"\napp-key = "app.pub"\n'
    )
    with Journal(journal) as writer:
        name = model_sha256(MODEL)
        writer.add_verdict(verdict(9, part="4711", model_sha256=name)[0])
        with pytest.raises(InputError, match="no key was given"):
            writer.sign_head()
    text = said(capsys, journal, "--part", "4711", "--models", station, "--json")
    assert json.loads(text)["parts"][0]["model"]["folder"] == str(tmp_path / "versions" / "run-1")
    text = said(capsys, journal, "--export", tmp_path / "y.json")
    assert "no head was signed" in text
    text = said(capsys, journal, "--verify", "--models", station)
    assert "Whole: 24 rows, 3 heads" in text
    assert "1 row is behind the last head" in text
    text = said(capsys, journal, "--export", tmp_path / "x.json", "--models", station)
    assert "no head was signed" not in text


def test_what_is_refused_in_one_line(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, expected in (
        ((tmp_path / "none",), "no journal here"),
        ((journal, "--part", "4712"), "the journal has no such part"),
        ((journal, "--part", "#4712"), "no part of this id"),
        ((journal, "--replay"), "--models"),
        ((journal, "--part", "P1", "--models", journal), "no model here"),
        ((journal, "--export", tmp_path / "x.xlsx"), "ends with .csv or .json"),
        ((journal, "--verify", "--key", tmp_path / "no.pub"), "no.pub: cannot be read"),
    ):
        assert expected in said(capsys, *words, code=2)


@pytest.mark.parametrize("beside", [False, True])
def test_exports_and_their_head(
    journal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], beside: bool
) -> None:
    """Also while the service writes the journal."""
    key = tmp_path / "station.key"
    writer = Journal(journal) if beside else None
    for name in ("results.json", "results.csv"):
        text = said(capsys, journal, "--export", tmp_path / name, "--key", key)
        assert "7 parts" in text
        assert "no head was signed" not in text
    if writer is not None:
        writer.close()
    entries = json.loads((tmp_path / "results.json").read_text())
    assert [entry["part"] for entry in entries] == [f"P{n}" for n in range(7)]
    assert {"path", "category", "score", "threshold", "anomalous", "regions", "overlay"} <= set(
        entries[0]
    )
    assert entries[0]["anomalous"] is False
    assert entries[0]["review"] == "defect"
    assert "error" not in entries[0]
    assert entries[5]["error"] == "cannot be read"
    with (tmp_path / "results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["part"] for row in table] == [f"P{n}" for n in range(7)]
    assert [row["anomalous"] for row in table] == ["false"] * 4 + ["true", "", "false"]
    assert (table[4]["regions"], table[4]["peak_column"]) == ("1", "2")
    findings = verify(journal, head_key(key))
    assert findings.found == {}
    assert findings.heads >= 5


def test_no_formula_for_a_spreadsheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal(tmp_path / "journal") as journal:
        for number, part in enumerate(("=1+1", "+1", "@SUM(1)", "-2", "a=1", "4711")):
            entry = journal.add_verdict(verdict(number, part=part, score=-0.5)[0])
        journal.add_review(entry.id, "good", "=ann()", '=HYPERLINK("http://x","y")')
    text = said(capsys, tmp_path / "journal", "--export", tmp_path / "x.csv")
    assert "no head was signed" in text
    with (tmp_path / "x.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["part"] for row in table] == ["'=1+1", "'+1", "'@SUM(1)", "'-2", "a=1", "4711"]
    assert table[0]["score"] == "-0.5"
    assert table[-1]["reviewed_by"] == "'=ann()"
    assert table[-1]["review_note"].startswith("'=HYPER")


def test_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two versions, one of them later than the other; then one score that is another."""
    models = tmp_path / "models"
    for name in ("federated_shared", "centralized"):
        shutil.copytree(FILES / "runs" / name / "model", models / name)
    images = [(path, path.parent.name) for path in sorted((FILES / "images").rglob("*.png"))]
    journal = tmp_path / "journal"
    ids = []
    for name in ("federated_shared", "centralized"):
        model = PatchCore.load(models / name)
        known = [one for one in images if not model.categories or one[1] in model.categories]
        assert known
        ids += judge(model, model_sha256(models / name), journal, known)
    text = said(capsys, journal, "--replay", "--models", models)
    assert f"{len(ids)} of {len(ids)} scores are equal" in text
    facts: dict[str, Any] = json.loads(
        said(capsys, journal, "--replay", "--models", models / "centralized", "--json")
    )["replay"]
    assert 0 < facts["equal"] < len(ids)
    assert sum(facts["without_model"].values()) == len(ids) - facts["equal"]
    with Journal.reading(journal) as reader:
        score = reader.entry(ids[1]).verdict.score
    assert score is not None
    change(journal, "UPDATE verdicts SET score = ? WHERE seq = ?", math.nextafter(score, 9), ids[1])
    text = said(capsys, journal, "--replay", "--models", models, code=1)
    assert f"{len(ids) - 1} of {len(ids)} scores are equal" in text
    assert f"entry {ids[1]}: {math.nextafter(score, 9)!r} in the journal, now {score!r}" in text


@pytest.mark.realdata
def test_replay_of_the_bottle(
    test_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = test_data / "weights" / "resnet18_trunk.pth"
    index = index_data(test_data / "parts", ["bottle"])
    train = [sample.path for sample in index.select("train")]
    tested = [(sample.path, "bottle") for sample in index.select("test")]
    assert len(tested) == 83
    model = PatchCore(
        backbone="resnet18", weights=str(weights), image_size=256, global_bank_size=800
    )
    model.fit(train[:72], "bottle")
    model.save(tmp_path / "models" / "run-1")
    saved = PatchCore.load(tmp_path / "models" / "run-1", weights=str(weights))
    name = model_sha256(tmp_path / "models" / "run-1")
    judge(saved, name, tmp_path / "journal", tested)
    words = ("--replay", "--models", tmp_path / "models", "--set", f"weights={weights}")
    assert "83 of 83 scores are equal" in said(capsys, tmp_path / "journal", *words)
    assert verify(tmp_path / "journal").images == len({sha256(p.read_bytes()) for p, _ in tested})

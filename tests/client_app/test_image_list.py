"""Images that come, go or change between two messages of a run: told, and never in another role."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from letter_cases import plant_keys, with_keys
from PIL import Image

from client_app.app import app
from common.config import Settings
from common.protocol.messages import (
    BuildReply,
    BuildRequest,
    ScoreReply,
    ScoreRequest,
    SurveyReply,
    SurveyRequest,
)
from common.protocol.records import (
    BANK,
    StationFailure,
    pack,
    prefixed,
    read_facts,
    select_prefix,
    take_arrays,
    to_request,
)

pytestmark = pytest.mark.usefixtures("flower_task")

_runs = itertools.count(700_000)
PART = "pipe_staple"


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One small part: training images 000 to 003, of which 003 is held out."""
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    shutil.copytree(tiny_data / PART, root / PART)
    shutil.copy(tiny_data / "synthetic.json", root)
    return root


class Asked:
    """A station that has been surveyed and is asked on."""

    def __init__(self, data: Path, **changes: Any) -> None:
        settings = Settings(
            **{"backbone": "resnet18", "weights": "random", "device": "cpu", "num_workers": 1}
            | {"coreset_projection": 16, **changes}
        )
        node = with_keys({"station": "press", "data-root": str(data)})
        self.context = Context(next(_runs), 3, node, RecordDict(), settings.to_run_config())
        self.survey, _ = self.ask("query", SurveyRequest(), SurveyReply)

    def ask(self, kind: str, facts: Any, answer: Any, rows: Any = None) -> tuple[Any, Any]:
        content = to_request(facts, 600.0, pack(prefixed(BANK, rows or {})))
        message = Message(content, dst_node_id=3, message_type=kind)
        found = plant_keys().ask(app, message, self.context).content
        return read_facts(found, answer), take_arrays(found)

    def build(self) -> tuple[BuildReply, dict[str, Any]]:
        facts = BuildRequest(round=1, budgets={PART: 20}, part=0, parts=1, bank_parts=0)
        reply, arrays = self.ask("train", facts, BuildReply)
        return reply, select_prefix(BANK, arrays)

    def score(self, rows: dict[str, Any]) -> ScoreReply:
        facts = ScoreRequest(round=1, bank_parts=0, score_images=True)
        return self.ask("evaluate", facts, ScoreReply, rows)[0]


def train(data: Path) -> list[Path]:
    return sorted((data / PART / "train" / "good").iterdir())


def add(data: Path, name: str = "zzz.png") -> Path:
    path = data / PART / "train" / "good" / name
    shutil.copy(train(data)[0], path)
    return path


def change(path: Path) -> None:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    Image.fromarray(255 - pixels).save(path)


def test_an_added_image_is_not_used_and_nothing_held_out_joins_the_bank(data: Path) -> None:
    plain, rows = Asked(data).build()
    asked = Asked(data)
    add(data)  # by name order the last: without the list 003 would be in the bank, zzz held out
    reply, same = asked.build()
    np.testing.assert_array_equal(same[PART], rows[PART])
    assert reply.banks == plain.banks
    assert reply.notices == ["1 image changed since the survey: 1 added"]
    scored = asked.score(rows)
    assert len(scored.categories[PART].held_out_scores) == asked.survey.categories[PART].held_out
    assert "1 image changed since the survey: 1 added" in scored.notices
    # The next run counts it.
    assert Asked(data).survey.categories[PART].images == asked.survey.categories[PART].images + 1


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_bank_image_that_is_another_one_now_is_the_stations_failure(
    data: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    asked = Asked(data)
    add(data)
    first = train(data)[0]
    change(first) if how == "changed" else first.unlink()
    with caplog.at_level(logging.WARNING), pytest.raises(StationFailure) as failed:
        asked.build()
    told = str(failed.value)
    assert told.startswith(
        f"images-changed: 2 images changed since the survey: 1 added, 1 {how}; begin the run again"
    )
    assert first.name not in told
    assert first.name in caplog.text


def test_a_touched_image_counts_as_changed_and_a_held_out_one_costs_the_build_nothing(
    data: Path,
) -> None:
    asked = Asked(data)
    os.utime(train(data)[-1], (1, 1))
    reply, rows = asked.build()
    assert reply.notices == ["1 image changed since the survey: 1 changed"]
    scored = asked.score(rows)
    own = scored.categories[PART]
    assert own.held_out_scores == []
    assert own.test == asked.survey.categories[PART].test
    assert own.failed["held-out"].code == "images-changed"


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_test_image_between_build_and_score(data: Path, how: str) -> None:
    asked = Asked(data)
    _, rows = asked.build()
    first = min((data / PART / "test" / "good").iterdir())
    change(first) if how == "changed" else first.unlink()
    own = asked.score(rows).categories[PART]
    assert own.test == 0
    assert set(own.failed) == {"test"}
    assert f"1 image changed since the survey: 1 {how}" in own.failed["test"].reason
    assert len(own.held_out_scores) == asked.survey.categories[PART].held_out


def test_a_bank_image_between_build_and_score_costs_the_radius_alone(data: Path) -> None:
    asked = Asked(data)
    _, rows = asked.build()
    train(data)[0].unlink()
    scored = asked.score(rows)
    assert scored.radius == {}
    assert scored.categories[PART].failed == {}
    assert any("was not measured" in notice for notice in scored.notices)


def white_square(path: Path) -> None:
    pixels = np.random.default_rng(int(path.stem)).integers(100, 130, (64, 64, 3), dtype=np.uint8)
    pixels[20:40, 20:40] = 255
    Image.fromarray(pixels).save(path)


@pytest.fixture
def noisy(data: Path) -> Path:
    """16 grey pictures, 4 held out; 002 and the last have a white square."""
    folder = data / PART / "train" / "good"
    for path in folder.iterdir():
        path.unlink()
    for number in range(16):
        pixels = np.random.default_rng(number).integers(100, 130, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    white_square(folder / "002.png")
    white_square(folder / "015.png")
    return data


@pytest.mark.parametrize("how", ["off", "report", "exclude"])
def test_suspicious_images_are_counted_for_the_server_and_named_here(
    noisy: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    asked = Asked(noisy, audit_good=how, calibration_fraction=0.25)
    with caplog.at_level(logging.WARNING):
        reply, rows = asked.build()
        scored = asked.score(rows).categories[PART]
    if how == "off":
        assert reply.audits == {}
        assert scored.suspicious_held_out == 0
        return
    told = reply.audits[PART]
    assert (told.images, told.suspicious, told.held_out, told.suspicious_held_out) == (12, 1, 4, 1)
    assert scored.suspicious_held_out == 1
    assert "train/good/002.png; held out: pipe_staple/train/good/015.png" in caplog.text
    left = 11 if how == "exclude" else 12
    assert reply.banks[PART].patches == left * 64
    assert asked.survey.categories[PART].patches == 12 * 64

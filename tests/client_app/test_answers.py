"""A station's answers, asked as Flower asks: the message in, the message out."""

from __future__ import annotations

import itertools
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from letter_cases import plant_keys, with_keys

from client_app.app import app
from client_app.run_folder import RunFolder
from common.config import Settings
from common.data.holdout import split_holdout
from common.data.images import read_size
from common.data.layout import index_data
from common.evaluation import EvaluationCounts
from common.patchcore.network.features import FeatureSource
from common.patchcore.shares import pooled
from common.protocol.messages import (
    BankPart,
    BuildReply,
    BuildRequest,
    Facts,
    Received,
    ScoreReply,
    ScoreRequest,
    SurveyReply,
    SurveyRequest,
)
from common.protocol.records import (
    BANK,
    COUNTS,
    StationFailure,
    pack,
    prefixed,
    read_facts,
    select_prefix,
    take_arrays,
    to_request,
)

pytestmark = pytest.mark.usefixtures("flower_task", "own_cache")

_runs = itertools.count(500_000)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def parts(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small parts with 3 training and 4 test images each."""
    root = tmp_path_factory.mktemp("parts") / "data"
    for name in ("pipe_staple", "tank_screw"):
        shutil.copytree(tiny_data / name, root / name)
    shutil.copy(tiny_data / "synthetic.json", root)
    return root


class Asked:
    """A station that is asked one message after another."""

    def __init__(self, node: dict[str, Any], **changes: Any) -> None:
        settings = Settings(
            **{
                "backbone": "resnet18",
                "weights": "random",
                "coreset_projection": 16,
                "num_workers": 1,
                "device": "cpu",
                **changes,
            }
        )
        self.context = Context(
            next(_runs), 3, with_keys(node), RecordDict(), settings.to_run_config()
        )

    def send(self, kind: str, content: RecordDict) -> RecordDict:
        message = Message(content, dst_node_id=3, message_type=kind)
        return plant_keys().ask(app, message, self.context).content

    def ask(
        self, kind: str, facts: Facts, answer: type[Facts], rows: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        content = self.send(kind, to_request(facts, 600.0, pack(prefixed(BANK, rows or {}))))
        return read_facts(content, answer), take_arrays(content)

    def build(self, **changes: Any) -> tuple[BuildReply, dict[str, Any]]:
        facts = {"round": 1, "budgets": {"shared": 20}, "part": 0, "parts": 1, "bank_parts": 0}
        reply, arrays = self.ask("train", BuildRequest(**{**facts, **changes}), BuildReply)
        return reply, select_prefix(BANK, arrays)


def real(data: Path) -> dict[str, Any]:
    return {"station": "press", "data-root": str(data)}


# ----------------------------------------------------------------------------------- survey


def test_survey_counts_are_those_of_the_disk_and_nothing_is_extracted(
    parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any) -> Any:
        raise AssertionError("a survey must not compute features")

    monkeypatch.setattr(FeatureSource, "stream", never)
    reply, arrays = Asked(real(parts)).ask("query", SurveyRequest(), SurveyReply)
    assert arrays == {}
    assert (reply.station, reply.real, reply.synthetic) == ("press", True, True)
    index = index_data(parts)
    for name, counts in reply.categories.items():
        train = index.select("train", name)
        bank, held_out = split_holdout(train, 0.1)
        assert (counts.images, counts.held_out) == (len(bank), len(held_out)) == (3, 1)
        assert counts.test == len(index.select("test", name))
        # layer2's grid: an eighth of the side, rounded up.
        sizes = [read_size(sample.path) for sample in bank]
        assert counts.patches == sum(-(-h // 8) * -(-w // 8) for h, w in sizes)
    assert reply.feature_dim == 384


# ------------------------------------------------------------------------------------ build


def test_rows_in_parts_are_the_rows_in_one_and_extracted_once(parts: Path) -> None:
    whole_reply, whole = Asked(real(parts)).build()
    asked = Asked(real(parts))
    replies, pieces = zip(*(asked.build(part=part, parts=3) for part in (2, 0, 1)), strict=True)
    np.testing.assert_array_equal(
        np.concatenate([pieces[i]["shared"] for i in (1, 2, 0)]), whole["shared"]
    )
    assert whole["shared"].dtype == np.float16
    assert whole["shared"].shape == (20, 384)
    assert whole_reply.extracted == 6
    assert {reply.banks["shared"] for reply in replies} == {whole_reply.banks["shared"]}
    # Features were in the station's cache already: no image is looked at twice.
    assert {reply.extracted for reply in replies} == {0}


def test_a_budget_is_a_prefix_and_the_radius_shrinks_along_it(parts: Path) -> None:
    few_reply, few = Asked(real(parts)).build(budgets={"shared": 5})
    many_reply, many = Asked(real(parts)).build(budgets={"shared": 40})
    np.testing.assert_array_equal(few["shared"], many["shared"][:5])
    assert many_reply.banks["shared"].radius < few_reply.banks["shared"].radius
    assert many_reply.banks["shared"].patches == 3 * 16 + 3 * 80


def test_a_request_is_never_answered_with_the_rows_of_another(parts: Path) -> None:
    """Two requests of one round with other budgets: each has the rows that it asked for."""
    asked = Asked(real(parts))
    _, few = asked.build(budgets={"shared": 5})
    reply, many = asked.build(budgets={"shared": 40})
    assert (len(few["shared"]), len(many["shared"])) == (5, 40)
    assert reply.banks["shared"].rows == 40
    np.testing.assert_array_equal(many["shared"][:5], few["shared"])


def test_category_banks_hold_their_own_part_only(parts: Path) -> None:
    reply, rows = Asked(real(parts), bank_scope="category").build(
        budgets={"pipe_staple": 4, "tank_screw": 6}
    )
    assert {name: len(own) for name, own in rows.items()} == {"pipe_staple": 4, "tank_screw": 6}
    assert reply.banks["pipe_staple"].patches == 3 * 16


def test_the_second_round_sends_only_what_the_bank_does_not_cover(parts: Path) -> None:
    asked = Asked(real(parts))
    first, rows = asked.build(budgets={"shared": 30})
    half = rows["shared"][:15]
    facts = BankPart(round=1, part=0, parts=1)
    received, _ = asked.ask("train.take_bank", facts, Received, {"shared": half})
    assert (received.station, received.part) == ("press", 0)
    second, more = asked.build(round=2, bank_parts=1, budgets={"shared": 30})
    # All that lies farther from the half than the first round's radius, and no more.
    assert 1 <= len(more["shared"]) <= 30
    assert second.banks["shared"].radius <= first.banks["shared"].radius
    assert second.extracted == 0
    # A bank that covers as well as this station's own already needs nothing.
    asked.ask("train.take_bank", BankPart(round=2, part=0, parts=1), Received, rows)
    third, nothing = asked.build(round=3, bank_parts=1, budgets={"shared": 30})
    assert nothing["shared"].shape == (0, 384)
    assert third.banks["shared"].rows == 0


def test_a_missing_part_of_the_bank_is_said(parts: Path) -> None:
    asked = Asked({"partition-id": 0, "num-partitions": 1}, data_root=str(parts), partition="iid")
    with pytest.raises(StationFailure, match="not all of 2 parts of the global bank"):
        asked.build(round=2, bank_parts=2)


# ------------------------------------------------------------------------------------ score


def score(asked: Asked, rows: dict[str, Any], **changes: Any) -> tuple[ScoreReply, dict[str, Any]]:
    facts = {"round": 1, "bank_parts": 0, "score_images": True, **changes}
    reply, arrays = asked.ask("evaluate", ScoreRequest(**facts), ScoreReply, rows)
    return reply, select_prefix(COUNTS, arrays)


def test_scores_are_counts_and_held_out_scores_and_no_more(parts: Path) -> None:
    asked = Asked(real(parts))
    _, rows = asked.build()
    reply, arrays = score(asked, rows)
    assert set(reply.categories) == {"pipe_staple", "tank_screw"}
    for name, found in reply.categories.items():
        own = {key.partition("/")[2]: a for key, a in arrays.items() if key.startswith(name)}
        assert EvaluationCounts.from_arrays(own).n_images == found.test == 4
        assert len(found.held_out_scores) == 1
    # 8 test and 2 held-out images; the 6 of the bank come from the cache.
    assert reply.extracted == 10
    assert reply.radius["shared"] > 0


def test_the_shares_of_a_shared_bank_judge_together(parts: Path) -> None:
    asked = Asked(real(parts), bank_scope="shared")
    _, rows = asked.build(budgets={"pipe_staple": 9, "tank_screw": 12})
    apart, counts = score(asked, rows)
    whole, same = score(Asked(real(parts), bank_scope="shared"), {"shared": pooled(rows)})
    assert apart.categories == whole.categories
    for name, array in counts.items():
        np.testing.assert_array_equal(same[name], array)
    # Each part's training patches against its own rows, as with banks of their own.
    own, _ = score(Asked(real(parts), bank_scope="category"), rows)
    assert apart.radius == own.radius
    assert set(own.radius) == {"pipe_staple", "tank_screw"}
    assert whole.radius["shared"] <= max(own.radius.values())
    # A part that sent nothing is judged by the rows of the others.
    few, _ = score(asked, {"tank_screw": rows["tank_screw"]})
    assert set(few.categories) == {"pipe_staple", "tank_screw"}
    assert few.without_bank == []


def test_a_bank_that_came_in_parts_judges_as_one_that_came_along(parts: Path) -> None:
    asked = Asked(real(parts))
    _, rows = asked.build()
    along, counts = score(asked, rows)
    for part, own in enumerate((rows["shared"][:7], rows["shared"][7:])):
        facts = BankPart(round=1, part=part, parts=2)
        asked.ask("train.take_bank", facts, Received, {"shared": own})
    stored, same = score(asked, {}, bank_parts=2)
    assert stored.categories == along.categories
    assert stored.radius == along.radius
    for name, array in counts.items():
        np.testing.assert_array_equal(same[name], array)


def test_a_station_keeps_the_banks_alone_until_its_next_run(parts: Path, tmp_path: Path) -> None:
    asked = Asked({**real(parts), "cache-dir": str(tmp_path / "own")})
    _, rows = asked.build()
    assert list((tmp_path / "own" / "runs").iterdir())
    score(asked, rows)
    (kept,) = (tmp_path / "own" / "runs").iterdir()
    assert {path.name for path in kept.iterdir()} == {"bank-1-0.npz", "ended", "lock"}
    RunFolder(tmp_path / "own", "press", 7).forget_ended()
    assert [path.name for path in kept.parent.iterdir()] == ["7-press"]


def test_without_scoring_test_images_only_held_out_ones_are_judged(parts: Path) -> None:
    asked = Asked(real(parts))
    _, rows = asked.build()
    reply, arrays = score(asked, rows, score_images=False)
    assert arrays == {}
    assert [scores.test for scores in reply.categories.values()] == [0, 0]
    assert reply.extracted == 2


def test_a_category_without_a_bank_is_named(parts: Path) -> None:
    asked = Asked(real(parts), bank_scope="category")
    _, rows = asked.build(budgets={"tank_screw": 6})
    reply, _ = score(asked, rows)
    assert reply.without_bank == ["pipe_staple"]
    assert set(reply.categories) == {"tank_screw"}


# ----------------------------------------------------------------------------------- faults


def failure_of(content: RecordDict) -> str:
    with pytest.raises(StationFailure) as failure:
        read_facts(content, SurveyReply)
    return str(failure.value)


def truncated(parts: Path, folder: Path) -> Path:
    shutil.copytree(parts, folder)
    image = folder / "tank_screw" / "train" / "good" / "0000.png"
    image.write_bytes(image.read_bytes()[:60])
    return folder


def test_a_broken_image_is_named_in_a_simulation_and_only_in_the_log_of_a_real_station(
    parts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = truncated(parts, tmp_path / "line 1")
    request = to_request(
        BuildRequest(round=1, budgets={"shared": 9}, part=0, parts=1, bank_parts=0), 600.0
    )
    simulated = Asked(
        {"partition-id": 0, "num-partitions": 1}, data_root=str(broken), partition="iid"
    )
    assert "tank_screw/train/good/0000.png" in failure_of(simulated.send("train", request))
    logging.getLogger("flwr").propagate = True
    with caplog.at_level(logging.ERROR, "flwr"):
        told = failure_of(Asked(real(broken)).send("train", request))
    assert told == (
        "unreadable-image: an image of the station cannot be read; the station's own log names "
        "it; run `fedpatchcore check` there, and mend or remove what it finds"
    )
    assert "tank_screw/train/good/0000.png" in caplog.text


@pytest.mark.parametrize(
    ("node", "code"),
    [
        ({"station": "press"}, "unusable-input"),
        ({"station": "press", "data-root": "/plant/line-1/parts"}, "no-images"),
        ({"station": "../../plant", "data-root": "/plant/line-1/parts"}, "unusable-input"),
    ],
)
def test_failures_of_real_stations_name_no_path(node: dict[str, Any], code: str) -> None:
    told = failure_of(Asked(node).send("query", to_request(SurveyRequest(), 600.0)))
    assert told.startswith(f"{code}: ")
    assert "plant" not in told
    assert "/" not in told


class _Odd_Error(Exception):
    """A name that the pattern of codes would not take as it is."""


def test_an_unexpected_error_is_an_answer_too(parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise _Odd_Error("/plant/secret.png")

    monkeypatch.setattr("client_app.surveyed.survey", broken)
    told = failure_of(Asked(real(parts)).send("query", to_request(SurveyRequest(), 600.0)))
    assert told.startswith("internal-odderror: ")
    assert "secret" not in told


@pytest.mark.parametrize("kind", ["query", "train", "train.take_bank", "evaluate"])
def test_a_request_of_another_version_is_said_to_be_one(kind: str, parts: Path) -> None:
    content = to_request(SurveyRequest(), 600.0)
    content.config_records["facts"]["json"] = '{"protocol": 1}'
    told = failure_of(Asked(real(parts)).send(kind, content))
    assert told.startswith("unusable-request: ")
    assert told.endswith("server and station must run the same version")

"""Whatever one station answers to a delivery: one line of the record is about it, and no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from local_grid import Finished, run_local, small_settings
from station_folders import EVERYTHING, give, real_nodes

from common.protocol.messages import SENTENCE_LENGTH
from common.protocol.records import FACTS
from server_app.delivery.after_run import deliver_model
from server_app.delivery.sending import DELIVER

pytestmark = pytest.mark.usefixtures("flower_task")

STATIONS = {"gate": "pipe_clip", "mill": "tank_screw", "press": "pipe_staple"}
HOSTILE, NODE = "mill", 6
Change = Callable[[str], str | None]


@pytest.fixture(scope="module")
def undelivered(
    tiny_data: Path, tmp_path_factory: pytest.TempPathFactory, plain_module: None, flower_task: None
) -> Iterator[tuple[Path, list[Any]]]:
    """A finished run whose delivery is still to come, and what it is begun with."""
    root, kept = tmp_path_factory.mktemp("hostile"), list[Any]()
    for name, part in STATIONS.items():
        give(tiny_data, root / "plant" / name, part, *EVERYTHING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPATCHCORE_RUNS", str(root / "runs"))
        patch.setenv("FEDPATCHCORE_CACHE", str(root / "cache"))
        patch.setattr("server_app.app.deliver_model", lambda *words: kept.extend(words))
        settings = small_settings(tiny_data, root / "unused", global_bank_size=60)
        run_local(settings, nodes=real_nodes(root / "plant"), folder=root / "runs")
        shutil.copytree(root, root.with_name("begun"))
        yield root, kept


@pytest.fixture
def answered(undelivered: tuple[Path, list[Any]]) -> Callable[[Change], Finished]:
    """Hold the delivery, in which the text of one station's answer is another one."""
    root, (grid, *words, folder, run_id) = undelivered

    def go(change: Change) -> Finished:
        def tamper(node: int, request: Message, reply: Message) -> Message | None:
            if request.metadata.message_type != DELIVER or node != NODE:
                return reply
            text = change(str(reply.content.config_records[FACTS]["json"]))
            if text is None:
                return None
            content = RecordDict({FACTS: ConfigRecord({"json": text})})
            return Message(content, reply_to=request)

        shutil.rmtree(root)
        shutil.copytree(root.with_name("begun"), root)
        grid.tamper = tamper
        deliver_model(grid, *words, folder, run_id)
        return Finished(folder)

    return go


def with_(**changes: Any) -> Change:
    """The answer as it was, but for these words."""
    return lambda text: json.dumps({**json.loads(text), **changes})


def other_rows(text: str) -> str:
    facts: dict[str, Any] = json.loads(text)
    return json.dumps({**facts, "banks": dict.fromkeys(facts["banks"], "0" * 64)})


NOT_A_NUMBER = float("nan")
ANSWERS = {
    "another text": (with_(sha256="0" * 64), "not the text that was sent"),
    "no text at all": (with_(sha256=None), "not the text that was sent"),
    "other rows": (other_rows, "differ in sha256 from the server's: bank shared"),
    "no rows": (with_(banks={}), "differ in sha256 from the server's: bank shared"),
    "a bank that is none of the model's": (
        lambda text: with_(banks={**json.loads(text)["banks"], "spare": "0" * 64})(text),
        "bank spare",
    ),
    "accepted without figures": (with_(reason=""), "tells no figure of its test"),
    "active without a test": (with_(accepted=None), "its test accepted: None"),
    "refused and accepted": (with_(state="refused"), "its test accepted: True"),
    "active by no known model": (with_(model_sha256=None), "by which sha256"),
    "a figure that is none": (
        with_(seconds=NOT_A_NUMBER),
        "unusable answer: DeliverReply: seconds",
    ),
    "a figure without end": (with_(seconds=float("inf")), "unusable answer: DeliverReply: seconds"),
    "of another run": (with_(run="4711"), "unusable answer: DeliverReply: run"),
    "a huge text": (with_(reason="9" * 10**7), "unusable answer: DeliverReply: reason"),
    "a huge name": (with_(**{"x" * 10**6: 1}), "unusable answer: DeliverReply: x"),
    "more facts than are read": (with_(reason="9" * (40 * 2**20)), "unusable answer"),
    "a text in lines": (with_(reason="accepted\n[fedpatchcore] failed"), "unusable answer"),
    "another's name": (with_(station="press"), "was answered by 'press'"),
    "a name that is a path": (with_(station="../../etc"), "unusable answer: DeliverReply: station"),
    "a state that there is none": (with_(state="adored"), "unusable answer: DeliverReply: state"),
    "lacking rows for ever": (with_(state="needs-rows"), "are not the server's"),
    "no facts": (lambda text: "[]", "unusable answer"),
    "no JSON": (lambda text: "{" * 10**5, "unusable answer"),
    "nothing": (lambda text: None, "no answer within"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_it_is_one_line_about_that_station(
    kind: str, answered: Callable[[Change], Finished]
) -> None:
    change, expected = ANSWERS[kind]
    done = answered(change)
    assert done.run["status"] == "completed"
    assert {n: s["status"] for n, s in done.stations.items()} == dict.fromkeys(STATIONS, "used")
    told = {name: station["delivery"] for name, station in done.stations.items()}
    states = {name: one["state"] for name, one in told.items()}
    assert states == {**dict.fromkeys(STATIONS, "active"), HOSTILE: "failed"}
    assert (told[HOSTILE]["stored"], told[HOSTILE]["accepted"]) == (False, None)
    reason = told[HOSTILE]["reason"]
    assert expected in reason
    assert "\n" not in reason
    assert len(reason) < SENTENCE_LENGTH
    assert (done.folder / "run.json").stat().st_size < 100_000


def test_an_answer_as_it_should_be_is_active(answered: Callable[[Change], Finished]) -> None:
    done = answered(lambda text: text)
    assert {s["delivery"]["state"] for s in done.stations.values()} == {"active"}

"""Replies are matched with their requests; every fault is noted on whom it belongs to."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict
from server_cases import roster, survey

from common.protocol.messages import (
    BuildReply,
    Received,
    ScoreRequest,
    SurveyRequest,
    without_paths,
)
from common.protocol.records import BANK, failure_record, seconds_allowed, take_arrays, to_record
from server_app.post import Post, Request
from server_app.roster import Participant, Roster

pytestmark = pytest.mark.usefixtures("flower_task")


def sent(post: Post, requests: list[Request]) -> list[Message]:
    """Messages with the ids that Flower gives them when they are pushed."""
    messages = post.messages("train", requests)
    for message in messages:
        message.metadata.__dict__["_message_id"] = message.object_id
    return messages


def reply_to(message: Message, station: str) -> Message:
    return Message(to_record(Received(station=station, part=0)), reply_to=message)


def three() -> tuple[Roster, list[Participant]]:
    asked = roster(survey("c"), survey("b"), survey("a"))
    return asked, [asked.by_node[100], asked.by_node[99], asked.by_node[98]]


def test_answers_come_in_order_of_station_and_part_whatever_the_order_of_replies() -> None:
    asked, (c, b, a) = three()
    post = Post(asked, 5.0)
    requests = [
        Request(to, SurveyRequest(), {"part": np.array([part])}, part)
        for to in (c, b, a)
        for part in (1, 0)
    ]
    replies = [reply_to(message, "x") for message in sent(post, requests)]
    answers = post.receive(replies)
    assert [(answer.sender.name, answer.part) for answer in answers] == [
        ("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0), ("c", 1),
    ]  # fmt: skip


def test_silence_errors_and_stray_replies() -> None:
    asked, (c, b, a) = three()
    post = Post(asked, 5.0)
    messages = sent(post, [Request(to, SurveyRequest()) for to in (c, b, a)])
    gone = Message(Error(code=5, reason="Node Unavailable"), reply_to=messages[0])
    # Flower answers for a lost node itself, so its number must not be what tells who it was.
    gone.metadata.__dict__["_src_node_id"] = 1
    stray = Message(RecordDict(), dst_node_id=a.node_id, message_type="train")
    answers = post.receive([gone, stray, reply_to(messages[2], "a")])
    assert [answer.sender for answer in answers] == [a]
    assert (c.status, b.status, a.status) == ("failed", "missing", "used")
    assert c.reason == "its SuperNode went away (Flower error 5: Node Unavailable)"
    assert b.reason == "no answer within 5 s"


def test_a_flower_error_carries_no_path() -> None:
    asked, (c, *_) = three()
    post = Post(asked, 5.0)
    (message,) = sent(post, [Request(c, SurveyRequest())])
    text = "<class 'OSError'>:<'[Errno 2] No such file: '/plant/line 1/part_0001.png''>"
    post.receive([Message(Error(code=2, reason=text), reply_to=message)])
    assert "its program raised an error (Flower error 2: <class 'OSError'>" in (c.reason or "")
    assert "/plant" not in (c.reason or "")


def test_without_paths() -> None:
    assert without_paths("cannot open /data/parts/001.png: denied") == "cannot open <path>: denied"
    assert without_paths("see ~/fed/log and '/a/b'.") == "see <path> and '<path>'."
    blank = "<'[Errno 28] No space left: '/srv/line 3/x, y.png' -> \"/srv/bob's (2)/a\"'>"
    assert without_paths(blank) == "<'[Errno 28] No space left: '<path>' -> \"<path>\"'>"
    assert without_paths("broken off '/srv/line") == "broken off '<path>"
    kept = "1/2 of the images, 3x3 and/or https://flower.ai/docs"
    assert without_paths(kept) == kept


def test_requests_say_how_long_a_station_may_take_and_count_their_bytes() -> None:
    asked, (c, *_) = three()
    post = Post(asked, 12.5)
    rows = np.zeros((10, 4), dtype=np.float16)
    facts = ScoreRequest(round=1, bank_parts=0, score_images=True)
    (message,) = sent(post, [Request(c, facts, {"shared": rows})])
    assert seconds_allowed(message.content) == 12.5
    assert message.metadata.ttl > 12.5
    # 10 x 4 x 2 bytes, and numpy's header of 128.
    assert c.bytes_down == 80 + 128 + len(facts.model_dump_json())
    np.testing.assert_array_equal(take_arrays(message.content)[f"{BANK}/shared"], rows)


def test_stations_own_failures_and_answers_of_another_kind() -> None:
    asked, (c, b, a) = three()
    post = Post(asked, 5.0)
    messages = sent(post, [Request(to, SurveyRequest()) for to in (c, b, a)])
    replies = [
        Message(failure_record("unusable-input", "look at the log"), reply_to=messages[0]),
        Message(to_record(SurveyRequest()), reply_to=messages[1]),
        reply_to(messages[2], "a"),
    ]
    read = [post.read(answer, Received) for answer in post.receive(replies)]
    assert [type(facts) for facts in read] == [Received, type(None), type(None)]
    assert (c.status, c.reason) == ("failed", "unusable-input: look at the log")
    assert b.status == "refused"
    assert (b.reason or "").startswith("sent an unusable answer: Received:")
    assert a.status == "used"


def test_seconds_that_cannot_be_are_refused() -> None:
    asked, (c, b, _) = three()
    post = Post(asked, 5.0)
    messages = sent(post, [Request(to, SurveyRequest()) for to in (c, b)])
    told = [
        BuildReply(station="c", banks={}, seconds=4.9, extracted=0),
        BuildReply(station="b", banks={}, seconds=1e6, extracted=0),
    ]
    replies = [
        Message(to_record(one), reply_to=message)
        for message, one in zip(messages, told, strict=True)
    ]
    read = [post.read(answer, BuildReply) for answer in post.receive(replies)]
    assert read == [None, told[0]]
    assert (c.status, b.status) == ("used", "refused")
    assert "took 1000000 s by its own word, and came within 5 s" in (b.reason or "")


def test_an_app_that_a_station_refuses_is_told_in_its_words() -> None:
    asked, (c, b, a) = three()
    post = Post(asked, 5.0)
    messages = sent(post, [Request(to, SurveyRequest()) for to in (c, b, a)])
    said = "the app 12 is not one that this station allows (34); install\x1b[2J one /version"
    errors = [
        Error(code=7, reason=said),
        Error(code=7, reason="The FAB could not be verified."),
        Error(code=2, reason="<class 'OSError'>:<'[Errno 28] No space left on device: '/a/b''>"),
    ]
    post.receive(Message(e, reply_to=m) for e, m in zip(errors, messages, strict=True))
    assert (c.status, b.status, a.status) == ("refused", "refused", "failed")
    assert c.reason == "the app 12 is not one that this station allows (34); install [2J one <path>"
    assert b.reason == (
        "it does not take this app (Flower error 7: The FAB could not be verified.)"
    )
    assert a.reason == (
        "its program raised an error: its disk was full when Flower unpacked the app; make room "
        "there and run again, there is nothing to clear away"
    )
    assert not any(station.may_return for station in (c, b, a))

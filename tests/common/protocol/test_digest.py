"""A digest stands for all that a message holds, whatever Flower does with it on its way."""

from __future__ import annotations

import copy
import struct
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from packing import sent

from common.protocol.digest import content_digest
from common.protocol.records import to_record

pytestmark = pytest.mark.usefixtures("flower_task")

NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
ONES: list[st.SearchStrategy[Any]] = [
    INTEGERS,
    st.floats(),
    st.booleans(),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    st.binary(max_size=20),
]
VALUES = st.one_of(*ONES, *(st.lists(one, max_size=4) for one in ONES))
ARRAYS = st.builds(
    Array,
    dtype=st.sampled_from(["float16", "int8"]),
    shape=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    stype=st.just("numpy.ndarray"),
    data=st.binary(max_size=40),
)
RECORDS = st.one_of(
    st.dictionaries(NAMES, VALUES, max_size=4).map(ConfigRecord),
    st.dictionaries(NAMES, ARRAYS, max_size=3).map(ArrayRecord),
    st.dictionaries(NAMES, st.one_of(INTEGERS, st.floats()), max_size=3).map(MetricRecord),
)
CONTENTS = st.dictionaries(NAMES, RECORDS, max_size=3).map(RecordDict)


def plain(content: RecordDict) -> Any:
    """All that a content holds, in its order and with its types: the slow twin of the digest."""

    def told(value: Any) -> Any:
        if isinstance(value, Array):
            return (value.dtype, tuple(value.shape), value.stype, value.data)
        if isinstance(value, list):
            return [told(one) for one in value]
        bits = struct.pack(">d", value) if type(value) is float else value
        return (type(value).__name__, bits)

    return [
        (name, type(record).__name__, [(key, told(value)) for key, value in record.items()])
        for name, record in content.items()
    ]


@given(CONTENTS)
def test_packing_by_flower_keeps_it(content: RecordDict) -> None:
    message = Message(copy.copy(content), dst_node_id=3, message_type="train")
    assert content_digest(sent(message).content) == content_digest(content)


@given(CONTENTS, CONTENTS)
def test_two_contents_have_one_digest_only_if_they_are_alike(
    one: RecordDict, other: RecordDict
) -> None:
    assert (content_digest(one) == content_digest(other)) == (plain(one) == plain(other))


@given(st.data(), st.binary(min_size=1, max_size=400))
def test_any_change_of_one_byte_changes_it(data: st.DataObject, content: bytes) -> None:
    place = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]

    def digest(bytes_: bytes) -> bytes:
        array = Array(dtype="float16", shape=(2, 3), stype="numpy.ndarray", data=bytes_)
        return content_digest(RecordDict({"arrays": ArrayRecord({"bank/x": array})}))

    assert digest(content) != digest(changed)


def with_array(name: str = "bank/x", **changes: Any) -> RecordDict:
    facts = {"dtype": "float16", "shape": (2, 3), "stype": "numpy.ndarray", "data": b"x" * 12}
    return RecordDict({"arrays": ArrayRecord({name: Array(**{**facts, **changes})})})


@pytest.mark.parametrize(
    "changed",
    [
        with_array(dtype="bfloat16"),
        with_array(shape=(3, 2)),
        with_array(shape=(2, 3, 1)),
        with_array(shape=(6,)),
        with_array(stype="pickle"),
        with_array(data=b"x" * 11 + b"y"),
        with_array(data=b"x" * 13),
        with_array("bank/y"),
        RecordDict({"array": with_array()["arrays"]}),
        RecordDict({**with_array(), "more": ConfigRecord()}),
        RecordDict(),
    ],
)
def test_every_field_of_an_array_is_in_it(changed: RecordDict) -> None:
    assert content_digest(changed) != content_digest(with_array())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": True}),
        ({"a": 0.0}, {"a": -0.0}),
        ({"a": "1"}, {"a": b"1"}),
        ({"a": "1"}, {"a": 1}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": ["x", "y"]}, {"a": ["xy"]}),
        ({"a": "x", "b": "y"}, {"b": "y", "a": "x"}),
        ({"a": "xb", "b": ""}, {"a": "x", "bb": ""}),
        ({"a": "x"}, {"a": "x", "b": ""}),
    ],
)
def test_kinds_order_and_borders_are_in_it(one: dict[str, Any], other: dict[str, Any]) -> None:
    told = [content_digest(RecordDict({"facts": ConfigRecord(facts)})) for facts in (one, other)]
    assert told[0] != told[1]


def test_the_order_of_records_and_of_arrays_is_in_it() -> None:
    first, second = with_array()["arrays"], ConfigRecord({"a": 1})
    assert content_digest(RecordDict({"a": first, "b": second})) != content_digest(
        RecordDict({"b": second, "a": first})
    )
    x, y = Array(np.zeros(2)), Array(np.ones(2))
    assert content_digest(RecordDict({"a": ArrayRecord({"x": x, "y": y})})) != content_digest(
        RecordDict({"a": ArrayRecord({"y": y, "x": x})})
    )


def test_arrays_of_several_messages_are_summed_up_once() -> None:
    array = Array(np.arange(12, dtype=np.float16))
    known: dict[int, bytes] = {}
    contents = [
        RecordDict({name: ArrayRecord({"bank/x": array}), "facts": ConfigRecord({"n": name})})
        for name in ("a", "b")
    ]
    told = [content_digest(content, known) for content in contents]
    assert list(known) == [id(array.data)]
    assert told == [content_digest(content) for content in contents]


def test_what_flower_does_not_send_is_refused() -> None:
    content = RecordDict({"facts": ConfigRecord({"a": 1})})
    content["facts"].__dict__["_data"]["a"] = object()
    with pytest.raises(TypeError, match="a value of kind object"):
        content_digest(content)


def test_a_message_of_ours_of_several_chunks() -> None:
    from common.protocol.messages import Received

    rows = np.random.default_rng(1).normal(size=(40_000, 384)).astype(np.float16)  # 31 MB
    content = to_record(Received(station="a", part=0), {"bank/x": rows, "bank/y": rows[:3]})
    message = Message(content, dst_node_id=3, message_type="evaluate")
    before = content_digest(content)
    assert content_digest(sent(message).content) == before

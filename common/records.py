"""Between our messages and Flower's records: the only file in `common` that knows Flower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray
from pydantic import ValidationError

from common.messages import Facts, Failure, explain

FACTS, FAILURE, ARRAYS, DEADLINE = "facts", "failure", "arrays", "seconds-allowed"
BANK, COUNTS = "bank", "counts"
_NUMPY_KINDS = "?iuf"

T = TypeVar("T", bound=Facts)
AnyArray = NDArray[Any]


class MalformedReplyError(Exception):
    """What arrived is not what the protocol allows; the text says what and where."""


class StationFailure(Exception):
    """The station answered that it could not do what was asked."""


def to_record(facts: Facts, arrays: Mapping[str, AnyArray] | None = None) -> RecordDict:
    """Pack facts and arrays as the content of a Flower message."""
    content = RecordDict({FACTS: ConfigRecord({"json": facts.model_dump_json()})})
    if arrays:
        content[ARRAYS] = to_arrays(arrays)
    return content


def pack(arrays: Mapping[str, AnyArray]) -> dict[str, Array]:
    """Turn arrays into bytes, once for all messages that carry them."""
    return {name: Array(np.ascontiguousarray(array)) for name, array in arrays.items()}


def to_arrays(arrays: Mapping[str, AnyArray]) -> ArrayRecord:
    """Pack named arrays as a Flower record."""
    return ArrayRecord(pack(arrays))


def to_request(
    facts: Facts, seconds: float, packed: Mapping[str, Array] | None = None
) -> RecordDict:
    """Pack a request; the station may work on it for so many seconds."""
    content = to_record(facts)
    content.config_records[FACTS][DEADLINE] = float(seconds)
    if packed:
        content[ARRAYS] = ArrayRecord(dict(packed))
    return content


def failure_record(code: str, reason: str) -> RecordDict:
    """Pack a station's own error."""
    failure = Failure(code=code, reason=reason[:2000])
    return RecordDict({FAILURE: ConfigRecord({"json": failure.model_dump_json()})})


def seconds_allowed(content: RecordDict) -> float | None:
    """How long a station may work on a request, if it says so."""
    record = content.get(FACTS)
    value = record.get(DEADLINE) if isinstance(record, ConfigRecord) else None
    return float(value) if isinstance(value, int | float) and value > 0 else None


def read_facts(content: RecordDict, kind: type[T]) -> T:
    """Unpack and check the facts of a message.

    Raises
    ------
    StationFailure
        If the message is a station's own error.
    MalformedReplyError
        If it is not a message of this kind.
    """
    failure = content.get(FAILURE)
    if isinstance(failure, ConfigRecord):
        told = _parse(failure, Failure)
        raise StationFailure(f"{told.code}: {told.reason}")
    facts = content.get(FACTS)
    if not isinstance(facts, ConfigRecord):
        raise MalformedReplyError(f"no {FACTS!r} record; expected a {kind.__name__}")
    return _parse(facts, kind)


def take_arrays(content: RecordDict) -> dict[str, AnyArray]:
    """Take the arrays out of a message; its copy of the bytes is freed array by array.

    Raises
    ------
    MalformedReplyError
        If an array is not numeric, or its bytes are not what its header says.
    """
    record = content.get(ARRAYS)
    if record is None:
        return {}
    if not isinstance(record, ArrayRecord):
        raise MalformedReplyError(f"{ARRAYS!r} is not an array record")
    arrays: dict[str, AnyArray] = {}
    for name in list(record):
        try:
            array = record.pop(name).numpy()
        except Exception as error:  # numpy and Flower raise many kinds for damaged bytes
            raise MalformedReplyError(f"array {name!r} cannot be read ({error})") from error
        if array.dtype.kind not in _NUMPY_KINDS:
            raise MalformedReplyError(f"array {name!r} has dtype {array.dtype}, expected numbers")
        arrays[name] = array
    return arrays


def content_bytes(message: Message) -> int:
    """Bytes of a message's payload: arrays and facts, without Flower's own headers."""
    if not message.has_content():
        return 0
    total = 0
    for record in message.content.values():
        if isinstance(record, ArrayRecord):
            total += sum(len(array.data) for array in record.values())
        elif isinstance(record, ConfigRecord):
            total += sum(len(value) for value in record.values() if isinstance(value, str))
    return total


def prefixed(prefix: str, arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Put arrays of one kind under their own names: `bank/<name>`."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def select_prefix(prefix: str, arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Undo `prefixed`."""
    start = prefix + "/"
    return {name[len(start) :]: a for name, a in arrays.items() if name.startswith(start)}


def _parse(record: ConfigRecord, kind: type[T]) -> T:
    text = record.get("json")
    if not isinstance(text, str):
        raise MalformedReplyError(f"no text in a {kind.__name__}")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise MalformedReplyError(f"{kind.__name__}: {explain(error)}") from error

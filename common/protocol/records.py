"""Between our messages and Flower's records: the only file in `common` that knows Flower."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any, Final, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray
from pydantic import ValidationError

from common.protocol.messages import Facts, Failure, as_sentence, explain

FACTS, FAILURE, ARRAYS, DEADLINE = "facts", "failure", "arrays", "seconds-allowed"
BANK, COUNTS = "bank", "counts"
OWNER, WITHOUT = "owner", "without"
_NUMPY_KINDS = "?iuf"
_STYPE: Final = "numpy.ndarray"
_NPY_MAGIC: Final = b"\x93NUMPY"

MAX_FACTS_BYTES: Final = 32 * 2**20
"""Longest text of facts that is parsed; a survey of 1,000 categories takes a tenth of it."""
HEADER_BYTES: Final = 512
"""More than the header of any array that is sent."""

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
    failure = Failure(code=code, reason=as_sentence(reason))
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
        raise StationFailure(str(_parse(failure, Failure)))
    facts = content.get(FACTS)
    if not isinstance(facts, ConfigRecord):
        raise MalformedReplyError(f"no {FACTS!r} record; expected a {kind.__name__}")
    return _parse(facts, kind)


def take_arrays(
    content: RecordDict,
    *,
    names: Collection[str] | None = None,
    max_bytes: int | None = None,
    copy: bool = True,
) -> dict[str, AnyArray]:
    """Take the arrays out of a message; its copy of the bytes is freed array by array.

    Parameters
    ----------
    content : RecordDict
        Of a message.
    names : collection of str, optional
        The arrays that must be there, and no other.
    max_bytes : int, optional
        Most bytes of all arrays together, their headers included. Looked at before any of them
        is decoded.
    copy : bool
        Whether each array gets memory of its own. Otherwise it is a read-only view of the bytes
        that came, which halves the memory that a large bank takes.

    Raises
    ------
    MalformedReplyError
        If the message holds another record, the arrays are not those expected or too large, or
        one is not numeric or not what its header says. Nothing is ever unpickled.
    """
    strange = sorted(set(content) - {FACTS, ARRAYS})
    if strange:
        raise MalformedReplyError(f"an unknown record {_shown(strange)}")
    record = content.get(ARRAYS, ArrayRecord())
    if not isinstance(record, ArrayRecord):
        raise MalformedReplyError(f"{ARRAYS!r} is not an array record")
    if names is not None and set(record) != set(names):
        raise MalformedReplyError(f"arrays {_shown(record)}; asked for {_shown(names)}")
    size = sum(len(array.data) for array in record.values())
    if max_bytes is not None and size > max_bytes:
        raise MalformedReplyError(f"arrays of {size} bytes, at most {max_bytes} were asked for")
    return {name: _decode(name, record.pop(name), copy) for name in list(record)}


def _decode(name: str, sent: Array, copy: bool) -> AnyArray:
    """Read an array without trusting its header: shape and type must fit the bytes that came."""
    if sent.stype != _STYPE or not sent.data.startswith(_NPY_MAGIC):
        raise MalformedReplyError(f"array {name[:120]!r} is not in NumPy's format")
    file = BytesIO(sent.data)
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"version {version} of the format, expected (1, 0)")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # numpy raises many kinds for damaged bytes
        why = as_sentence(str(error))[:200]
        raise MalformedReplyError(f"array {name[:120]!r} cannot be read ({why})") from error
    if dtype.kind not in _NUMPY_KINDS:
        raise MalformedReplyError(f"array {name[:120]!r} has dtype {dtype}, expected numbers")
    found, expected = len(sent.data) - file.tell(), math.prod(shape) * dtype.itemsize
    if fortran or found != expected or min(shape, default=0) < 0:
        raise MalformedReplyError(
            f"array {name[:120]!r}: {found} bytes, its header says {expected} in rows"
        )
    array = np.frombuffer(sent.data, dtype, offset=file.tell()).reshape(shape)
    return array.copy() if copy else array


def _shown(names: Collection[str]) -> str:
    """A few names, cut to a bearable length: they may have come over the network."""
    return as_sentence(str(sorted(names)))[:300]


def content_bytes(message: Message) -> int:
    """Bytes of a message's payload: arrays and facts, without Flower's own headers."""
    if not message.has_content():
        return 0
    total = 0
    for record in message.content.values():
        if isinstance(record, ArrayRecord):
            total += sum(len(array.data) for array in record.values())
        elif isinstance(record, ConfigRecord):
            total += sum(len(value) for value in record.values() if isinstance(value, str | bytes))
    return total


def prefixed(prefix: str, arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Put arrays of one kind under their own names: `bank/<name>`."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def select_prefix(prefix: str, arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Undo `prefixed`.

    Raises
    ------
    MalformedReplyError
        If there is an array of another kind.
    """
    start = prefix + "/"
    if strange := [name for name in arrays if not name.startswith(start)]:
        raise MalformedReplyError(f"arrays {_shown(strange)}, expected only {start}...")
    return {name[len(start) :]: array for name, array in arrays.items()}


def split_prefixes(
    arrays: Mapping[str, AnyArray], *prefixes: str
) -> tuple[dict[str, AnyArray], ...]:
    """Undo several `prefixed`, one after another.

    Raises
    ------
    MalformedReplyError
        If there is an array of another kind.
    """
    kinds: dict[str, dict[str, AnyArray]] = {prefix: {} for prefix in prefixes}
    for name, array in arrays.items():
        prefix, slash, rest = name.partition("/")
        if not slash or prefix not in kinds:
            expected = " or ".join(f"{prefix}/" for prefix in prefixes)
            raise MalformedReplyError(f"array {_shown([name])}, expected only {expected}...")
        kinds[prefix][rest] = array
    return tuple(kinds.values())


def _parse(record: ConfigRecord, kind: type[T]) -> T:
    text = record.get("json")
    if not isinstance(text, str):
        raise MalformedReplyError(f"no text in a {kind.__name__}")
    if len(text) > MAX_FACTS_BYTES:
        raise MalformedReplyError(
            f"{kind.__name__}: {len(text)} characters, at most {MAX_FACTS_BYTES} are read"
        )
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise MalformedReplyError(f"{kind.__name__}: {explain(error)}") from error

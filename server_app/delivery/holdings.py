"""Which banks each station has a use for: of those by category the ones that it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from common.patchcore.model_store import category_of
from common.protocol.messages import part_of_rows
from common.protocol.wire_rows import to_wire
from server_app.plan import parts_needed
from server_app.roster import Participant

Rows = NDArray[Any]


class Holdings:
    """What goes to which station, of the banks of one moment.

    Stations that are sent the same rows are given the very same arrays, so that a message's bytes
    are in memory once.

    Parameters
    ----------
    rows : mapping of bank to array (m, d)
    wire_dtype : str
    each : bool
        Whether banks are those of categories that judge alone (scope `category`); otherwise all
        judge together and go to everyone.
    """

    def __init__(self, rows: Mapping[str, Rows], wire_dtype: str, *, each: bool) -> None:
        self._rows, self._wire_dtype, self._each = rows, wire_dtype, each
        self._sent: dict[tuple[frozenset[str], int, int], dict[str, Rows]] = {}
        self._picked: dict[tuple[frozenset[str], int], dict[str, Rows]] = {}

    def names(self, station: Participant) -> frozenset[str]:
        """Banks that a station has a use for."""
        if not self._each:
            return frozenset(self._rows)
        held = station.survey.categories if station.survey else {}
        return frozenset(name for name in self._rows if category_of(name) in held)

    def parts(self, station: Participant) -> int:
        """In how many messages they go to it; 0 if there are none."""
        own = [self._rows[name] for name in self.names(station)]
        if not own:
            return 0
        return parts_needed(sum(map(len, own)), own[0].shape[1], self._wire_dtype)

    def part(self, station: Participant, part: int, parts: int) -> dict[str, Rows]:
        """One of these parts, as it travels."""
        key = self.names(station), part, parts
        if key not in self._sent:
            rows = {name: part_of_rows(self._rows[name], part, parts) for name in sorted(key[0])}
            self._sent[key] = to_wire(rows, self._wire_dtype)
        return self._sent[key]

    def forget(self) -> None:
        """Free the parts that have been sent."""
        self._sent.clear()

    def of(self, station: Participant, others: Mapping[str, Rows]) -> dict[str, Rows]:
        """Of other arrays by bank, as the rows' owners, those of the same banks."""
        key = self.names(station), id(others)
        if key not in self._picked:
            self._picked[key] = {name: others[name] for name in sorted(key[0]) if name in others}
        return self._picked[key]

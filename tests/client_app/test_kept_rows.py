"""A station's rows are found again by what they were chosen from, whatever the run's number."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from client_app.kept_rows import SETS_KEPT, KeptRows, key_of


def rows(seed: int) -> dict[str, np.ndarray]:
    return {"rows.a": np.random.default_rng(seed).normal(size=(5, 3)).astype(np.float16)}


def test_a_set_is_found_by_its_key_alone(tmp_path: Path) -> None:
    kept, key = KeptRows(tmp_path), key_of({"seed": 1}, {})
    assert kept.get(key) is None
    kept.put(key, rows(1))
    found = KeptRows(tmp_path).get(key)
    assert found is not None
    np.testing.assert_array_equal(found["rows.a"], rows(1)["rows.a"])
    assert (tmp_path / "rows").stat().st_mode & 0o77 == 0


def test_whatever_the_rows_depend_on_is_in_the_key() -> None:
    base = {"space": "f", "budgets": [["a", 3]], "images": {"a": ["1", "2"]}}
    others = [
        key_of(base, {}),
        key_of({**base, "budgets": [["a", 4]]}, {}),
        key_of({**base, "images": {"a": ["2", "1"]}}, {}),
        key_of(base, rows(1)),
        key_of(base, rows(2)),
        key_of(base, {"rows.b": rows(1)["rows.a"]}),
    ]
    assert len(set(others)) == len(others)
    assert key_of(dict(reversed(base.items())), {}) == others[0]


def test_only_the_last_sets_stay_and_no_old_one(tmp_path: Path) -> None:
    kept = KeptRows(tmp_path)
    for number in range(4):
        kept.put(f"{number}", rows(number))
        os.utime(tmp_path / "rows" / f"{number}.npz", (time.time() - 60 + number,) * 2)
    assert [kept.get(str(number)) is not None for number in range(4)] == [False, False, True, True]
    assert len(list((tmp_path / "rows").iterdir())) == SETS_KEPT
    os.utime(tmp_path / "rows" / "2.npz", (time.time() - 8 * 86400,) * 2)
    kept.put("4", rows(4))
    assert sorted(path.name for path in (tmp_path / "rows").iterdir()) == ["3.npz", "4.npz"]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_set_is_chosen_anew(tmp_path: Path, damage: bytes | None) -> None:
    kept = KeptRows(tmp_path)
    kept.put("one", rows(1))
    path = tmp_path / "rows" / "one.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content) if damage is None else damage)
    assert kept.get("one") is None
    assert not path.exists()


def test_where_nothing_can_be_kept_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("a file in the place of the folder")
    KeptRows(tmp_path).put("one", rows(1))
    assert KeptRows(tmp_path).get("one") is None

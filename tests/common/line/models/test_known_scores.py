"""Scores on the disk: found by what they depend on, bounded, never believed when damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import common
from common.line.models import known_scores
from common.line.models.known_scores import BANKS_KEPT, KnownScores, contents_of, scores_key
from common.patchcore import PatchCore

SCORES = {"a" * 64: 0.1 + 0.2, "b" * 64: 1e-300}


def small(**changes: object) -> PatchCore:
    model = PatchCore(backbone="resnet18", weights="random", device="cpu", **changes)
    model.set_bank("clip", np.ones((3, model.extractor.feature_dim), np.float16))
    return model


def test_scores_are_found_bit_for_bit_and_those_of_another_bank_are_not(tmp_path: Path) -> None:
    KnownScores(tmp_path).add("one", SCORES)
    assert KnownScores(tmp_path).get("one") == SCORES
    assert KnownScores(tmp_path).get("two") == {}
    KnownScores(tmp_path).add("one", {"c" * 64: 3.0})
    assert KnownScores(tmp_path).get("one") == {**SCORES, "c" * 64: 3.0}
    assert (tmp_path / "scores").stat().st_mode & 0o77 == 0


def test_all_that_a_score_depends_on_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small()
    keys = [scores_key(model, "clip"), scores_key(small(image_score="reweighted"), "clip")]
    keys += [scores_key(small(image_size=64), "clip"), scores_key(small(seed=8), "clip")]
    rows = model.banks["clip"].copy()
    rows[1, 2] = 2
    model.set_bank("clip", rows)
    keys.append(scores_key(model, "clip"))
    model.set_bank("clip", rows.astype(np.float32))
    keys.append(scores_key(model, "clip"))
    monkeypatch.setattr(common, "__version__", "another", raising=False)
    keys.append(scores_key(small(), "clip"))
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    assert scores_key(small(), "clip") == keys[0]


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"scores": 3, "sha256": ""}', None])
def test_a_damaged_file_counts_as_missing(tmp_path: Path, damage: bytes | None) -> None:
    known = KnownScores(tmp_path)
    known.add("one", SCORES)
    path = tmp_path / "scores" / "one.json"
    other = json.dumps({**json.loads(path.read_text()), "scores": {"a" * 64: 0.25}}).encode()
    path.write_bytes(other if damage is None else damage)
    assert known.get("one") == {}
    known.add("one", {"c" * 64: 3.0})
    assert known.get("one") == {"c" * 64: 3.0}


def test_banks_long_unused_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert BANKS_KEPT >= 2 * 22  # two models with a bank for each of many parts
    monkeypatch.setattr(known_scores, "BANKS_KEPT", 3)
    known = KnownScores(tmp_path)
    for number in range(3):
        known.add(f"{number}", SCORES)
        os.utime(tmp_path / "scores" / f"{number}.json", (1000 + number,) * 2)
    assert known.get("0") == SCORES  # and so it is young again
    known.add("3", SCORES)
    assert [bool(known.get(str(number))) for number in range(4)] == [True, False, True, True]


def test_where_nothing_can_be_kept_nothing_fails(tmp_path: Path) -> None:
    (tmp_path / "scores").write_text("a file in the place of the folder")
    KnownScores(tmp_path).add("one", SCORES)
    assert KnownScores(tmp_path).get("one") == {}


def test_contents_are_the_files_digests_but_of_those_that_are_gone(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"abc")
    found = contents_of([tmp_path / "one", tmp_path / "gone"])
    # Sha256 of "abc", as FIPS 180-4 gives it.
    assert found == {
        tmp_path / "one": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    }

"""Journals to be read, and to be tampered with."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from common.line.journal import Journal, KeepRule, Signer, Verdict
from common.plant.keys.journal_keys import head_signer
from common.plant.keys.station_keys import private_openssh

PLAIN = Verdict(
    part=None,
    category="bottle",
    score=1.25,
    threshold=2.0,
    anomalous=False,
    regions=[],
    threshold_source="good images held out; promises 5 %",
    model_sha256="a" * 64,
    run_id="2026-11-30-1",
    image_sha256="0" * 64,
    name=None,
    source="api",
    seconds=0.05,
    program_version="0.1.0",
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def verdict(number: int, **changes: Any) -> tuple[Verdict, bytes]:
    """A verdict on an image of its own, and the image."""
    image = f"image {number}".encode()
    facts = {"part": f"P{number}", "image_sha256": sha256(image), **changes}
    return replace(PLAIN, **facts), image


def station_key(folder: Path) -> tuple[Signer, ec.EllipticCurvePublicKey]:
    """A signer by a key file, as a station has it, and the public key."""
    key = ec.generate_private_key(ec.SECP384R1())
    path = folder / "station.key"
    path.write_bytes(private_openssh(key))
    return head_signer(path), key.public_key()


def small_journal(folder: Path, signing: Signer | None) -> None:
    """A row of every kind, some of them twice, with no column empty in every row."""
    region = {"area": 4, "peak_row": 1, "peak_column": 2}
    with Journal(folder, signing=signing, keep=KeepRule(one_in=1)) as journal:
        journal.add_switch("a" * 64, "2026-11-30-1", "engineer", "first model")
        ids = [journal.add_verdict(*verdict(n)).id for n in range(4)]
        journal.add_verdict(*verdict(4, score=3.0, anomalous=True, regions=[region]))
        failed, image = verdict(5, score=None, anomalous=None, name="/in/5.png", source="watch")
        journal.add_verdict(replace(failed, error="cannot be read"), image)
        journal.add_review(ids[0], "good", "ann", "a reflection")
        journal.add_review(ids[0], "defect", "bob", "no, a scratch")
        journal.add_threshold("bottle", 2.0, 2.5, "by hand", "engineer", "too many alarms")
        journal.add_threshold("bottle", 2.5, 2.25, "by hand", "engineer", "too few")
        journal.add_switch("b" * 64, "2026-12-01-1", "engineer", "second model")
        journal.sign_head("export")
        journal.add_verdict(*verdict(6))


def change(folder: Path, statement: str, *values: Any) -> int:
    """Change a journal as one who has the file: no constraint, no hash is heeded."""
    connection = sqlite3.connect(folder / "journal.sqlite", isolation_level=None)
    connection.execute("PRAGMA foreign_keys=OFF")
    changed = connection.execute(statement, values).rowcount
    connection.close()
    return changed

"""The guard at a SuperNode's door, with Flower's own check behind it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_archives import MINIMAL, pack
from flwr.app import Error
from flwr.supercore.fab import Fab
from flwr.supercore.run import Run
from flwr.supernode.start_client_internal import _verify_fab

from common.plant.app.content import App
from common.plant.app.trust import ANY, STATION, Trust
from common.plant.station.guard import Guard

ARCHIVE = pack(MINIMAL)
TRUSTED = Trust.of((App(MINIMAL).hash,), STATION)


def a_run(archive: bytes, **changes: Any) -> Run:
    run = Run.create_empty(7)
    run.fab_id, run.fab_version = "tests/small", "1.0"
    run.fab_hash = hashlib.sha256(archive).hexdigest()
    for name, value in changes.items():
        setattr(run, name, value)
    return run


class Door:
    """A guard, the server behind it, and what the SuperNode gets."""

    def __init__(self, home: Path, trust: Trust, fab: Fab, run: Run) -> None:
        self.errors: list[Error] = []
        self.guard = Guard(trust, home, self.errors.append)
        self.messages: list[Any] = [None, "a message"]

        @contextlib.contextmanager
        def connect(address: str, *, insecure: bool) -> Iterator[tuple[Any, ...]]:
            assert (address, insecure) == ("here", True)
            yield (
                5,
                lambda: self.messages.pop(0),
                "send",
                lambda run_id: run,
                lambda fab_hash, run_id: fab,
                "pull",
                "push",
                "confirm",
            )

        self.connect = self.guard.around(connect)

    def fetch(self) -> Fab:
        """As a SuperNode does for the first message of a run."""
        with self.connect("here", insecure=True) as calls:
            node, _, send, get_run, get_fab, *rest = calls
            assert (node, send, rest) == (5, "send", ["pull", "push", "confirm"])
            run = get_run(7)
            return get_fab(run.fab_hash, run.run_id)

    def opens(self) -> bool:
        """Whether Flower's own check then takes the app."""
        fab = self.fetch()
        taken = bool(fab.verifications.get("valid_license")) and _verify_fab(
            fab, self.guard.entities
        )
        assert taken != bool(self.errors)
        return taken


@pytest.fixture
def fab() -> Fab:
    """With what a server can say of it by itself."""
    return Fab("", ARCHIVE, {"valid_license": "yes", "fpk_x": '{"signed_at": 1, "signature": ""}'})


def test_flower_takes_what_the_guard_trusts(tmp_path: Path, fab: Fab) -> None:
    assert Door(tmp_path, TRUSTED, fab, a_run(ARCHIVE)).opens()


def test_flower_refuses_the_rest_in_the_guards_words(tmp_path: Path, fab: Fab) -> None:
    door = Door(tmp_path, Trust.of(("0" * 64,), STATION), fab, a_run(ARCHIVE))
    assert not door.opens()
    (error,) = door.errors
    assert error.code == 7
    assert error.reason.startswith(f"the app {App(MINIMAL).hash} is not one that this station")


def test_anothers_signature_opens_nothing(tmp_path: Path, fab: Fab) -> None:
    other = Door(tmp_path, TRUSTED, fab, a_run(ARCHIVE))
    signed = dict(other.fetch().verifications)
    changed = Fab("", pack({**MINIMAL, "a.py": b"1"}), signed)
    assert not Door(tmp_path, TRUSTED, changed, a_run(changed.content)).opens()
    assert not _verify_fab(
        Fab("", ARCHIVE, signed), Door(tmp_path, TRUSTED, fab, a_run(ARCHIVE)).guard.entities
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fab_id": "../../tests/small"}, "by the server's; this station refuses it"),
        ({"fab_id": "tests/other"}, "is tests/small 1.0 by its own word and ('tests/other', '1.0'"),
        ({"fab_version": "1/../../../../data/x"}, "by the server's; this station refuses it"),
        ({"fab_hash": ""}, "by the server's; this station refuses it"),
        ({"primary_task_type": "flwr-agentapp"}, "is for Flower's 'flwr-agentapp'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("trust", [TRUSTED, Trust.of(ANY, STATION)], ids=["known", "any"])
def test_a_trusted_app_under_a_false_name(
    tmp_path: Path, fab: Fab, change: dict[str, str], said: str, trust: Trust
) -> None:
    """By name, version and hash the app's process finds the folder that it imports."""
    door = Door(tmp_path, trust, fab, a_run(ARCHIVE, **change))
    assert not door.opens()
    assert door.errors[0].reason.startswith("the app of this run ")
    assert said in door.errors[0].reason


def test_no_app_at_all(tmp_path: Path) -> None:
    fab = Fab("", b"no zip", {"valid_license": "yes"})
    door = Door(tmp_path, Trust.of(ANY, STATION), fab, a_run(b"no zip"))
    assert not door.opens()
    assert "the app's archive cannot be read" in door.errors[0].reason


def test_what_is_unpacked_goes_before_each_message(tmp_path: Path, fab: Fab) -> None:
    door = Door(tmp_path, TRUSTED, fab, a_run(ARCHIVE))
    (tmp_path / "apps" / "half").mkdir(parents=True)
    with door.connect("here", insecure=True) as calls:
        assert calls[1]() is None
        assert (tmp_path / "apps").exists()  # nothing to do: somebody may still be at work
        assert calls[1]() == "a message"
    assert not (tmp_path / "apps").exists()


def test_any_app_is_told_in_the_log_of_every_run(
    tmp_path: Path, fab: Fab, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door(tmp_path, Trust.of(ANY, STATION), fab, a_run(ARCHIVE))
    assert door.opens()
    assert door.opens()
    assert sum('trusted-app is "any"' in line for line in caplog.messages) == 2

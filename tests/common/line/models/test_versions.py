"""Versions on the disk: none overwritten, one active, what a switch leaves, two writers."""

from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path

import pytest
from model_versions import rows_of, small_model

from common.errors import InputError
from common.line.models import ModelVersions, model_sha256
from common.patchcore.model_files import file_digest


def stored(folder: Path, *names: str) -> ModelVersions:
    """Versions of run ids; the seed of each model is its name."""
    versions = ModelVersions(folder)
    for name in names:
        versions.store(name, name.partition(".")[0], small_model(int(name.replace(".", ""))))
    return versions


def states(versions: ModelVersions) -> dict[str, str]:
    return {one.name: one.state for one in versions.all()}


def test_nothing_is_there_before_the_first(tmp_path: Path) -> None:
    versions = ModelVersions(tmp_path / "models")
    assert versions.all() == []
    assert versions.active() is None
    assert versions.generation() is None
    assert not (tmp_path / "models").exists()


def test_a_version_waits_and_is_activated(tmp_path: Path) -> None:
    versions = ModelVersions(tmp_path)
    first = versions.store("11", "11", small_model(1))
    assert (first.state, first.run_id, first.parent, first.known) == ("waiting", "11", None, False)
    assert first.sha256 == file_digest(tmp_path / "11/model.json") == model_sha256(first.folder)
    assert versions.active() is None
    versions.activate("11", by="anna", why="first model")
    active = versions.active()
    assert active is not None
    assert (active.name, active.state) == ("11", "active")
    assert (rows_of(active.folder) == small_model(1).banks["plate"]).all()
    (switch,) = versions.switches()
    assert (switch["from"], switch["by"], switch["why"]) == (None, "anna", "first model")


def test_the_same_model_again_is_known_and_another_is_refused(tmp_path: Path) -> None:
    versions = stored(tmp_path, "11")
    before = (tmp_path / "11/version.json").read_bytes()
    again = versions.store("11", "11", small_model(11))
    assert again.known
    with pytest.raises(InputError, match="another model is there under this name"):
        versions.store("11", "11", small_model(99))
    assert (tmp_path / "11/version.json").read_bytes() == before
    assert (rows_of(tmp_path / "11") == small_model(11).banks["plate"]).all()
    assert [one.name for one in versions.all()] == ["11"]
    (tmp_path / "12").mkdir()
    with pytest.raises(InputError, match="is there, and is no model version; move it away"):
        versions.store("12", "12", small_model(12))


def test_switching_and_going_back(tmp_path: Path) -> None:
    versions = stored(tmp_path, "1", "2", "3")
    for name in ("1", "2", "3"):
        versions.activate(name, by="anna", why="new")
    assert states(versions) == {"3": "active", "2": "kept", "1": "kept"}
    assert versions.rollback(by="ben").name == "2"
    assert versions.rollback(by="ben").name == "1"
    with pytest.raises(InputError, match="no model was active before this one"):
        versions.rollback()
    assert states(versions) == {"3": "kept", "2": "kept", "1": "active"}
    versions.activate("3", by="anna", why="again")
    assert versions.rollback().name == "1"


def test_every_switch_changes_the_generation(tmp_path: Path) -> None:
    versions = stored(tmp_path, "1", "2")
    seen = [versions.generation()]
    versions.activate("1", by="", why="")
    seen.append(versions.generation())
    versions.store("3", "3", small_model(3))
    assert versions.generation() == seen[-1]  # nothing was switched
    for name in ("2", "1", "2"):
        versions.activate(name, by="", why="")
        seen.append(versions.generation())
    assert len(set(seen)) == len(seen) == 5


def test_a_refused_version_needs_somebody_who_says_so(tmp_path: Path) -> None:
    versions = stored(tmp_path, "1", "2")
    versions.activate("1", by="", why="")
    refused = versions.refuse("2", {"accepted": False}, "9 of 10 above the threshold")
    assert (refused.state, refused.acceptance) == ("refused", {"accepted": False})
    with pytest.raises(InputError, match=r"was refused: 9 of 10 above.*--even-refused"):
        versions.activate("2", by="", why="")
    assert states(versions) == {"2": "refused", "1": "active"}
    versions.activate("2", by="anna", why="the camera is new", even_refused=True)
    assert states(versions) == {"2": "active", "1": "kept"}
    with pytest.raises(InputError, match="is active; go back to another first"):
        versions.refuse("2", None, "no")
    versions.rollback()
    assert states(versions) == {"2": "refused", "1": "active"}
    assert versions.accept("2", {"accepted": True}).state == "kept"


def test_the_oldest_go_and_never_what_is_needed(tmp_path: Path) -> None:
    versions = stored(tmp_path, "1", "2", "3", "4", "5", "6")
    versions.activate("1", by="", why="")
    versions.activate("2", by="", why="")
    versions.refuse("5", None, "bad")
    # 2 is active, 1 the way back, 6 the latest that waits: of 3, 4 and 5 the latest good one stays.
    assert versions.keep(4) == ["3", "5"]
    assert states(versions) == {"6": "waiting", "4": "waiting", "2": "active", "1": "kept"}
    assert versions.keep(1) == ["4"]
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) == [
        *("1", "2", "6", "active.json")
    ]
    with pytest.raises(InputError, match="--keep 0: expected at least 1"):
        versions.keep(0)


def test_names_of_versions_made_at_the_station(tmp_path: Path) -> None:
    versions = stored(tmp_path, "7")
    assert versions.next_name("7") == "7.1"
    stored(tmp_path, "7.1", "7.9", "77.30")
    assert versions.next_name("7") == "7.10"
    child = versions.store("7.10", "7", small_model(5), parent="7.9", reason="new parts")
    assert (child.parent, child.run_id, child.reason) == ("7.9", "7", "new parts")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\n", "x" * 121])
def test_a_name_is_a_plain_folder_name(tmp_path: Path, name: str) -> None:
    for call in (
        lambda: ModelVersions(tmp_path).store(name, "1", small_model(1)),
        lambda: ModelVersions(tmp_path).get(name),
    ):
        with pytest.raises(InputError, match="expected a run id"):
            call()
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == []


def test_a_damaged_version_is_not_activated(tmp_path: Path) -> None:
    versions = stored(tmp_path, "1", "2")
    versions.activate("1", by="", why="")
    bank = tmp_path / "2/bank.safetensors"
    content = bytearray(bank.read_bytes())
    content[-1] ^= 1
    bank.write_bytes(content)
    with pytest.raises(InputError, match="has changed since it was written"):
        versions.activate("2", by="", why="")
    # Another model, whole in itself, in its place.
    small_model(8).save(tmp_path / "2")
    with pytest.raises(InputError):
        versions.activate("2", by="", why="")
    assert states(versions)["1"] == "active"


def test_a_damaged_switch_is_said_and_mended_by_naming_a_model(tmp_path: Path) -> None:
    versions = stored(tmp_path, "1", "2")
    versions.activate("1", by="", why="")
    (tmp_path / "active.json").write_text('{"format": 1, "act')
    for call in (versions.active, versions.all, versions.rollback):
        with pytest.raises(InputError, match=r"does not say which model is active.*--activate"):
            call()
    assert versions.activate("2", by="", why="").name == "2"
    assert states(versions) == {"2": "active", "1": "waiting"}


def test_a_version_whose_folder_is_gone(tmp_path: Path) -> None:
    versions = stored(tmp_path, "1")
    versions.activate("1", by="", why="")
    (tmp_path / "1").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="names 1 as the active model, whose folder is gone"):
        versions.active()


def test_a_reader_needs_no_right_to_write(tmp_path: Path) -> None:
    """A service may have the folder read-only: reading makes no lock and no file."""
    versions = stored(tmp_path, "1")
    versions.activate("1", by="", why="")
    (tmp_path / ".lock").unlink()
    reader = ModelVersions(tmp_path)
    assert reader.active() is not None
    assert len(reader.all()) == 1
    assert reader.get("1").state == "active"
    assert not (tmp_path / ".lock").exists()


def test_what_the_file_says_is_what_programs_get(tmp_path: Path) -> None:
    version = stored(tmp_path, "1").all()[0]
    told = json.loads((tmp_path / "1/version.json").read_text())
    assert told["format"] == 1
    assert version.to_json()["sha256"] == told["sha256"] == version.sha256
    assert "folder" not in version.to_json()


def _store_some(folder: Path, first: int) -> None:
    versions = ModelVersions(folder)
    for number in range(first, first + 5):
        versions.store(str(number), str(number), small_model(number))
        versions.activate(str(number), by=str(first), why="")


def test_two_processes_are_locked_out_of_each_other(tmp_path: Path) -> None:
    """Ten versions, ten switches, none lost: each switch knows the one before it."""
    both = [
        multiprocessing.get_context("fork").Process(target=_store_some, args=(tmp_path, first))
        for first in (10, 20)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    versions = ModelVersions(tmp_path)
    assert len(versions.all()) == 10
    switches = versions.switches()
    assert len(switches) == 10
    assert [one["from"] for one in switches[1:]] == [one["name"] for one in switches[:-1]]


def test_a_reader_beside_a_writer_always_finds_a_whole_model(tmp_path: Path) -> None:
    versions = stored(tmp_path, "1")
    versions.activate("1", by="", why="")
    done = threading.Event()

    def write() -> None:
        for number in range(2, 30):
            versions.store(str(number), str(number), small_model(number))
            versions.activate(str(number), by="", why="")
            versions.keep(1)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    found = set()
    while not done.is_set():
        active = ModelVersions(tmp_path).active()
        assert active is not None
        found.add(active.name)
    writer.join()
    assert len(found) > 1

"""Models are exchanged where memory does not suffice for two; see also `test_line_switch`."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from line_service import post, running
from PIL import Image

from common.errors import RunError
from common.line.models.switch import read_switch, write_switch
from common.line.models.versions import ModelVersions
from common.line.service.bounds import Bounds, NotNow
from common.line.service.exchange import Exchange, NoModel, fits_beside, needed_bytes
from common.line.service.judge import Judge
from common.line.service.resident import (
    ActiveVersion,
    Found,
    PlainFolder,
    Resident,
    load_resident,
)
from common.patchcore.model_store import SavedModel
from common.system.memory import available_bytes, used_bytes


@pytest.fixture
def resident(saved: Path) -> Resident:
    return load_resident(PlainFolder(saved).newest())


def test_a_limit_decides(resident: Resident) -> None:
    found = resident.found
    # resnet18's trunk to layer3: some 2.8 million numbers of 4 bytes, twice.
    assert 200 * 2**20 < needed_bytes(found, resident) < 300 * 2**20
    assert fits_beside(found, resident, Bounds()) is (
        (available_bytes() or 0) >= needed_bytes(found, resident)
    )
    more = used_bytes() + needed_bytes(found, resident)
    assert not fits_beside(found, resident, Bounds(memory_bytes=more - 50 * 2**20))
    assert fits_beside(found, resident, Bounds(memory_bytes=more + 500 * 2**20))


def test_the_old_model_is_gone_before_the_new_one_is_loaded(
    resident: Resident, pictures: list[Path]
) -> None:
    """And parts that came meanwhile are judged by the new one, each once."""
    judge, image = Judge(resident), Image.open(pictures[0]).convert("RGB")
    assert judge.judge(image, "plate").resident is resident
    was, answers = weakref.ref(resident.model), []

    def load(found: Found) -> Resident:
        gc.collect()
        assert was() is None
        thread = threading.Thread(target=lambda: answers.append(judge.judge(image, "plate")))
        thread.start()
        threads.append(thread)
        time.sleep(0.3)
        assert judge.waiting == 1
        return load_resident(found)

    threads: list[threading.Thread] = []
    exchange = Exchange(judge, Bounds(memory_bytes=1), load, lambda new, old: None)
    new = exchange.to(resident.found)
    for thread in threads:
        thread.join(20)
    assert [one.resident for one in answers] == [new]
    assert judge.resident is new
    with pytest.raises(NotNow, match="another model is being loaded"):
        _ = resident.model
    judge.end()


def test_a_switch_that_cannot_be_written_down_loads_the_old_one_again(resident: Resident) -> None:
    judge = Judge(resident)

    def full(new: Resident, old: Resident) -> None:
        raise RunError("the disk is full")

    with pytest.raises(RunError, match="the disk is full"):
        Exchange(judge, Bounds(memory_bytes=1), load_resident, full).to(resident.found)
    assert judge.resident.found == resident.found
    assert judge.resident.is_loaded
    judge.end()


def test_without_any_model_parts_are_told_to_come_again(
    resident: Resident, pictures: list[Path]
) -> None:
    judge, image = Judge(resident), Image.open(pictures[0]).convert("RGB")

    def gone(found: Found) -> Resident:
        raise RunError(f"{found.name} is gone")

    exchange = Exchange(judge, Bounds(memory_bytes=1), gone, lambda new, old: None)
    with pytest.raises(NoModel, match="which judged before, cannot be loaded again"):
        exchange.to(resident.found)
    with pytest.raises(NotNow):
        judge.judge(image, "plate")
    judge.end()


def test_both_broken_then_mended(saved: Path, tmp_path: Path, pictures: list[Path]) -> None:
    """Without anything to judge by it answers 503, and finds a model that is whole again."""
    versions, first = ModelVersions(tmp_path / "models"), SavedModel.load(saved)
    versions.store("7", "7", first)
    versions.store("8", "8", replace(first, provenance={"other": 1}))
    versions.activate("7", by="", why="")
    banks = [versions.get(name).folder / "bank.safetensors" for name in "78"]
    whole = banks[0].read_bytes()
    bounds = Bounds(memory_bytes=1)
    with (
        running(ActiveVersion(versions), tmp_path / "journal", bounds) as one,
        one.client() as client,
    ):
        for bank in banks:
            bank.write_bytes(whole[:-4] + b"\x00\x00\x00\x01")
        # `activate` would refuse it: it broke later.
        write_switch(versions.folder, read_switch(versions.folder).to("8", "", ""))
        until = time.monotonic() + 20
        while one.service.not_loaded is None or one.service.resident.is_loaded:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert "cannot be loaded again" in str(client.get("/api/v1/status").json()["not_loaded"])
        answer = post(client, pictures[0])
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        for bank in banks:
            bank.write_bytes(whole)
        while not one.service.resident.is_loaded:
            assert time.monotonic() < until + 20
            time.sleep(0.05)
        assert post(client, pictures[0]).status_code == 200


def test_who_holds_waits_for_the_part_in_hand_and_not_for_ever(
    resident: Resident, pictures: list[Path]
) -> None:
    judge, image = Judge(resident), Image.open(pictures[0]).convert("RGB")
    enough = threading.Event()

    def post_on() -> None:
        while not enough.is_set():
            judge.judge(image, "plate")

    threads = [threading.Thread(target=post_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    with pytest.raises(RunError, match="were not done within"):
        judge.hold(0.0)
    judge.hold(20.0)  # even though others come all the time
    judge.go_on(resident)
    judge.judge(image, "plate")
    enough.set()
    for thread in threads:
        thread.join(20)
    judge.end()

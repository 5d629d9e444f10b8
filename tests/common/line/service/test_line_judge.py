"""The network is at work as long as a picture waits, whatever has become of those before it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.errors import InputError
from common.line.service.judge import Judge
from common.line.service.resident import PlainFolder, Resident, load_resident


@pytest.fixture
def resident(saved: Path) -> Resident:
    return load_resident(PlainFolder(saved).newest(), changes={"device": "cpu", "num_workers": 4})


def test_a_picture_begins_while_an_earlier_one_is_still_in_the_network(
    resident: Resident, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two at once the second takes long; a third comes when the first is answered."""
    images = [Image.open(path).convert("RGB") for path in pictures[:3]]
    plain = [one.score for one in resident.model.predict(images, "plate")]
    source, go = resident.model.source, threading.Event()
    begun = [threading.Event() for _ in images]
    compute = source.single

    def single(own: Any) -> Any:
        number = next(n for n, image in enumerate(images) if image is own.source)
        begun[number].set()
        assert number != 1 or go.wait(20)
        return compute(own)

    monkeypatch.setattr(source, "single", single)
    monkeypatch.setattr(type(source), "side_by_side", property(lambda self: 2))
    judge, scores = Judge(resident), dict[int, float]()

    def ask(number: int) -> None:
        scores[number] = judge.judge(images[number], "plate").prediction.score

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    threads[0].start()
    assert begun[0].wait(20)
    threads[1].start()
    threads[0].join(20)
    assert begun[1].wait(20)
    assert scores == {0: plain[0]}
    threads[2].start()
    assert begun[2].wait(20)
    assert scores == {0: plain[0]}  # in their order
    go.set()
    for thread in threads:
        thread.join(20)
    assert scores == dict(enumerate(plain))
    judge.end()
    judge.join()


def test_one_that_cannot_be_judged_costs_the_others_nothing(
    resident: Resident, pictures: list[Path]
) -> None:
    image = Image.open(pictures[0]).convert("RGB")
    judge, failed, scores = Judge(resident), list[str](), list[float]()

    def ask(category: str) -> None:
        try:
            scores.append(judge.judge(image, category).prediction.score)
        except InputError as error:
            failed.append(str(error))

    names = ["plate", "bolt", "plate", "bolt", "plate"]
    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert scores == [resident.model.predict_single(image, "plate").score] * 3
    assert len(failed) == 2
    judge.end()
    judge.join()

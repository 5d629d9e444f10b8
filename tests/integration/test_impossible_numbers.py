"""Numbers that cannot be are refused at the message; the largest that can be cost no file."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from local_grid import Finished
from tampering import only, with_facts, with_rows

from common.protocol.messages import LARGEST_DISTANCE, BuildReply, ScoreReply
from common.protocol.records import read_facts, take_arrays, to_record

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache")

Run = Callable[..., Finished]


def with_scores(score: float, distance: float | None = None) -> Callable[[Message], Message]:
    """Scores of test images; if a distance is given, those of held-out images and the radii too.

    Without the rows of any station none of them is lower.
    """

    def changed(reply: Message) -> Message:
        told = read_facts(reply.content, ScoreReply)
        arrays = dict(take_arrays(reply.content))
        for name, array in arrays.items():
            if name.endswith("images_score"):
                arrays[name] = np.full_like(array, score)
            if name.endswith(("/good", "/defective")):
                arrays[name] = np.full_like(array, score)
            if name.endswith("/held-out") and distance is not None:
                arrays[name] = np.full_like(array, distance)
        if distance is not None:
            categories = {
                name: own.model_copy(
                    update={"held_out_scores": [distance] * len(own.held_out_scores)}
                )
                for name, own in told.categories.items()
            }
            radius = dict.fromkeys(told.radius, distance)
            told = told.model_copy(update={"categories": categories, "radius": radius})
        return Message(content=to_record(told, arrays), metadata=reply.metadata)

    return changed


def strict(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} in a file")

    return json.loads(text, parse_constant=refuse)


CASES = {
    "seconds of a bank": (
        "train",
        with_facts(BuildReply, seconds=1.7e308),
        "seconds: Input should",
    ),
    "seconds above the deadline": (
        "train",
        with_facts(BuildReply, seconds=1e7),
        "took 10000000 s by its own word, and came within 7200 s",
    ),
    "radius of a bank": (
        "train",
        with_rows(lambda rows: rows, radius=1e300),
        "radius: Input should be less than or equal to",
    ),
    "radius above what was sent": (
        "train",
        with_rows(lambda rows: rows, radius=1e9),
        "sent an unusable bank: bank ",
    ),
    "no rows": ("train", with_rows(lambda rows: rows[:0], rows=0), "no row of "),
    "seconds of scores": ("evaluate", with_facts(ScoreReply, seconds=1.7e308), "seconds"),
    "scores": ("evaluate", with_scores(1.7e308), "a score of 1.7e+308, above any distance"),
    "radius of scores": ("evaluate", with_scores(1.0, 1e300), "Input should be less than or equal"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_number_that_cannot_be_is_its_senders_alone(run: Run, case: str) -> None:
    kind, change, reason = CASES[case]
    done = run(only(kind, change), min_stations=2)
    assert done.error is None
    odd = done.stations["station-1"]
    assert odd["status"] == "refused"
    assert reason in odd["reason"]
    for path in done.folder.rglob("*.json"):
        strict(path.read_text())


def test_the_largest_numbers_that_can_be_leave_every_file(run: Run) -> None:
    done = run(only("evaluate", with_scores(LARGEST_DISTANCE, LARGEST_DISTANCE)), min_stations=2)
    assert done.error is None
    assert done.run["summary"] == "used 3 of 3"
    names = {path.name for path in done.folder.rglob("*.json")}
    assert names == {"run.json", "contributions.json", "model.json", "metrics.json", "curve.json"}
    for path in done.folder.rglob("*.json"):
        strict(path.read_text())
    assert not any("not finite" in notice for notice in done.run["notices"])

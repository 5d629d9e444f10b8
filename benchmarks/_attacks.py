"""Stations that say wrong things: what each of them changes in an honest station's replies.

Letters are not signed in a run of one process, and in a real one a signature says who speaks, not
whether it is true: the changes are made after the honest computation, as by who holds the key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.patchcore.local_bank import bank_patches
from common.patchcore.network.feature_space import FeatureSpace
from common.protocol.messages import BuildReply, BuildRequest, SizeCount, SurveyReply

Banks = dict[str, NDArray[Any]]
Defects = dict[str, dict[str, list[tuple[str, NDArray[Any]]]]]
"""Station -> bank -> (defect type, patches on the defect) of each defective test image."""


@dataclass
class Scene:
    """What whoever attacks knows: more than a real one would.

    Attributes
    ----------
    bad : tuple of str
        The stations that say wrong things.
    defects : callable () -> Defects
        Patches of everybody's defective test images; worked out when first asked for.
    sent : dict of station to Banks
        Rows of everybody's last reply, as it went out.
    """

    bad: tuple[str, ...]
    defects: Callable[[], Defects]
    sent: dict[str, Banks] = field(default_factory=dict)

    def rng(self, station: str) -> np.random.Generator:
        """Draw the same for the same station."""
        return np.random.default_rng([7, *station.encode()])


Survey = Callable[[Scene, SurveyReply], SurveyReply]
Rows = Callable[[Scene, str, BuildRequest, Banks], Banks]
Answers = Callable[[str, NDArray[Any]], NDArray[Any]]
"""(`<category>/<array>`, array) -> the array that is sent."""
Scores = Callable[[Scene, str, list[float]], list[float]]


@dataclass(frozen=True)
class Attack:
    """One row of the table.

    Attributes
    ----------
    name : str
        What the station does, in words.
    survey, rows, scores : callable or None
        What it changes in its survey, in the rows that it sends and in its held-out scores.
    bad : int
        How many stations do it: a pair from five stations on.
    rounds : int
        Of the run.
    answers : callable or None
        What it changes in its scores without each station's rows, array by array.
    picture : {"", "one", "each"}
        A defective picture lies among the held-out ones of one station, or of each: by accident,
        so nothing in a reply is changed.
    """

    name: str
    survey: Survey | None = None
    rows: Rows | None = None
    scores: Scores | None = None
    bad: int = 1
    rounds: int = 1
    answers: Answers | None = None
    picture: str = ""


MANY_IMAGES = 10_000_000
MANY_HELD_OUT = 100_000


def many_images(scene: Scene, facts: SurveyReply) -> SurveyReply:
    """Claim ten million images of each part, and the patches that they would have."""
    return _claiming(facts, images=MANY_IMAGES)


def many_held_out(scene: Scene, facts: SurveyReply) -> SurveyReply:
    """Claim 100,000 held-out images of each part, with as many images as it has."""
    return _claiming(facts, held_out=MANY_HELD_OUT)


def many_of_both(scene: Scene, facts: SurveyReply) -> SurveyReply:
    """Claim 100,000 held-out images of each part, and enough others to go with them."""
    return _claiming(facts, images=9 * MANY_HELD_OUT, held_out=MANY_HELD_OUT)


def _claiming(facts: SurveyReply, images: int = 0, held_out: int = 0) -> SurveyReply:
    space = FeatureSpace.from_json(facts.feature_space.model_dump())
    told = {}
    for name, own in facts.categories.items():
        if not own.images:
            told[name] = own
            continue
        sizes = list(own.sizes)
        if images:
            first = sizes[0]
            more = first.images + images - own.images
            sizes[0] = SizeCount(height=first.height, width=first.width, images=more)
        patches = sum(
            one.images * bank_patches(space, (one.height, one.width), "none") for one in sizes
        )
        told[name] = own.model_copy(
            update={
                "images": images or own.images,
                "held_out": held_out or own.held_out,
                "sizes": sizes,
                "patches": patches,
            }
        )
    return facts.model_copy(update={"categories": told})


def enormous(scene: Scene, station: str, scores: list[float]) -> list[float]:
    """Say 1e6 for every held-out image: nothing would be found any more."""
    return [1e6] * len(scores)


def half_as_much_again(scene: Scene, station: str, scores: list[float]) -> list[float]:
    """Say 1.5 times every held-out score: what no plausibility check would see."""
    return [1.5 * score for score in scores]


def nothing(scene: Scene, station: str, scores: list[float]) -> list[float]:
    """Say 0 for 100,000 held-out images: everything would be an alarm."""
    return [0.0] * MANY_HELD_OUT


def far_rows(scene: Scene, station: str, request: BuildRequest, rows: Banks) -> Banks:
    """Send the whole budget of rows far from everything and from each other."""
    return {
        name: _far(scene.rng(station), own, request.budgets[name]) for name, own in rows.items()
    }


def _far(rng: np.random.Generator, own: NDArray[Any], count: int) -> NDArray[Any]:
    length = 20 * float(np.median(np.linalg.norm(own.astype(np.float32), axis=1)))
    directions = np.abs(rng.standard_normal((count, own.shape[1])))
    directions *= length / np.linalg.norm(directions, axis=1, keepdims=True)
    return directions.astype(own.dtype)


def flipped_rows(scene: Scene, station: str, request: BuildRequest, rows: Banks) -> Banks:
    """Send its rows with the opposite sign."""
    return {name: -own for name, own in rows.items()}


def copied_rows(scene: Scene, station: str, request: BuildRequest, rows: Banks) -> Banks:
    """Send the rows of an honest station that answered before, in place of its own."""
    other = next(banks for name, banks in sorted(scene.sent.items()) if name not in scene.bad)
    return {
        name: other.get(name, own)[: request.budgets[name]].copy() for name, own in rows.items()
    }


def own_defects(scene: Scene, station: str, request: BuildRequest, rows: Banks) -> Banks:
    """Send patches of its own defective test images as rows of good parts."""
    return _leading(request, rows, scene.defects().get(station, {}))


def hiding_rows(scene: Scene, station: str, request: BuildRequest, rows: Banks) -> Banks:
    """Send the very patches of one type of defect in the other stations' test images."""
    found: dict[str, list[tuple[str, NDArray[Any]]]] = {}
    for other, banks in sorted(scene.defects().items()):
        if other not in scene.bad:
            for name, images in banks.items():
                found.setdefault(name, []).extend(images)
    chosen = {}
    for name, images in found.items():
        types = [kind for kind, _ in images]
        most = max(sorted(set(types)), key=types.count)
        chosen[name] = [(kind, patches) for kind, patches in images if kind == most]
    return _leading(request, rows, chosen)


def dripping_rows(scene: Scene, station: str, request: BuildRequest, rows: Banks) -> Banks:
    """Begin honestly, then add patches of its defects: a tenth of the budget more every round."""
    if request.round == 1:
        return rows
    share = 0.1 * (request.round - 1)
    defects = _leading(request, rows, scene.defects().get(station, {}))
    return {
        name: np.concatenate([defects[name][: round(share * budget)], own])[:budget]
        for name, own in rows.items()
        for budget in (request.budgets[name],)
    }


def all_used(key: str, array: NDArray[Any]) -> NDArray[Any]:
    """Say that its own held-out images use the rows of every station alike."""
    if not key.endswith("/nearest"):
        return array
    return np.full_like(array, max(1, int(array.sum()) // len(array)))


def accusing(key: str, array: NDArray[Any]) -> NDArray[Any]:
    """Say that everybody's rows hide its defects, and that its good images use nobody's."""
    if key.endswith("/nearest"):
        return np.zeros_like(array)
    return 1.5 * array if key.endswith("/defective") else array


def _leading(
    request: BuildRequest, rows: Banks, defects: dict[str, list[tuple[str, NDArray[Any]]]]
) -> Banks:
    """Patches of defects, an image after another in turn, and what is left of the budget."""
    changed = {}
    for name, own in rows.items():
        budget, patches = request.budgets[name], [rows for _, rows in defects.get(name, [])]
        each = max(1, -(-budget // max(1, len(patches))))
        taken = [
            some[np.linspace(0, len(some) - 1, min(each, len(some))).astype(int)]
            for some in patches
        ]
        changed[name] = np.concatenate([*taken, own])[:budget].astype(own.dtype)
    return changed


ATTACKS: tuple[Attack, ...] = (
    Attack("claims 10,000,000 images", survey=many_images),
    Attack("its held-out scores are 1e6", scores=enormous),
    Attack("its held-out scores x 1.5", scores=half_as_much_again),
    Attack("claims 100,000 held-out images, all scored 0", survey=many_held_out, scores=nothing),
    Attack(
        "the same, and 900,000 others to go with them",
        survey=many_of_both,
        scores=nothing,
    ),
    Attack("rows far from everything, all of its budget", rows=far_rows),
    Attack("far rows, saying that its own parts use them", rows=far_rows, answers=all_used),
    Attack("its own defects as rows of good parts", rows=own_defects),
    Attack("its own defects, saying that its parts use them", rows=own_defects, answers=all_used),
    Attack("its rows with the opposite sign", rows=flipped_rows),
    Attack("another station's rows as its own", rows=copied_rows),
    Attack("rows that hide one defect of the others", rows=hiding_rows),
    Attack("its own defects, drop by drop over three rounds", rows=dripping_rows, rounds=3),
    Attack("says that everybody's rows hide its defects", answers=accusing),
    Attack("two stations: held-out scores are 1e6", scores=enormous, bad=2),
    Attack("two stations: rows far from everything", rows=far_rows, bad=2),
    Attack("a defective picture among its held-out ones", picture="one"),
    Attack("a defective picture among everybody's held-out ones", picture="each"),
)


def consistent(reply: BuildReply, rows: Banks, patches: dict[str, int]) -> BuildReply:
    """What a liar says of its rows so that it fits: their number, and a radius within reach."""
    banks = {}
    for name, own in rows.items():
        facts = reply.banks[name]
        wide = own.astype(np.float32)
        reach = (
            float(np.linalg.norm(wide - wide[0], axis=1).max()) if len(own) > 1 else facts.radius
        )
        told = {"rows": len(own), "radius": min(facts.radius, 0.5 * reach)}
        banks[name] = facts.model_copy(update={**told, "patches": patches.get(name, facts.patches)})
    return reply.model_copy(update={"banks": banks})

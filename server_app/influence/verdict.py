"""From numbers to a verdict, with its reasons and one plain sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from common.evaluation.merged_threshold import FEWEST_HOLDERS
from server_app.influence.limits import (
    APART,
    CLAIMED,
    COPIED,
    FAR_APART,
    FAR_HIGHER,
    FEWEST_EXPECTED,
    FEWEST_HIDDEN,
    FEWEST_ROWS,
    GARBAGE_APART,
    HIDDEN,
    HIDDEN_A_FEW,
    HIDDEN_SHARE,
    HIGHER,
    IMPOSSIBLE,
    LITTLE_USED,
    LOWER,
    NEARLY_ALL,
    NEEDLESS,
    NEVER_USED,
    QUITE_APART,
    SURPRISE,
    TENTH_APART,
    UNUSED,
    UNUSED_BY_ITSELF,
)
from server_app.influence.numbers import CategoryNumbers, Ranks
from server_app.influence.support import Support

Verdict = Literal["fits", "watch", "quarantine"]
FITS: Final[Verdict] = "fits"
WATCH: Final[Verdict] = "watch"
QUARANTINE: Final[Verdict] = "quarantine"


@dataclass(frozen=True)
class Reason:
    """Why a station is looked at: a name for programs, words for people."""

    name: str
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class StationNumbers:
    """One station in all categories.

    Attributes
    ----------
    asked, sent, chosen : int
        Rows: most that it might send, sent, and in the banks.
    share : float
        What it stands for: its weighted share of all rows.
    claimed, counted : float
        Training images: its word, and what counts of it.
    copied : int
        Rows sent that another station sent as well.
    copied_from : str or None
        Whose most of these are.
    others_chosen : int
        Rows of the others in the banks.
    diameter : float
        Largest distance that two rows of the others can have (of the median station).
    categories : dict of category to CategoryNumbers
    """

    asked: int
    sent: int
    chosen: int
    share: float
    claimed: float
    counted: float
    copied: int
    copied_from: str | None
    others_chosen: int
    diameter: float
    categories: Mapping[str, CategoryNumbers]


def judge_station_numbers(numbers: StationNumbers) -> tuple[Verdict, str, list[Reason]]:
    """Return the verdict, its sentence and all reasons, gravest first."""
    found = [*_of_station(numbers)]
    for category, own in sorted(numbers.categories.items()):
        found += _of_category(category, own, numbers.diameter)
    grave = {QUARANTINE: 0, WATCH: 1, FITS: 2}
    found.sort(key=lambda reason: grave[reason.verdict])
    verdict = found[0].verdict if found else FITS
    told = [reason.text for reason in found if reason.verdict == verdict]
    if verdict != FITS:
        more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
        return verdict, f"{verdict}: {told[0]}{more}", found
    return verdict, f"{verdict}: {'; '.join([_usual(numbers), *told[:1]])}", found


def _of_station(numbers: StationNumbers) -> Iterator[Reason]:
    if numbers.counted > 0 and numbers.claimed > CLAIMED * numbers.counted:
        yield Reason(
            "claims-images",
            WATCH,
            f"says that it has {numbers.claimed:.0f} training images, of which "
            f"{numbers.counted:.0f} count",
        )
    if numbers.sent and numbers.copied > COPIED * numbers.sent and numbers.copied >= FEWEST_ROWS:
        whose = f", most of them {numbers.copied_from}" if numbers.copied_from else ""
        yield Reason(
            "copied-rows",
            WATCH,
            f"{numbers.copied} of the {numbers.sent} rows it sent came from another station as "
            f"well{whose}: one of them copied, or they have the same images",
        )
    fair = numbers.share * (numbers.chosen + numbers.others_chosen)
    if numbers.sent >= FEWEST_ROWS and numbers.chosen < NEEDLESS * min(fair, numbers.sent):
        yield Reason(
            "needless-rows",
            WATCH,
            f"of the {numbers.sent} rows it sent {numbers.chosen} were chosen, where its share is "
            f"{fair:.0f}: the others cover all that it sent",
        )


def _of_category(category: str, own: CategoryNumbers, diameter: float) -> Iterator[Reason]:
    yield from _of_scores(category, own.ranks, diameter)
    defects = own.rise_defects.images if own.rise_defects is not None else 0
    if own.rows and own.hidden >= HIDDEN_A_FEW:
        several = own.hidden >= max(FEWEST_HIDDEN, HIDDEN_SHARE * defects) and own.hidden_besides
        yield Reason(
            "hides-defects" if several else "may-hide-defects",
            QUARANTINE if several else WATCH,
            f"without its {own.rows} rows {own.hidden} of the other stations' {defects} defective "
            f"test images of {category} score at least {HIDDEN:.0%} higher and their good ones do "
            "not: its rows lie near defects",
        )
    if not own.rows:
        return
    if own.holders < FEWEST_HOLDERS:
        who = "no other station" if own.holders < 2 else "only one other station"
        yield Reason(
            "too-few-to-tell",
            FITS,
            f"{who} brought rows of {category}, so nobody can tell whether its rows belong there",
        )
        return
    yield from _of_use(category, own)


def _of_use(category: str, own: CategoryNumbers) -> Iterator[Reason]:
    rows = f"its {own.rows} rows of {category} ({own.share:.0%} of them)"
    apart = own.support.median if own.support is not None else None
    enough = own.rows >= FEWEST_ROWS and own.expected >= FEWEST_EXPECTED
    garbage = apart is not None and apart > GARBAGE_APART
    few = UNUSED_BY_ITSELF if garbage else UNUSED
    if enough and own.used is not None and own.used < few:
        itself = own.used_by_itself
        unsupported = own.used < NEVER_USED or (apart is not None and apart > APART)
        use = f"the others' held-out good parts use {rows} at {own.used:.0%} of their share"
        if itself is not None and itself < UNUSED_BY_ITSELF and unsupported:
            far = (
                "" if apart is None else f", and they lie {apart:.3g} times as far from all others"
            )
            yield Reason(
                "rows-of-no-good-part",
                QUARANTINE,
                f"{use}, its own at {itself:.0%}{far}: they are rows of no good part",
            )
            return
        alone = "what its own do is not known" if itself is None else f"its own at {itself:.0%}"
        yield Reason(
            "rows-used-by-itself-alone",
            WATCH,
            f"{use}, {alone}: another variant or camera, or rows that nobody needs",
        )
    elif own.support is not None and own.rows >= FEWEST_ROWS and _far(own, own.support):
        tenth = own.support.median <= QUITE_APART
        some, times = ("a tenth of ", own.support.high) if tenth else ("", own.support.median)
        yield Reason(
            "rows-far-apart",
            WATCH,
            f"{some}{rows} lie {times:.3g} times as far from everybody else's as usual: another "
            "variant, camera or light, or images that are not good",
        )


def _far(own: CategoryNumbers, support: Support) -> bool:
    """Whether rows lie so far from all others' that somebody should look at them."""
    known = own.used is not None and own.expected >= FEWEST_EXPECTED
    little = known and own.used is not None and own.used < LITTLE_USED
    most = QUITE_APART if little else FAR_APART
    tenth = TENTH_APART if own.share <= 0.5 else GARBAGE_APART
    return support.median > most or support.high > tenth


def _of_scores(category: str, ranks: Ranks | None, diameter: float) -> Iterator[Reason]:
    if ranks is None:
        return
    scores = f"its {ranks.images} held-out scores of {category}"
    if diameter > 0 and ranks.largest > IMPOSSIBLE * diameter:
        yield Reason(
            "impossible-scores",
            QUARANTINE,
            f"{scores} reach {ranks.largest:.3g}, where no two of the others' rows are farther "
            f"apart than {diameter:.3g}",
        )
        return
    ratio, surprising = ranks.ratio, ranks.p_value <= SURPRISE
    far = ranks.of_largest is not None and ranks.of_largest > FAR_HIGHER
    above = surprising and ranks.higher >= NEARLY_ALL and ratio is not None and ratio >= HIGHER
    compared = f"the others' {ranks.others}"
    if far or above:
        share = f"{ranks.above_threshold:.0%}" if ranks.above_threshold is not None else "some"
        yield Reason(
            "held-out-higher",
            WATCH,
            f"{scores} are higher than {compared} in {ranks.higher:.0%} of comparisons, {share} of "
            "them above the threshold that the others give: look at lens, light and position there",
        )
    elif surprising and 1 - ranks.higher >= NEARLY_ALL and ratio is not None and ratio <= LOWER:
        yield Reason(
            "held-out-lower",
            WATCH,
            f"{scores} are lower than {compared} in {1 - ranks.higher:.0%} of comparisons: with "
            "one threshold for all, defects may pass unseen there",
        )


def _usual(numbers: StationNumbers) -> str:
    every = [own for own in numbers.categories.values() if own.used is not None and own.rows]
    text = f"{numbers.chosen} of the {numbers.sent} rows it sent were chosen"
    if not every:
        return text
    most = max(every, key=lambda own: own.rows)
    text += f"; the others' held-out good parts use them at {most.used:.0%} of their share"
    if most.rise_others is not None:
        text += f", and would score {most.rise_others.median:.1%} higher without them"
    return text

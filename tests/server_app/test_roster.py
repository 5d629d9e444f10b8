"""Who is admitted, who is refused and why, and when a run may go on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_cases import roster, space, survey

from common.errors import RunError
from common.patchcore.network.feature_space import FeatureSpace
from server_app.roster import Participant, Roster, admit, admit_late, feature_dim


def statuses(of: Roster) -> dict[str, str]:
    return {p.name: p.status for p in of.all()}


def reason(of: Roster, name: str) -> str:
    return next(p.reason or "" for p in of.all() if p.name == name)


def test_stations_that_agree_are_all_in() -> None:
    asked = roster(survey("b"), survey("a"))
    assert admit(asked) == space("a")
    assert statuses(asked) == {"a": "used", "b": "used"}
    assert [p.name for p in asked.used()] == ["a", "b"]


def test_two_stations_with_one_name_are_both_refused() -> None:
    asked = roster(survey("a"), survey("twin"), survey("twin"))
    admit(asked)
    assert [(p.name, p.status) for p in asked.all()] == [
        ("a", "used"),
        ("twin", "refused"),
        ("twin", "refused"),
    ]
    assert "2 stations call themselves twin" in reason(asked, "twin")
    assert "node config" in reason(asked, "twin")


def test_a_twin_in_another_feature_space_does_not_save_the_other() -> None:
    asked = roster(survey("a"), survey("twin"), survey("twin", weights="b"))
    admit(asked)
    assert [p.status for p in asked.all()] == ["used", "refused", "refused"]


def test_another_feature_space_is_refused_naming_both() -> None:
    asked = roster(survey("a"), survey("b"), survey("c", weights="f"))
    assert admit(asked).fingerprint == space("a").fingerprint
    assert statuses(asked) == {"a": "used", "b": "used", "c": "refused"}
    assert space("a").describe() in reason(asked, "c")
    assert space("f").describe() in reason(asked, "c")


def test_a_tie_between_feature_spaces_fails_the_run_and_says_what_to_set() -> None:
    asked = roster(survey("a"), survey("b", weights="f"))
    with pytest.raises(RunError, match="two feature spaces are equally common") as error:
        admit(asked)
    assert f"a: {space('a').describe()}; b: {space('f').describe()}" in str(error.value)
    assert "set feature-space" in str(error.value)


@pytest.mark.parametrize("length", [64, 12])
def test_the_feature_space_key_decides_against_the_majority(length: int) -> None:
    wanted = space("f").fingerprint[:length]
    asked = roster(survey("a"), survey("b"), survey("c", weights="f"), feature_space=wanted)
    assert admit(asked) == space("f")
    assert statuses(asked) == {"a": "refused", "b": "refused", "c": "used"}


def test_a_feature_space_that_nobody_has_fails_naming_those_found() -> None:
    asked = roster(survey("a"), feature_space="0123abcd")
    with pytest.raises(RunError, match="required feature-space 0123abcd") as error:
        admit(asked)
    assert space("a").describe() in str(error.value)


def test_an_ambiguous_start_of_a_fingerprint_is_refused() -> None:
    found: dict[str, str] = {}
    for number in range(40):  # among 17 fingerprints two begin with the same hexadecimal digit
        start = space(chr(48 + number)).fingerprint[0]
        if start in found:
            pair = found[start], chr(48 + number)
            break
        found[start] = chr(48 + number)
    asked = roster(survey("a", weights=pair[0]), survey("b", weights=pair[1]), feature_space=start)
    with pytest.raises(RunError, match="is the start of 2 fingerprints"):
        admit(asked)


def test_features_of_a_wrong_dimension_are_refused_whatever_the_order() -> None:
    # Were the first station's word taken, it would turn the others out.
    asked = roster(survey("a", feature_dim=7), survey("b"), survey("c"))
    admit(asked)
    assert statuses(asked) == {"a": "refused", "b": "used", "c": "used"}
    assert "has features of 7 numbers" in reason(asked, "a")
    assert "gives 384" in reason(asked, "a")


@pytest.mark.parametrize(
    ("backbone", "layers", "expected"),
    [
        ("resnet18", ("layer2", "layer3"), 128 + 256),
        ("wide_resnet50_2", ("layer2", "layer3"), 512 + 1024),
        ("resnet50", ("layer1", "layer4"), 256 + 2048),
    ],
)
def test_feature_dimension_is_the_sum_of_channels(
    backbone: str, layers: tuple[str, ...], expected: int
) -> None:
    own = FeatureSpace(backbone, layers, 3, 0, "float32", "imagenet", "ab")
    assert feature_dim(own) == expected


def test_nobody_left_is_a_clear_failure() -> None:
    asked = roster(survey("twin"), survey("twin"))
    with pytest.raises(RunError, match="no station gave a usable answer"):
        admit(asked)


def test_the_first_reason_stands() -> None:
    participant = Participant(12345, number=3)
    participant.leave("missing", "no answer within 5 s")
    participant.leave("failed", "later")
    assert (participant.status, participant.reason) == ("missing", "no answer within 5 s")
    assert participant.facts().name == "node-3"
    assert participant.facts().host is None


@pytest.mark.parametrize(
    ("min_stations", "lost", "fails"), [(0, 0, False), (0, 1, True), (2, 1, False), (2, 2, True)]
)
def test_quorum(min_stations: int, lost: int, fails: bool) -> None:
    asked = roster(survey("a"), survey("b"), survey("c"), min_stations=min_stations)
    for participant in asked.all()[:lost]:
        participant.leave("failed", "broke down")
    if not fails:
        asked.require_quorum("scoring")
        return
    with pytest.raises(RunError) as error:
        asked.require_quorum("scoring")
    text = str(error.value)
    assert f"after scoring {3 - lost} of 3 stations are left" in text
    # One reason that several share is told once.
    assert ("a failed: broke down" if lost == 1 else "a, b failed: broke down") in text
    assert ("all 3" if min_stations == 0 else "asks for 2") in text


def test_no_station_at_all_is_below_any_quorum() -> None:
    with pytest.raises(RunError, match="No station answered"):
        roster().require_quorum("the survey")


@given(order=st.permutations(range(4)))
def test_order_of_answers_changes_nobodys_fate(order: list[int]) -> None:
    surveys = [survey("a"), survey("b"), survey("c", weights="f"), survey("d", feature_dim=1)]
    asked = roster(*(surveys[i] for i in order))
    admit(asked)
    assert statuses(asked) == {"a": "used", "b": "used", "c": "refused", "d": "refused"}


# ------------------------------------------------------------------------------- late stations


def late(asked: Roster, node: int, **facts: object) -> Participant:
    reply = survey(str(facts.pop("station")), **facts)
    asked.by_node[node] = participant = Participant(node, survey=reply, joined=2)
    return participant


def test_newcomers_are_admitted_by_the_same_rules_and_nobody_else_is_touched() -> None:
    asked = roster(survey("a"), survey("b"))
    space_of_run = admit(asked)
    good = late(asked, 1, station="c")
    other = late(asked, 2, station="d", weights="f")
    twins = [late(asked, n, station="t") for n in (4, 5)]
    taken = late(asked, 6, station="a")
    admit_late(asked, [good, other, *twins, taken], space_of_run)
    assert good.status == "used"
    assert "differs from the run's" in (other.reason or "")
    assert [twin.status for twin in twins] == ["refused", "refused"]
    assert "a station named a is in this run already (used)" in (taken.reason or "")
    assert [p.name for p in asked.used()] == ["a", "b", "c"]


def test_a_lost_station_continues_under_its_new_number() -> None:
    asked = roster(survey("a"), survey("b"))
    space_of_run = admit(asked)
    lost = asked.by_node[100]
    lost.rows_sent, lost.rows_chosen, lost.bytes_up = 9, 4, 700
    lost.leave("failed", "its SuperNode went away", may_return=True)
    back = late(asked, 1, station="a")
    back.bytes_up = 50
    admit_late(asked, [back], space_of_run)
    assert [(p.name, p.node_id, p.status) for p in asked.all()] == [
        ("a", 1, "used"), ("b", 99, "used"),
    ]  # fmt: skip
    assert (back.rows_sent, back.rows_chosen, back.bytes_up, back.joined) == (9, 4, 750, 1)


def test_the_registered_name_is_the_name_whatever_a_station_says() -> None:
    asked = roster(survey("a"), survey("b"), survey("b"))
    asked.by_node[98].registered = "c"
    admit(asked)
    assert statuses(asked) == {"a": "used", "b": "used", "c": "refused"}
    assert "calls itself 'b', but its key is registered as 'c'" in reason(asked, "c")


def test_the_summary_names_who_is_missing_and_why() -> None:
    asked = roster(survey("a"), survey("b"), survey("c"))
    assert asked.summary() == "used 3 of 3"
    for name in ("x", "y"):
        asked.absent[name] = Participant(None, registered=name)
        asked.absent[name].leave("missing", "not online")
    asked.by_node[99].leave("refused", "sent\nNaN")
    assert asked.summary() == "used 2 of 5, refused b: sent NaN; missing x, y: not online"


def test_all_means_all_that_belong_to_the_plant_not_all_that_came() -> None:
    asked = roster(survey("a"), survey("b"), survey("stranger"))
    asked.expected = ("a", "b")
    asked.by_node[98].leave("refused", "unknown key")
    asked.require_quorum("the survey")
    asked.by_node[99].leave("failed", "broke down")
    with pytest.raises(RunError, match="1 of 3 stations are left, min-stations asks for all 2"):
        asked.require_quorum("the survey")


def test_a_network_that_the_run_does_not_name_is_never_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even to refuse it: `timm/...` would be made at the server by a station's word."""
    odd = survey("odd")
    facts = odd.feature_space.model_copy(update={"backbone": "timm/vit_giant_patch14_dinov2"})
    asked = roster(survey("even"), odd.model_copy(update={"feature_space": facts}))
    monkeypatch.setattr(
        "common.patchcore.network.architectures.timm_network", lambda name: pytest.fail(name)
    )
    admit(asked)
    assert statuses(asked) == {"even": "used", "odd": "refused"}
    assert "computes features with timm/vit_giant_patch14_dinov2" in reason(asked, "odd")
    assert "the run asks for resnet18 with layer2+layer3" in reason(asked, "odd")

"""Whole runs in which one station is apart: named with numbers, and out where that is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from local_grid import Finished, Tamper, run_local, small_settings
from tampering import ODD, only, with_rows

from common.data.layout import index_data
from common.data.synthetic import write_synthetic
from common.errors import RunError
from common.evaluation.held_out.fence import within_fence
from common.patchcore import PatchCore
from common.protocol.messages import ScoreReply
from common.protocol.records import pack, read_facts, split_prefixes, take_arrays, to_record
from server_app.influence.gathered import Gathered

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache", "plain_files")

Run = Callable[..., Finished]
ODD_ONE = "station-1"


@pytest.fixture(scope="module")
def screws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One drawn part: images enough for five stations, 64 patches each."""
    drawn = tmp_path_factory.mktemp("drawn") / "all"
    write_synthetic(drawn, images=30, size=64)
    root = drawn.parent / "one"
    root.mkdir()
    (root / "tank_screw").symlink_to(drawn / "tank_screw")
    shutil.copy(drawn / "synthetic.json", root)
    return root


@pytest.fixture
def plant(screws: Path, tmp_path: Path) -> Run:
    """Run five stations on it; keyword arguments are settings."""
    numbers = iter(range(100))

    def start(tamper: Tamper | None = None, **changes: Any) -> Finished:
        settings = small_settings(
            screws, tmp_path / f"run-{next(numbers)}", **{"calibration_fraction": 0.3, **changes}
        )
        return run_local(settings, **({} if tamper is None else {"tamper": tamper}))

    return start


def far(rows: Any) -> Any:
    """Rows of no part: as large as the others, and nowhere near them."""
    noise = np.random.default_rng(0).standard_normal(rows.shape)
    return (rows.max() + 3 * rows.std() * noise).astype(rows.dtype)


GARBAGE = only("train", with_rows(far, radius=0.0))


def with_held_out(change: Callable[[float], float]) -> Tamper:
    """Held-out scores of one station as it likes them, and those without owners to fit."""

    def changed(reply: Message) -> Message:
        told, arrays = read_facts(reply.content, ScoreReply), take_arrays(reply.content)
        categories = {}
        for name, own in told.categories.items():
            scores = [change(score) for score in own.held_out_scores]
            categories[name] = own.model_copy(update={"held_out_scores": scores})
            least = np.maximum(arrays[f"without/{name}/held-out"], np.array(scores)[:, None])
            arrays[f"without/{name}/held-out"] = least
        content = to_record(told.model_copy(update={"categories": categories}), arrays)
        return Message(content=content, metadata=reply.metadata)

    return only("evaluate", changed)


def verdicts(done: Finished) -> dict[str, str]:
    assert done.error is None
    found = {n: own["verdict"] for n, own in done.run["influence"]["stations"].items()}
    assert found == {name: own["verdict"] for name, own in done.contributions.items()}
    return found


def test_honest_stations_fit_and_say_with_which_numbers(plant: Run) -> None:
    done = plant()
    assert set(verdicts(done).values()) == {"fits"}
    stations = done.run["influence"]["stations"]
    for name, own in stations.items():
        brought = done.contributions[name]
        assert own["sentence"] == brought["verdict_sentence"]
        assert own["rows"]["chosen"] == brought["rows_chosen"]
        assert own["rows"]["asked"] == brought["budget"]
        numbers = own["categories"]["tank_screw"]
        assert numbers["rows"] == brought["rows_chosen"]
        assert numbers["support"]["median"] == pytest.approx(1.0, abs=0.25)
        assert numbers["threshold"] == done.model["thresholds"]["tank_screw"]["value"]
        assert numbers["rise_others"]["median"] >= 0
    assert sum(own["rows"]["share"] for own in stations.values()) == pytest.approx(1.0)
    # Of all patches each has one nearest row: the uses in their shares add up to one.
    total = done.metrics["tank_screw"]["counts"]
    for own in stations.values():
        told = own["categories"]["tank_screw"]
        counted = [
            told["rates_others"][key] + told["rates_own"][key] for key in ("defective", "good")
        ]
        assert counted == [total["defective_images"], total["good_images"]]


@pytest.mark.parametrize("stations", [3, 5])
def test_garbage_is_named(plant: Run, stations: int) -> None:
    done = plant(GARBAGE, num_stations=stations)
    found = verdicts(done)
    assert found.pop(ODD_ONE) == "quarantine"
    assert set(found.values()) == {"fits"}
    own = done.run["influence"]["stations"][ODD_ONE]
    assert own["reasons"] == ["rows-of-no-good-part"]
    assert own["categories"]["tank_screw"]["used"] == 0


def test_sign_flips_are_named(plant: Run) -> None:
    done = plant(only("train", with_rows(lambda rows: -rows, radius=0.0)))
    assert verdicts(done)[ODD_ONE] == "quarantine"


def test_impossible_and_raised_scores_are_named(plant: Run) -> None:
    assert verdicts(plant(with_held_out(lambda score: 1e6)))[ODD_ONE] == "quarantine"
    done = plant(with_held_out(lambda score: 4 * score))
    assert verdicts(done)[ODD_ONE] == "watch"
    assert done.run["influence"]["stations"][ODD_ONE]["reasons"] == ["held-out-higher"]


def test_copied_rows_name_both(plant: Run) -> None:
    kept: dict[str, Any] = {}

    def tamper(node: int, request: Message, reply: Message) -> Message:
        if request.metadata.message_type != "train":
            return reply
        if node == ODD + 1:  # station-0, which is asked first
            kept.update(take_arrays(reply.content))
            return with_rows(lambda rows: kept["bank/tank_screw"])(
                Message(to_record(read_back(reply), kept), metadata=reply.metadata)
            )
        if node == ODD:
            rows = kept["bank/tank_screw"]
            return with_rows(lambda own: rows[: len(own)], radius=0.0)(reply)
        return reply

    found = plant(tamper).run["influence"]["stations"]
    assert "copied-rows" in found[ODD_ONE]["reasons"]
    assert found[ODD_ONE]["copied_from"] == "station-0"
    assert {found[f"station-{n}"]["verdict"] for n in (2, 3, 4)} == {"fits"}


def read_back(reply: Message) -> Any:
    from common.protocol.messages import BuildReply

    return read_facts(reply.content, BuildReply)


CHANGES: list[dict[str, Any]] = [
    {},
    {"bank_scope": "category"},
    {"wire_dtype": "int8"},
    {"wire_dtype": "float32"},
    {"num_server_rounds": 2},
    {"image_score": "reweighted"},
    {"image_score": "top-5"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_whose_the_rows_are_changes_no_bit_of_a_result(
    plant: Run, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    told = plant(**change)
    assert set(verdicts(told).values()) == {"fits"}
    assert told.run["influence"]["unknown"] is None
    monkeypatch.setattr(Gathered, "draw", lambda self, *_: {})
    plain = plant(**change)
    assert plain.bank == told.bank
    assert plain.metrics == told.metrics
    for key in ("thresholds", "calibration", "stations", "radii"):
        assert plain.model[key] == told.model[key]
    known = plain.run["influence"]["stations"]["station-0"]["categories"]["tank_screw"]
    assert known["rise_others"] is known["threshold_without"] is None


def test_whose_the_rows_are_comes_with_a_bank_of_several_parts_as_well(
    plant: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = plant()
    monkeypatch.setattr("server_app.plan.PART_BYTES", 50 * 384 * 2)  # fifty rows a message
    parts = plant()
    assert parts.grid is not None
    assert "train.take_bank" in parts.grid.kinds
    stations = parts.run["influence"]["stations"]
    for name, own in whole.run["influence"]["stations"].items():
        assert stations[name]["categories"] == own["categories"]


def test_no_name_of_a_station_goes_to_another(plant: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []

    def listen(arrays: dict[str, Any]) -> Any:
        sent.append(dict(arrays))
        return pack(arrays)

    monkeypatch.setattr("server_app.post.pack", listen)
    plant()
    rows, owners = [arrays for arrays in sent if arrays]  # once each, for all stations
    assert (set(rows), set(owners)) == ({"bank/tank_screw"}, {"owner/tank_screw"})
    assert owners["owner/tank_screw"].dtype == np.uint16
    assert owners["owner/tank_screw"].nbytes == 2 * len(rows["bank/tank_screw"])


def test_excluded_is_what_a_run_without_it_would_find(plant: Run) -> None:
    """The bank is that of the others' rows; scores and thresholds those of this bank."""
    done = plant(GARBAGE, on_suspicion="exclude")
    assert verdicts(done)[ODD_ONE] == "quarantine"
    odd = done.stations[ODD_ONE]
    assert odd["status"] == "refused"
    assert "excluded after the scores, on-suspicion: quarantine: " in odd["reason"]
    assert done.contributions[ODD_ONE]["rows_chosen"] == 0
    whole = plant(GARBAGE)
    assert done.run["bank"]["rows"]["shared"] == 200 - whole.contributions[ODD_ONE]["rows_chosen"]
    assert ODD_ONE not in done.model["provenance"]["stations"]
    assert ODD_ONE not in done.model["stations"]
    assert "radius" not in done.model or done.model["radius"] is None
    # Nobody's patches were nearest to garbage: the others' scores are what they were.
    for name, own in done.model["stations"].items():
        assert own["calibration"] == whole.model["stations"][name]["calibration"]
    metrics, before = done.metrics["tank_screw"], whole.metrics["tank_screw"]
    lost = [s for s in before["threshold"]["stations"] if s not in metrics["threshold"]["stations"]]
    assert lost == [ODD_ONE]
    gone = before["threshold"]["stations"][ODD_ONE]
    for key in ("good_images", "defective_images"):
        assert metrics["counts"][key] == before["counts"][key] - gone[key]
    assert set(metrics["counts"]) == {"images", "good_images", "defective_images"}
    assert metrics["classification"]["auc_roc"] is not None
    for key in ("localization.auc_spro", "localization.pixel_auc_roc"):
        assert "station-1 was excluded after the scores" in metrics["not_computed"][key]
    assert "auc_spro" not in metrics["localization"]
    assert any("station-1 excluded after the scores" in text for text in done.run["notices"])
    model = PatchCore.load(done.folder)
    assert len(model.banks["shared"]) == done.run["bank"]["rows"]["shared"]


def test_scores_after_an_exclusion_are_those_of_the_bank_that_is_left(
    plant: Run, screws: Path
) -> None:
    """Its rows were good ones, so that without them everything lies farther off."""
    done = plant(with_held_out(lambda score: 1e6), on_suspicion="exclude")
    whole = plant()
    assert verdicts(done)[ODD_ONE] == "quarantine"
    model = PatchCore.load(done.folder, device="cpu")
    paths = [one.path for one in index_data(screws).select("train")]
    scores = np.array([one.score for one in model.predict(paths, "tank_screw")])
    changed = 0
    for name, own in done.model["stations"].items():
        before = whole.model["stations"][name]["calibration"]["tank_screw"]
        for score in own["calibration"]["tank_screw"]:
            assert np.abs(scores / score - 1).min() < 1e-5
        changed += own["calibration"]["tank_screw"] != before
    assert changed
    held = [s for own in done.model["stations"].values() for s in own["calibration"]["tank_screw"]]
    # What lies beyond the fence sets no threshold.
    assert done.model["calibration"]["tank_screw"] == within_fence(held).kept.tolist()
    assert done.model["thresholds"]["tank_screw"]["value"] in held


def test_with_reweighted_scores_no_figure_is_guessed(plant: Run) -> None:
    done = plant(GARBAGE, on_suspicion="exclude", image_score="reweighted")
    assert verdicts(done)[ODD_ONE] == "quarantine"
    assert done.model["thresholds"] == {}
    assert any("image-score reweighted" in text for text in done.run["notices"])


def test_of_two_at_once_nobody_knows_the_scores(plant: Run) -> None:
    def tamper(node: int, request: Message, reply: Message) -> Message:
        if node in (ODD, ODD - 1) and request.metadata.message_type == "train":
            return with_rows(far, radius=0.0)(reply)
        return reply

    done = plant(tamper, on_suspicion="exclude")
    assert [n for n, found in verdicts(done).items() if found == "quarantine"] == [
        "station-1",
        "station-2",
    ]
    assert done.model["thresholds"] == {}
    assert "threshold" not in done.metrics["tank_screw"]
    assert any("--without station-1 --without station-2" in text for text in done.run["notices"])
    assert not any("no test image" in text for text in done.run["notices"])


def test_honest_stations_lose_nothing_by_exclude(plant: Run) -> None:
    told, plain = plant(on_suspicion="exclude"), plant()
    assert told.bank == plain.bank
    assert told.metrics == plain.metrics


def test_left_out_on_request(plant: Run) -> None:
    done = plant(without="station-1, station-3")
    assert done.error is None
    for name in ("station-1", "station-3"):
        assert (done.stations[name]["status"], done.stations[name]["reason"]) == (
            "missing",
            "left out on request",
        )
    assert set(done.run["influence"]["stations"]) == {"station-0", "station-2", "station-4"}
    used = {n: own["rows_chosen"] for n, own in done.contributions.items() if own["rows_chosen"]}
    assert set(used) == {"station-0", "station-2", "station-4"}
    assert sum(used.values()) == 200


@pytest.mark.parametrize(
    ("without", "says"),
    [
        (
            "station-9",
            r"found station-9, expected stations of this run; known ones are: station-0,",
        ),
        (",".join(f"station-{n}" for n in range(5)), "all stations are left out"),
    ],
)
def test_left_out_by_a_name_that_nobody_has(plant: Run, without: str, says: str) -> None:
    done = plant(without=without)
    assert isinstance(done.error, RunError)
    assert says in done.run["error"]


def test_where_the_server_judges_its_images_count_as_the_others(plant: Run) -> None:
    done = plant(evaluation="server")
    assert set(verdicts(done).values()) == {"fits"}
    counts = done.metrics["tank_screw"]["counts"]
    for own in done.run["influence"]["stations"].values():
        told = own["categories"]["tank_screw"]
        assert told["rates_others"]["defective"] == counts["defective_images"]
        assert told["rates_own"] is None
    garbage = plant(GARBAGE, evaluation="server", on_suspicion="exclude")
    assert verdicts(garbage)[ODD_ONE] == "quarantine"
    assert garbage.metrics["tank_screw"]["counts"]["images"] == counts["images"]


def test_what_influence_cannot_say_costs_no_run(
    plant: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr("server_app.influence.assess.supports", broken)
    done = plant()
    assert done.error is None
    assert done.run["influence"] is None
    assert done.run["unevaluated"] == [
        "what each station's rows do is not known (ZeroDivisionError: of all things)"
    ]
    assert len(done.bank) > 0


def test_an_answer_without_what_was_asked_is_refused_by_name(plant: Run) -> None:
    def forget(reply: Message) -> Message:
        told = read_facts(reply.content, ScoreReply)
        counts, _ = split_prefixes(take_arrays(reply.content), "counts", "without")
        content = to_record(told, {f"counts/{name}": a for name, a in counts.items()})
        return Message(content=content, metadata=reply.metadata)

    done = plant(only("evaluate", forget), min_stations=4)
    odd = done.stations[ODD_ONE]
    assert odd["status"] == "refused"
    assert "scores without owners of []; expected of ['tank_screw']" in odd["reason"]
    json.dumps(done.run)

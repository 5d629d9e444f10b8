"""Every attack of the page once with three and with five stations, on a few small drawings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks._attacked_run import attacked_run, bad_stations
from benchmarks._attacks import ATTACKS, Attack
from benchmarks._trust_data import Parts, side_by_side
from benchmarks._trust_promise import LIARS, promise
from benchmarks.render import RESULTS, TRUST_PAGE, render_trust
from common.config import Settings
from common.data.layout import SYNTHETIC_MARKER
from common.data.synthetic.write import write_synthetic

PART = "pipe_clip"
HELD_OUT = 0.34
NEAR = 2  # images: found and false alarms, from the honest run's
#: Found only where enough of them got in: with three drops at five stations nothing is changed.
#: Who accuses all others changes nothing but their verdicts.
ACCUSES = "says that everybody's rows hide its defects"
MAY_PASS = ("drop by drop", "a defective picture among its held-out ones", ACCUSES)
COPIES = "another station's rows as its own"
#: What two who lie together can do is told in the page, not promised; and a third of so few
#: held-out images, at every station, cannot be told from the others.
ALONE = [attack for attack in ATTACKS if attack.bad == 1 and attack.picture != "each"]
PAIRS = [attack for attack in ATTACKS if attack.bad > 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("trust")
    write_synthetic(base / "drawings", images=40, size=64)
    return side_by_side({PART: base / "drawings" / PART}, base / "data", test=12)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPATCHCORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def parts(folder: Path, stations: int) -> Parts:
    settings = Settings(
        num_stations=stations,
        partition="iid",
        backbone="efficientnet_lite0",
        global_bank_size=300,
        calibration_fraction=HELD_OUT,
        device="cpu",
        num_workers=1,
    )
    return Parts(folder, settings)


@pytest.fixture(scope="module")
def honest(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Honest runs by stations and rounds, each done when first asked for."""
    known: dict[tuple[int, int], dict[str, Any]] = {}

    def run(stations: int, rounds: int) -> dict[str, Any]:
        if (stations, rounds) not in known:
            out = tmp_path_factory.mktemp("honest")
            attack = Attack("honest", rounds=rounds)
            known[stations, rounds] = attacked_run(parts(folder, stations), attack, out)
        return known[stations, rounds]

    return run


@pytest.mark.parametrize("stations", [3, 5])
def test_nobody_is_suspected_where_all_are_honest(honest: Any, stations: int) -> None:
    told = honest(stations, 1)
    assert told["error"] is None
    assert set(told["verdicts"].values()) == {"fits"}
    assert not told["refused"]


@pytest.mark.parametrize("stations", [3, 5])
@pytest.mark.parametrize("attack", ALONE, ids=lambda attack: attack.name.replace(" ", "-"))
def test_attack(attack: Attack, stations: int, folder: Path, honest: Any, tmp_path: Path) -> None:
    held = parts(folder, stations)
    told = attacked_run(held, attack, tmp_path / "run")
    assert told["error"] is None
    bad = bad_stations(list(held.held), attack)
    count = str(len(bad))
    own, reference = told["figures"][count], honest(stations, attack.rounds)["figures"][count]
    for what in ("found", "false_alarms"):
        assert abs(own[what]["merged"] - reference[what]["merged"]) <= NEAR, (what, own, reference)
    named = {name for name, verdict in told["verdicts"].items() if verdict != "fits"}
    if not any(words in attack.name for words in MAY_PASS):
        assert set(bad) <= named | set(told["refused"])
    others = {v for name, v in told["verdicts"].items() if name not in bad}
    assert "quarantine" not in others
    # Whose rows were copied is asked as well: who copied, nobody knows. Nor who is right of two.
    if attack.name not in (COPIES, ACCUSES):
        assert "watch" not in others


@pytest.mark.parametrize("attack", PAIRS, ids=lambda attack: attack.name.replace(" ", "-"))
def test_a_pair_is_named_and_nobody_else_is(attack: Attack, folder: Path, tmp_path: Path) -> None:
    told = attacked_run(parts(folder, 5), attack, tmp_path / "run")
    assert told["error"] is None
    bad = ("station-1", "station-2")
    assert {told["verdicts"][name] for name in bad} == {"quarantine"}
    assert {v for name, v in told["verdicts"].items() if name not in bad} == {"fits"}


def test_what_a_station_refuses_to_say_twice_is_told(folder: Path, tmp_path: Path) -> None:
    """Numbers that contradict each other are refused at once, and the station named."""
    attack = next(one for one in ATTACKS if one.name.startswith("claims 100,000 held-out"))
    told = attacked_run(parts(folder, 3), attack, tmp_path / "run")
    assert set(told["refused"]) == {"station-1"}
    assert "100000 of" in told["refused"]["station-1"]
    assert told["figures"]["1"]["captured"] == 0


def test_excluding_a_quarantined_station(folder: Path, honest: Any, tmp_path: Path) -> None:
    attack = next(one for one in ATTACKS if one.name.startswith("rows far from everything"))
    out, exclude = tmp_path / "run", "on-suspicion=exclude"
    told = attacked_run(parts(folder, 5), attack, out, changes=exclude)
    own, reference = told["figures"]["1"], honest(5, 1)["figures"]["1"]
    assert own["captured"] == 0
    assert abs(own["found"]["merged"] - reference["found"]["merged"]) <= NEAR
    assert abs(own["false_alarms"]["merged"] - reference["false_alarms"]["merged"]) <= NEAR


def test_a_misplaced_picture_moves_no_image(folder: Path, tmp_path: Path) -> None:
    """Every station holds the same images as before, but for the content of one of them."""
    held = parts(folder, 3)
    changed = Parts(held.misplaced(["station-1"], tmp_path / "data"), held.settings)
    for name, samples in held.held.items():
        before = [sample.path.relative_to(held.root) for sample in samples]
        assert before == [sample.path.relative_to(changed.root) for sample in changed.held[name]]
    others = [
        path.relative_to(changed.root)
        for path in changed.root.rglob("*.png")
        if path.read_bytes() != (held.root / path.relative_to(changed.root)).read_bytes()
    ]
    assert len(others) == 1
    assert others[0].parts[1:3] == ("train", "good")


def test_patches_of_defects_are_those_that_lie_on_one(folder: Path) -> None:
    held = parts(folder, 3)
    assert (folder / SYNTHETIC_MARKER).is_file()
    found = held.defects()
    assert set(found) == set(held.held)
    for station, banks in found.items():
        for kind, patches in banks[PART]:
            assert kind in {s.defect_type for s in held.held[station]}
            assert 0 < len(patches) < 64  # of 8 x 8


def test_the_promise_is_kept_by_drawing() -> None:
    for case in promise(draws=400):
        for name, own in case["liars"].items():
            assert own["other"] == own["outside"] == 0
            kept = case["promised" if name == "honest" else "promised_with_liar"]
            assert own["mean"] <= kept + 5 * own["error"] + 0.01
    assert set(LIARS) >= {"honest", "1e6", "0"}


def test_the_page_is_rendered_from_the_committed_figures() -> None:
    assert TRUST_PAGE.read_text(encoding="utf-8") == render_trust(RESULTS)


def test_the_page_says_what_is_not_held(tmp_path: Path) -> None:
    """A row beyond two images, and one in which nobody was named, are told below the table."""

    def run(name: str, found: int, verdict: str, bad: list[str]) -> dict[str, Any]:
        own = {"found": {"merged": found, "own": found}, "false_alarms": {"merged": 1, "own": 1}}
        own |= {"defective": 9, "good": 9, "image_auroc": 0.9, "auc_spro": 0.7, "captured": 5}
        told = {"attack": name, "bad": bad, "error": None, "figures": {"1": own}, "rows": 50}
        told |= {"scoring_seconds": 1.0, "verdicts": {"station-1": verdict}, "refused": {}}
        return told | {"notices": [], "stations": 3, "rounds": 1, "excluded": None}

    machine = {"date": "", "processor": "Some CPU", "cpus": 2, "load": [0.0], "python": "3.11"}
    machine |= {"versions": {}, "blas": [], "torch_blas": []}
    chosen = {"backbone": "resnet18", "image-size": 0, "global-bank-size": 50}
    result = {
        "machine": machine,
        "parts": {"clip": {"train": 9, "good": 9, "defective": 9}},
        "settings": {**chosen, "calibration-fraction": 0.34},
        "runs": [
            run("honest", 9, "fits", []),
            run("tells lies", 5, "quarantine", ["station-1"]),
            run("says nothing", 9, "fits", ["station-1"]),
        ],
    }
    (tmp_path / "trust-drawn.json").write_text(json.dumps(result))
    page = render_trust(tmp_path)
    assert "in 1 of 2 rows. Not in: tells lies, 3 stations (5 / 1; honest 9 / 1)." in page
    assert "Nobody was named in: says nothing, 3 stations." in page
    assert "Not run: `python benchmarks/trust.py honest`." in page

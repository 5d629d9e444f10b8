"""`add` in both bank scopes: what is refused, what is kept of it, and what drift says after it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from inspection_cases import SIZE, draw_part
from PIL import Image
from saved_models import write_facts

from common.cli.main import run
from common.errors import InputError
from common.evaluation import calibrate_threshold
from common.inspection.growth import add_images
from common.patchcore import PatchCore
from common.patchcore.model_store import SavedModel
from common.runs.record import threshold_facts

pytestmark = pytest.mark.usefixtures("plain_module")

COARSE, FINE = "gravel", "plate"


def draw_gravel(path: Path, seed: int) -> Path:
    """A part with strong grain: its patches lie far from each other, so its radius is large."""
    grey = np.random.default_rng(seed).integers(0, 256, SIZE).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).convert("RGB").save(path)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two parts: training images, held-out ones, and those of later days."""
    root = tmp_path_factory.mktemp("two")
    for number in range(12):
        draw_part(root / FINE / f"train/{number:02d}.png", number)
        draw_gravel(root / COARSE / f"train/{number:02d}.png", number)
        draw_part(root / FINE / f"later/{number:02d}.png", 50 + number)
        draw_gravel(root / COARSE / f"later/{number:02d}.png", 50 + number)
    return root


@pytest.fixture(scope="module", params=["category", "shared"])
def fitted_two(
    request: pytest.FixtureRequest, plain: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two parts in either scope: six images of each in the bank, six held out."""
    model = PatchCore(backbone="resnet18", weights="random", global_bank_size=60, num_workers=1)
    trained = {part: sorted((plain / part / "train").glob("*.png")) for part in (COARSE, FINE)}
    if request.param == "shared":
        model.fit([path for own in trained.values() for path in own[:6]])
        model.categories = (COARSE, FINE)
    else:
        for part, own in trained.items():
            model.fit(own[:6], part)
    for part, own in trained.items():
        scores = sorted(one.score for one in model.predict(own[6:], part))
        model.calibration[part] = scores
        model.thresholds |= threshold_facts({part: calibrate_threshold(scores, 0.2)})
    folder = tmp_path_factory.mktemp(request.param) / "model"
    model.save(folder)
    return folder


@pytest.fixture
def two(fitted_two: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted_two, tmp_path / "run" / "model"))


@pytest.fixture
def variants(tmp_path: Path) -> list[Path]:
    """A new variant of the fine part: good, with a checked patch that the model has never seen."""
    return [draw_part(tmp_path / f"new/{n}.png", 300 + n, defect=True) for n in range(3)]


def test_a_bank_grows_by_its_own_radius(two: Path, variants: list[Path]) -> None:
    """One radius for all banks made new variants of a fine part "nothing to add"."""
    saved = SavedModel.load(two)
    bank = FINE if saved.scope == "category" else "shared"
    if saved.scope == "category":
        assert saved.radii[FINE] < saved.radii[COARSE] / 2
    growth = add_images(two, variants, category=FINE, most_rows=1000, suspicious=True)
    assert growth.radius == saved.radii[bank]
    assert growth.rows_after > growth.rows_before
    assert growth.reach_after <= saved.radii[bank]
    assert growth.folder is not None
    assert SavedModel.load(growth.folder).radii == saved.radii


@pytest.mark.parametrize("fitted_two", ["category"], indirect=True)  # a shared bank has one radius
def test_a_variant_within_the_largest_radius_is_new_to_a_fine_part(
    two: Path, variants: list[Path]
) -> None:
    """The limit is the bank's own: set between the two, as the largest radius of all banks was."""
    saved = SavedModel.load(two)
    reach = add_images(two, variants, category=FINE, dry_run=True).reach_before
    assert saved.radii[FINE] < reach
    path = two / "model.json"
    facts = json.loads(path.read_text())
    facts["radii"][COARSE] = facts["radius"] = 2 * reach
    write_facts(path, facts)
    growth = add_images(two, variants, category=FINE, most_rows=1000, suspicious=True)
    assert growth.rows_after > growth.rows_before
    assert growth.reach_after <= saved.radii[FINE]


def test_after_add_the_calibration_is_stale(
    two: Path, variants: list[Path], plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores that `add` has lowered were told as drift of light and lens."""
    scope = SavedModel.load(two).scope
    assert run(["add", str(two), *map(str, variants), "--category", FINE, "--yes"]) == 0
    assert "drift is unknown until it is calibrated again" in capsys.readouterr().out
    stale = (FINE,) if scope == "category" else (COARSE, FINE)
    assert SavedModel.load(two).stale == ()
    two = two.with_name("model.1")
    assert SavedModel.load(two).stale == stale
    assert json.loads((two / "model.json").read_text())["stale"] == list(stale)

    assert run(["show", str(two)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("STALE") == len(stale)
    assert run(["show", str(two), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stale"] == list(stale)

    for part in (COARSE, FINE):
        words = ["inspect", str(two), str(plain / part / "later"), "--category", part]
        assert run([*words, "--out", str(tmp_path / "judged")]) == 0
        text = capsys.readouterr().out
        drift = next(line for line in text.splitlines() if line.startswith("drift:"))
        assert drift.startswith("drift: unknown: the bank has grown") == (part in stale)
        assert ("the bank has grown since the threshold" in text) == (part in stale)

    data = tmp_path / "data"
    for part in (COARSE, FINE):
        shutil.copytree(plain / part / "later", data / part / "test/good")
        shutil.copytree(plain / part / "train", data / part / "train/good")
    assert run(["evaluate", str(two), str(data), "--out", str(tmp_path / "out")]) == 0
    notices = json.loads((tmp_path / "out/run.json").read_text())["notices"]
    (folder,) = (tmp_path / "out/evaluation/metrics").iterdir()
    for part in (COARSE, FINE):
        told = [line for line in notices if line.startswith(f"{part}: the bank has grown")]
        assert len(told) == (part in stale)
        drift = json.loads((folder / part / "metrics.json").read_text())["threshold"]["drift"]
        assert (drift["verdict"] == "unknown") == (part in stale)
        assert (drift["p_higher"] is None) == (part in stale)


def test_a_defect_is_not_taught_without_a_question(
    two: Path, variants: list[Path], plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image far above the threshold went into the bank, and its like was good from then on."""
    content = (two / "model.json").read_bytes()
    good = sorted((plain / FINE / "train").glob("*.png"))[:2]
    before = PatchCore.load(two)
    scores = {path: before.predict_single(path, FINE).score for path in variants}
    words = ["add", str(two), *map(str, [*good, *variants]), "--category", FINE]
    assert run(words) == 2
    text = capsys.readouterr().err
    assert "3 of 5 images score above the threshold" in text
    assert "--yes" in text
    for path, score in scores.items():
        assert f"{path} ({score:.4g})" in text
    assert str(good[0]) not in text

    assert run([*words, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert (text.count("anomalous"), "rows would be added to" in text) == (3, True)
    assert "Written" not in text
    assert (two / "model.json").read_bytes() == content
    assert [path.name for path in two.parent.iterdir()] == ["model"]

    assert run([*words, "--yes"]) == 0
    assert (two / "model.json").read_bytes() == content  # nothing is overwritten
    two = two.with_name("model.1")
    (added,) = SavedModel.load(two).provenance["added"]
    kept = {(file["name"], file["sha256"]) for file in added["files"]}
    assert kept == {
        (path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in [*good, *variants]
    }
    assert str(two.parent.parent) not in (two / "model.json").read_text()  # names, no folders


def test_nothing_is_added_twice(two: Path, variants: list[Path], tmp_path: Path) -> None:
    """A copy under another name, or an image that was added before, is passed over."""
    copy = Path(shutil.copy(variants[0], tmp_path / "copy.png"))
    growth = add_images(two, [*variants, copy], category=FINE, most_rows=1000, suspicious=True)
    assert (growth.images, growth.repeated) == (3, 1)
    assert growth.folder is not None
    two = growth.folder
    content = (two / "model.json").read_bytes()
    again = add_images(two, [copy, variants[1]], category=FINE)
    assert (again.images, again.repeated, again.folder) == (0, 2, None)
    assert "2 images passed over" in again.sentence
    assert (two / "model.json").read_bytes() == content


def test_images_that_were_covered_in_part_can_be_added_again(
    two: Path, variants: list[Path]
) -> None:
    """What `--rows` cut short goes on the next time, and is then complete."""
    first = add_images(two, variants, category=FINE, most_rows=2, suspicious=True)
    assert "add them again" in first.sentence
    assert first.folder is not None
    second = add_images(first.folder, variants, category=FINE, most_rows=1000, suspicious=True)
    assert second.rows_before == first.rows_after < second.rows_after
    assert second.folder == two.with_name("model.2")
    third = add_images(second.folder, variants, category=FINE, suspicious=True)
    assert (third.images, third.repeated) == (0, 3)


def test_a_model_without_a_threshold_cannot_ask(two: Path, variants: list[Path]) -> None:
    path = two / "model.json"
    facts = json.loads(path.read_text())
    write_facts(path, {**facts, "thresholds": {}, "calibration": {}})
    growth = add_images(two, variants, category=FINE)
    assert growth.rows_after > growth.rows_before
    assert "could not say whether they are good" in growth.sentence
    assert growth.folder is not None
    assert SavedModel.load(growth.folder).stale == ()  # nothing was calibrated


def test_an_unreadable_image_is_named_before_anything_is_written(
    two: Path, variants: list[Path]
) -> None:
    content = (two / "model.json").read_bytes()
    variants[2].write_bytes(b"no image")
    with pytest.raises(InputError, match=r"2\.png"):
        add_images(two, variants, category=FINE, suspicious=True)
    assert (two / "model.json").read_bytes() == content


@pytest.mark.parametrize("fitted_two", ["shared"], indirect=True)
def test_a_shared_bank_grows_by_the_radius_of_the_part(
    two: Path, plain: Path, variants: list[Path], tmp_path: Path
) -> None:
    """What lies within the coarse part's radius was "nothing to add" to the fine one."""
    model = PatchCore.load(two)
    model.fit(
        {"image": path, "category": part}
        for part in (COARSE, FINE)
        for path in sorted((plain / part / "train").glob("*.png"))[:6]
    )
    model.save(two)
    saved = SavedModel.load(two)
    fine, coarse = saved.shares[FINE], saved.shares[COARSE]
    assert abs(fine.rows - coarse.rows) <= 1
    assert fine.radius is not None
    assert saved.radii["shared"] == coarse.radius
    reach = add_images(two, variants, category=FINE, dry_run=True).reach_before
    facts = json.loads((two / "model.json").read_text())
    facts["shares"][COARSE]["radius"] = facts["radius"] = facts["radii"]["shared"] = 2 * reach
    write_facts(two / "model.json", facts)
    # Without a name the bank's largest radius holds: nothing is new.
    blind = add_images(two, variants, suspicious=True, dry_run=True)
    assert blind.rows_after == blind.rows_before
    growth = add_images(two, variants, category=FINE, most_rows=1000, suspicious=True)
    assert growth.radius == fine.radius
    assert growth.reach_after <= fine.radius < growth.reach_before
    assert growth.folder is not None
    grown = SavedModel.load(growth.folder)
    added = growth.rows_after - growth.rows_before
    assert added > 0
    assert grown.shares[FINE].rows == fine.rows + added
    assert grown.shares[COARSE].rows == coarse.rows
    assert grown.shares[FINE].radius == fine.radius
    # The same images again are covered by now.
    again = add_images(growth.folder, variants, category=FINE, suspicious=True)
    assert (again.images, again.repeated) == (0, len(variants))


@pytest.mark.parametrize("fitted_two", ["shared"], indirect=True)
def test_rows_of_no_named_part_are_in_no_share(
    two: Path, plain: Path, variants: list[Path]
) -> None:
    model = PatchCore.load(two)
    model.fit(
        {"image": path, "category": FINE}
        for path in sorted((plain / FINE / "train").glob("*.png"))[:6]
    )
    model.categories = (COARSE, FINE)
    model.save(two)
    before = SavedModel.load(two).shares
    growth = add_images(two, variants, suspicious=True)
    assert growth.rows_after > growth.rows_before
    assert growth.folder is not None
    assert SavedModel.load(growth.folder).shares == before

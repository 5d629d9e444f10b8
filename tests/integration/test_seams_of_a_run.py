"""Between the steps of a run: what one of them needs, loses or breaks is not another's loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from local_grid import Finished, run_local, small_settings
from PIL import Image
from station_folders import EVERYTHING, give, real_nodes
from tampering import only, raising

from client_app.station import open_station
from common.analysis.report import write_report
from common.line.models import ModelVersions, accept_version
from common.line.models.known_scores import KnownScores, scores_key
from common.patchcore import PatchCore
from common.patchcore.network.features import FeatureSource
from common.patchcore.network.inputs import ImageInput

pytestmark = pytest.mark.usefixtures("flower_task")

Run = Callable[..., Finished]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDPATCHCORE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "plant"


def five_stations(tiny: Path, plant: Path) -> dict[int, dict[str, Any]]:
    """A part each."""
    parts = sorted(path.parent.name for path in tiny.glob("*/train"))[:5]
    for number, part in enumerate(parts):
        give(tiny, plant / f"station-{number}", part, *EVERYTHING)
    return real_nodes(plant)


def federate(nodes: dict[int, dict[str, Any]], folder: Path, **changes: Any) -> Finished:
    settings = small_settings(folder / "unused", folder / "unused", **changes)
    return run_local(settings, nodes=nodes, folder=folder / "runs")


def entry_bytes(images: Iterable[Path]) -> int:
    """What the float32 features of these images take in a cache."""
    model = PatchCore(backbone="resnet18", weights="random", device="cpu")
    grids = [model.space.patch_grid(ImageInput(path).file_size) for path in images]
    return sum(4 * 384 * rows * columns for rows, columns in grids)


def test_in_a_cache_smaller_than_the_test_set_every_image_is_computed_once(
    tiny_data: Path, plant: Path, plain_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scoring used to throw out of the cache what it needed next; delivery judged all again."""
    nodes = five_stations(tiny_data, plant)
    crowded = plant / "station-2"
    # Enough to be audited; and as at a plant, where far more is tested than learnt.
    for split, times in (("train", 2), ("test", 16)):
        for number, path in enumerate(sorted(crowded.glob(f"*/{split}/good/*.png")) * times):
            with Image.open(path) as picture:
                brighter = picture.point(lambda value, number=number: min(255, value + number + 1))
            brighter.save(path.with_name(f"more-{number}.png"))
    tests = sorted(crowded.glob("*/test/*/*.png"))
    node = next(node for node in nodes.values() if node["station"] == crowded.name)
    node["cache-limit-gb"] = entry_bytes(tests) / 4 / 2**30

    computed: Counter[Path] = Counter()
    compute = FeatureSource._compute

    def counted(source: FeatureSource, images: list[ImageInput], *rest: Any) -> Any:
        computed.update(image.source for image in images)
        return compute(source, images, *rest)

    monkeypatch.setattr(FeatureSource, "_compute", counted)
    done = federate(nodes, plant.parent)
    assert done.error is None
    assert done.run["summary"] == "used 5 of 5"
    # Held-out ones are looked over, judged, and judged by the delivered model; so are test images.
    (audit,) = done.run["audit"]["stations"][crowded.name].values()
    assert audit["can_tell"]
    assert {one["delivery"]["state"] for one in done.stations.values()} == {"active"}
    images = [path for split in ("train", "test") for path in plant.glob(f"*/*/{split}/*/*.png")]
    assert computed == Counter(images)
    assert done.extracted == sum(computed.values())


@pytest.mark.parametrize("bank_scope", ["shared", "category"])
def test_the_scores_that_acceptance_finds_are_those_of_the_delivered_model(
    tiny_data: Path, plant: Path, plain_files: None, bank_scope: str
) -> None:
    """Judged at `score` with rows that are in memory, and here by the files of the model."""
    nodes = five_stations(tiny_data, plant)
    done = federate(nodes, plant.parent, bank_scope=bank_scope)
    assert done.error is None
    settings = small_settings(plant / "unused", plant / "unused", bank_scope=bank_scope)
    for node in nodes.values():
        station = open_station(node, settings.to_run_config())
        active = ModelVersions(done.folder.parents[1] / "models" / station.name).active()
        assert active is not None
        (part,) = station.index.categories
        judged = [*station.held_out, *station.test]
        model = PatchCore.load(active.folder, device="cpu")
        predicted = model.predict([one.path for one in judged], part)
        assert KnownScores(station.cache).get(scores_key(model, part)) == {
            ImageInput(one.path).content_key(): prediction.score
            for one, prediction in zip(judged, predicted, strict=True)
        }
        again = accept_version(
            active.folder, None, held_out=station.held_out, test=station.test, station=station.name
        )
        assert again.to_json() == active.acceptance


@pytest.mark.parametrize("bank_scope", ["shared", "category"])
def test_an_unreadable_test_image_leaves_model_and_other_categories(
    tiny_data: Path, plant: Path, plain_files: None, bank_scope: str
) -> None:
    """One bad file at one station used to discard the finished federation of all."""
    nodes = five_stations(tiny_data, plant)
    whole = federate(nodes, plant.parent, bank_scope=bank_scope)
    broken = next((plant / "station-1").glob("*/test/good/*.png"))
    part = broken.parts[-4]
    broken.write_bytes(broken.read_bytes()[:100])
    done = federate(nodes, plant.parent, bank_scope=bank_scope)
    assert done.error is None
    assert done.bank == whole.bank
    assert {s["status"] for s in done.stations.values()} == {"used"}
    (missed,) = done.run["unevaluated"]
    assert missed.startswith(f"{part} at station-1: its test images were not evaluated")
    assert "unreadable-image" in missed
    assert broken.name not in missed
    lost = done.metrics[part]
    assert lost["localization"] == {}
    assert lost["counts"]["images"] == 0
    assert lost["threshold"]["value"] == whole.metrics[part]["threshold"]["value"]
    others = {name: told for name, told in whole.metrics.items() if name != part}
    assert {name: told for name, told in done.metrics.items() if name != part} == others
    assert missed in unescape(write_report([done.folder], done.folder).read_text())
    assert set(done.model["categories"]) == set(whole.model["categories"])


def test_training_images_that_break_before_the_end_cost_radius_and_threshold_alone(
    tiny_data: Path, plant: Path, plain_files: None
) -> None:
    nodes = five_stations(tiny_data, plant)
    images = sorted((plant / "station-3").glob("*/train/good/*.png"))

    def lose(node: int, request: Any, reply: Any) -> Any:
        if request.metadata.message_type == "train" and nodes[node]["station"] == "station-3":
            for path in images:
                path.write_bytes(path.read_bytes()[:100])
        return reply

    settings = small_settings(plant / "unused", plant / "unused", bank_scope="category")
    done = run_local(settings, nodes=nodes, tamper=lose, folder=plant.parent / "runs")
    assert done.error is None
    part = images[0].parts[-4]
    assert part not in done.model["radii"]
    assert len(done.model["radii"]) == 4
    assert any(
        f"station-3: bank {part}: how far it lies from the training images was not measured" in told
        for told in done.run["notices"]
    )
    (missed,) = done.run["unevaluated"]
    assert missed.startswith(f"{part} at station-3: its held-out")
    assert done.metrics[part]["localization"]


def test_a_lost_station_leaves_its_categories_where_it_left_its_rows(run: Run, plant: Path) -> None:
    """Banks and categories used to be two lists, of which one forgot the station."""
    nodes = {1000 - number: {"partition-id": number, "num-partitions": 3} for number in range(3)}
    done = run(
        only("evaluate", raising),
        nodes=nodes,
        min_stations=2,
        partition="category",
        bank_scope="category",
    )
    assert done.error is None
    assert set(done.model["categories"]) == set(done.model["rows"]) == set(done.run["bank"]["rows"])
    loaded = PatchCore.load(done.folder)
    assert all(loaded.can_judge(category) for category in done.model["rows"])


def test_below_the_quorum_when_all_is_built_the_model_is_written_and_the_lack_told(
    run: Run, plant: Path
) -> None:
    """`min-stations = 0` asks for all: a station that fails at the very end ended the run."""
    done = run(only("evaluate", raising))
    assert done.error is None
    assert done.run["status"] == "completed"
    assert (done.folder / "model" / "bank.safetensors").is_file()
    (missed,) = done.run["unevaluated"]
    assert "2 of 3 stations are left" in missed


def test_rows_of_a_later_round_get_their_share_in_a_plain_concatenation(
    run: Run, plant: Path
) -> None:
    """What came after the first round used to be behind the end of the bank, always."""
    from safetensors.numpy import load

    one = run(aggregation="concatenate")
    two = run(aggregation="concatenate", num_server_rounds=2)
    rows = [load(done.bank)["shared"] for done in (one, two)]
    assert len(rows[0]) == len(rows[1])
    first = {row.tobytes() for row in rows[0]}
    new = [row.tobytes() not in first for row in rows[1]]
    assert 0.3 < sum(new) / len(new) < 0.7

"""A shared bank is fair: in every kind of run it holds what banks of the categories would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from local_grid import Finished, small_settings
from safetensors.numpy import load_file

from common.data.layout import index_data
from common.patchcore import PatchCore
from common.patchcore.model_store import SavedModel
from common.patchcore.shares import pooled
from common.runs.baseline import run_baseline
from common.runs.local import run_local as run_stations

pytestmark = pytest.mark.usefixtures("flower_task", "shared_cache", "plain_files")

Run = Callable[..., Finished]
PARTS = {"pipe_clip", "pipe_staple", "tank_screw"}


def banks(done: Finished) -> dict[str, Any]:
    return load_file(done.folder / "model" / "bank.safetensors")


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("partition", ["iid", "category"])
def test_it_holds_the_rows_of_the_categories_banks(run: Run, partition: str, rounds: int) -> None:
    """Nobody's patches take another's rows, in no round: at no station, not at the server."""
    told = {"partition": partition, "num_server_rounds": rounds, "global_bank_size": 30}
    shared, own = run(bank_scope="shared", **told), run(bank_scope="category", **told)
    np.testing.assert_array_equal(banks(shared)["shared"], pooled(banks(own)))
    # The same rows were sent, by the same stations, and judged apart or together.
    for name, station in shared.contributions.items():
        for key in ("budget", "rows_sent", "rows_chosen", "radius"):
            assert station[key] == own.contributions[name][key]
    model, apart = SavedModel.load(shared.folder), SavedModel.load(own.folder)
    assert {name: one.rows for name, one in model.shares.items()} == {
        name: len(rows) for name, rows in apart.banks.items()
    }
    assert {name: one.radius for name, one in model.shares.items()} == apart.radii
    assert model.radius == apart.radius
    assert apart.shares == {}


def test_of_one_category_both_scopes_are_one_bank(run: Run, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "tank_screw").symlink_to(parts / "tank_screw")
    told = {"data_root": str(tmp_path / "one"), "num_stations": 2, "num_server_rounds": 2}
    shared, own = run(bank_scope="shared", **told), run(bank_scope="category", **told)
    np.testing.assert_array_equal(banks(shared)["shared"], banks(own)["tank_screw"])
    for key in ("localization", "classification"):
        assert shared.metrics["tank_screw"][key] == own.metrics["tank_screw"][key]


@pytest.mark.parametrize("wire", ["float16", "float32"])
def test_one_station_has_the_bank_of_one_place(
    run: Run, parts: Path, tmp_path: Path, wire: str
) -> None:
    """Prefixes that nothing is selected from anew are the centralized bank, byte for byte."""
    told = {"num_stations": 1, "global_bank_size": 30, "wire_dtype": wire, "bank_scope": "shared"}
    done = run(aggregation="concatenate", min_stations=1, **told)
    settings = small_settings(parts, tmp_path / "central", **told)
    run_baseline(settings, index_data(parts), tmp_path / "central")
    central = Finished(tmp_path / "central")
    assert central.bank == done.bank
    assert central.model["shares"].keys() == done.model["shares"].keys() == PARTS
    for name, share in central.model["shares"].items():
        assert share["rows"] == done.model["shares"][name]["rows"]
        assert share["radius"] == pytest.approx(done.model["shares"][name]["radius"])
    # And so is the bank of a station by itself.
    settings = small_settings(parts, tmp_path / "local", **told)
    run_stations(settings, index_data(parts), tmp_path / "local")
    alone = Finished(tmp_path / "local")
    for name, metrics in alone.metrics.items():
        assert metrics["localization"] == done.metrics[name]["localization"]


def test_the_part_of_a_lost_station_leaves_its_rows_to_the_others(run: Run) -> None:
    """The bank is as large as was asked for, as long as enough rows came."""

    def tamper(node: int, request: Message, reply: Message) -> Message | None:
        kind = request.metadata.message_type
        return None if node == 1000 and kind == "train" else reply

    told = {"partition": "category", "global_bank_size": 30, "min_stations": 2}
    told |= {"oversample_factor": 4.0}
    whole, less = run(**told, bank_scope="shared"), run(tamper, **told, bank_scope="shared")
    lost = whole.model["shares"].keys() - less.model["shares"].keys()
    assert len(lost) >= 1
    assert less.run["bank"]["rows"] == whole.run["bank"]["rows"] == {"shared": 30}
    for name, share in less.model["shares"].items():
        assert share["rows"] > whole.model["shares"][name]["rows"]
    missing = lost.pop()
    assert f"no station delivered rows for bank {missing}" in less.run["notices"]


def test_a_saved_shared_bank_judges_as_the_stations_did(run: Run, parts: Path) -> None:
    done = run(bank_scope="shared")
    model = PatchCore.load(done.folder)
    assert model.shares.keys() == PARTS
    held = json.loads((done.folder / "model" / "model.json").read_text())["calibration"]
    for name, scores in held.items():
        index = index_data(parts)
        paths = [one.path for one in index.select("train", name)]
        found = {round(one.score, 9) for one in model.predict(paths, name)}
        assert {round(score, 9) for score in scores} <= found

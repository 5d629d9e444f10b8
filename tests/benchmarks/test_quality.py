"""The page about detection, and the parts that it is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_grid import run_local, small_settings
from PIL import Image

from benchmarks._in_process import run_here
from benchmarks._quality_data import put_together
from benchmarks.end_to_end import judged
from benchmarks.render import QUALITY_PAGE, RESULTS, render_quality

MACHINE = {
    "date": "2026-01-02",
    "processor": "Some CPU",
    "cpus": 2,
    "load": [0.25, 0, 0],
    "python": "3.11",
    "versions": {"numpy": "2.4"},
    "torch_blas": ["mkl"],
    "blas": [],
}


def one(method: str, seed: int, auroc: float, spro: float, **changes: Any) -> dict[str, Any]:
    told = {"method": method, "scope": "shared", "seed": seed, "variant": "", "bank_rows": 4096}
    told |= {
        "wall_seconds": 9.0 * seed,
        "cpu_seconds": 7.0 * seed,
        "peak_together_mb": 900.0 + seed,
    }
    return {**told, "parts": {"clip": {"image_auroc": auroc, "auc_spro": spro}}, **changes}


RESULT: dict[str, Any] = {
    "machine": MACHINE,
    "name": "ours",
    "drawn": False,
    "disturbed": "",
    "parts": {"clip": {"train": 8, "good": 4, "defective": 5}},
    "settings": ["weights=some.pth"],
    "seeds": [1, 2, 3],
    "in_process": False,
    "network": {"backbone": "resnet18", "layers": ["layer2", "layer3"], "image_size": 256},
    "runs": [
        # (0.80 + 0.85 + 0.90) / 3 = 0.85 and (0.5 + 0.5 + 0.5) / 3 = 0.5 in one place;
        *(one("centralized", seed, 0.75 + 0.05 * seed, 0.5) for seed in (1, 2, 3)),
        # (0.81 + 0.84 + 0.87) / 3 = 0.84, 0.01 less: met; 0.48, 0.02 less: missed.
        *(one("federated_iid", seed, 0.78 + 0.03 * seed, 0.48) for seed in (1, 2, 3)),
    ],
    "peer": {"name": None, "missing": "its interpreter was not given"},
}


def page(folder: Path, **changes: Any) -> str:
    (folder / "quality-ours.json").write_text(json.dumps({**RESULT, **changes}))
    return render_quality(folder)


def test_the_page_is_rendered_from_the_committed_figures() -> None:
    assert QUALITY_PAGE.read_text(encoding="utf-8") == render_quality(RESULTS)


def test_figures_appear_as_measured(tmp_path: Path) -> None:
    found = page(tmp_path)
    assert "## ours" in found
    assert "clip 8 training, 4 good and 5 defective test images" in found
    assert "resnet18 layer2+layer3, 256 px; settings weights=some.pth; seeds 1, 2, 3" in found
    assert "anomalib is missing: its interpreter was not given." in found
    assert "| shared | centralized | 0.850 (0.800 to 0.900) |" in found
    assert "| shared | federated iid | 0.480 |" in found
    assert "| shared | centralized | 4,096 | 14 | 18 | 903 |" in found
    assert "image AUROC -0.010 at worst (clip, federated iid, bank shared)" in found
    assert (
        "AUC-sPRO @0.05 -0.020 at worst (clip, federated iid, bank shared): goal -0.01, MISSED"
        in found
    )


def test_what_was_varied_and_what_was_not_known(tmp_path: Path) -> None:
    runs = [one("centralized", 1, 0.9, 0.5, variant="augment=light", peak_together_mb=None)]
    found = page(tmp_path, runs=runs, disturbed="turned", drawn=True)
    assert "Drawings. Every second test image is turned by 90 degrees. clip 8" in found
    assert "| shared | centralized, augment=light | 4,096 | 7 | 9 | not known |" in found
    assert "Federated minus centralized" not in found


def test_the_peer_is_told_with_its_seeds(tmp_path: Path) -> None:
    runs = [*RESULT["runs"], one("anomalib", 1, 0.9, 0.6, scope="category")]
    found = page(tmp_path, runs=runs, peer={"name": "anomalib 2", "torch": "2.1", "missing": ""})
    assert "Peer: anomalib 2 (seeds 1), one bank for each part" in found
    assert "| one each | anomalib | 0.600 |" in found


@pytest.mark.parametrize("field", RESULT)
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    less = {key: value for key, value in RESULT.items() if key != field}
    (tmp_path / "quality-ours.json").write_text(json.dumps(less))
    with pytest.raises(SystemExit, match=f"quality-ours.json lacks '{field}'"):
        render_quality(tmp_path)


def test_parts_of_several_folders_lie_side_by_side(tiny_data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "bottle").parent.mkdir()
    (other / "bottle").symlink_to(tiny_data / "pipe_clip")
    index = put_together([tiny_data, other], ["pipe_staple", "bottle"], "", tmp_path / "work")
    assert sorted(index.categories) == ["bottle", "pipe_staple"]
    assert not index.synthetic  # not all of them say so
    again = put_together([tiny_data, other], ["pipe_staple", "bottle"], "", tmp_path / "work")
    assert again.samples == index.samples
    with pytest.raises(SystemExit, match="work: holds runs of other parts; give another --name"):
        put_together([], [], "", tmp_path / "work")
    with pytest.raises(SystemExit, match="two parts of one name"):
        put_together([tiny_data, tiny_data.parent / "data" / "."], [], "", tmp_path / "w2")
    with pytest.raises(SystemExit, match="gone: no such folder"):
        put_together([tmp_path / "gone"], [], "", tmp_path / "w3")
    with pytest.raises(SystemExit, match="--parts clips: no such part; there are engine_wiring"):
        put_together([tiny_data], ["clips"], "", tmp_path / "w4")


def test_every_second_test_image_is_dimmed(tiny_data: Path, tmp_path: Path) -> None:
    index = put_together([tiny_data], ["pipe_clip"], "lit", tmp_path / "work")
    for number, sample in enumerate(index.select("test")):
        before = tiny_data / sample.path.relative_to(tmp_path / "work" / "data")
        was, now = (np.asarray(Image.open(one)).astype(float) for one in (before, sample.path))
        np.testing.assert_allclose(now, was if number % 2 else 0.85 * was, rtol=0, atol=0.5)
        for path in sample.masks or ():
            same = tiny_data / path.relative_to(tmp_path / "work" / "data")
            assert path.read_bytes() == same.read_bytes()


def test_every_second_test_image_is_turned_with_its_masks(tiny_data: Path, tmp_path: Path) -> None:
    index = put_together([tiny_data], ["tank_screw"], "turned", tmp_path / "work")
    assert index.synthetic
    for number, sample in enumerate(index.select("test")):
        files = [sample.path, *(sample.masks or ())]
        for path in files:
            before = tiny_data / path.relative_to(tmp_path / "work" / "data")
            was, now = (np.asarray(Image.open(one)) for one in (before, path))
            np.testing.assert_array_equal(now, was if number % 2 else np.rot90(was))
    for sample in index.select("train"):
        before = tiny_data / sample.path.relative_to(tmp_path / "work" / "data")
        assert sample.path.read_bytes() == before.read_bytes()


@pytest.mark.usefixtures("flower_task")
def test_a_run_in_this_process_is_the_run_of_the_apps(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_files: None
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    settings = small_settings(tiny_data, tmp_path / "theirs", num_stations=2)
    theirs = run_local(settings)
    told = [f"{key}={value}" for key, value in settings.to_run_config().items()]
    told = [word for word in told if not word.startswith(("data-root", "output-dir"))]
    took = run_here("federate", tiny_data, tmp_path / "ours", told)
    assert judged(tmp_path / "ours") == judged(theirs.folder)
    assert took["cpu_seconds"] > 0

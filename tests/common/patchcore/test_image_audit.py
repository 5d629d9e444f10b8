"""The audit of good images: its slow twin, what it finds, and where it cannot tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from common.check.unusual_images import unusual_images
from common.cli.main import app as cli
from common.config import Settings
from common.data.layout import index_data
from common.patchcore import PatchCore
from common.patchcore.audit.good_images import audit_samples, audit_sentences, without_suspicious
from common.patchcore.audit.image_audit import audit_images, limit_of, nearest_of_others
from common.patchcore.distances import FULL
from common.patchcore.network.inputs import ImageInput
from common.runs.baseline import run_baseline

SETTINGS = Settings(backbone="resnet18", weights="random", device="cpu", num_workers=1)


def test_nearest_of_others_is_the_plain_loop() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(50, 1, (40, 6)).astype(np.float32)
    owners = rng.integers(0, 5, 40)
    twin = [
        min(
            np.linalg.norm(rows[i].astype(float) - rows[j].astype(float))
            for j in range(40)
            if owners[i] != owners[j]
        )
        for i in range(40)
    ]
    np.testing.assert_allclose(nearest_of_others(rows, owners), twin, rtol=1e-9)
    assert nearest_of_others(rows, np.zeros(40, dtype=int)).tolist() == [0.0] * 40


def test_the_limit_by_hand() -> None:
    """Median 5, absolute deviations 4 3 2 1 0 1 2 3 4 with median 2: 5 + 3.5 x 1.4826 x 2."""
    assert limit_of(np.arange(1.0, 10.0)) == pytest.approx(5 + 3.5 * 1.4826 * 2)
    assert limit_of(np.arange(7.0)) is None
    assert limit_of(np.array([3.0] * 8 + [9.0])) is None


def pictures(root: Path, count: int, bad: tuple[int, ...] = ()) -> Path:
    """Grey noise, and a white square on some."""
    good = root / "clip" / "train" / "good"
    good.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for number in range(count):
        pixels = rng.integers(100, 130, (64, 64), dtype=np.uint8)
        if number in bad:
            pixels[10 + number : 30 + number, 20:40] = 255
        Image.fromarray(pixels).save(good / f"{number:03}.png")
    return root


def test_a_defective_image_is_flagged_whether_held_out_or_not(tmp_path: Path) -> None:
    samples = index_data(pictures(tmp_path, 16, bad=(4, 15))).samples
    model = PatchCore(SETTINGS)
    found = audit_samples(model.source, samples[:14], samples[14:], SETTINGS)["clip"]
    assert [one.path.name for one in found.suspicious] == ["004.png"]
    assert [one.path.name for one in found.suspicious_held_out] == ["015.png"]
    assert found.counts() == {
        "images": 14,
        "suspicious": 1,
        "held_out": 2,
        "suspicious_held_out": 1,
        "can_tell": True,
    }
    told = audit_sentences({"clip": found.counts()}, "report", "the log of press names them")
    assert told == [
        "clip: 1 of 14 training images and 1 of 2 held-out ones look unlike all the others; they "
        "stay in the bank and in the count (audit-good=report); the log of press names them"
    ]
    excluding = SETTINGS.with_(audit_good="exclude")
    left = without_suspicious(samples[:14], {"clip": found}, excluding)
    assert [one.path.name for one in left] == [f"{i:03}.png" for i in range(14) if i != 4]
    assert without_suspicious(samples[:14], {"clip": found}, SETTINGS) == samples[:14]


def test_few_images_cannot_tell_and_off_looks_at_nothing(tmp_path: Path) -> None:
    samples = index_data(pictures(tmp_path, 7, bad=(3,))).samples
    model = PatchCore(SETTINGS)
    found = audit_samples(model.source, samples, [], SETTINGS)["clip"]
    assert (found.can_tell, found.suspicious) == (False, [])
    assert audit_samples(model.source, samples, [], SETTINGS.with_(audit_good="off")) == {}


def test_rows_of_a_coreset_measure_as_all_patches_do(tmp_path: Path) -> None:
    """With as many rows as patches it is the definition: every patch against all of others'."""
    samples = index_data(pictures(tmp_path, 8, bad=(2,))).samples
    images = [ImageInput(one.path) for one in samples]
    source = PatchCore(SETTINGS).source
    found = audit_images(source, images, FULL, np.float32)
    features = [np.asarray(f).reshape(-1, f.shape[-1]) for f in source.stream(images)]
    twin = [
        max(
            min(
                float(np.linalg.norm(patch.astype(float) - other.astype(float)))
                for j, others in enumerate(features)
                if j != i
                for other in others
            )
            for patch in own
        )
        for i, own in enumerate(features)
    ]
    # 160 of 512 patches: the farthest ones are among them, and their nearest may not be.
    assert int(np.argmax(found.distances)) == int(np.argmax(twin)) == 2
    assert (found.distances >= np.asarray(twin) - 1e-4).mean() >= 0.5


def test_check_names_the_images_and_says_where_it_cannot_tell(tmp_path: Path) -> None:
    found = unusual_images(pictures(tmp_path / "many", 16, bad=(4,)), SETTINGS)
    assert [(one.kind, one.severity, one.path.name) for one in found] == [
        ("unlike-the-others", "note", "004.png")
    ]
    few = unusual_images(pictures(tmp_path / "few", 5, bad=(4,)), SETTINGS)
    assert [(one.kind, one.found) for one in few] == [
        ("too-few-to-compare", "5 good training images")
    ]


def test_check_audit_on_the_command_line(tmp_path: Path) -> None:
    data = pictures(tmp_path, 16, bad=(4,))
    asked = ["check", str(data), "--audit", "--json", "--set", "backbone=resnet18"]
    told = CliRunner().invoke(cli, [*asked, "--set", "weights=random", "--set", "device=cpu"])
    assert told.exit_code == 0, told.output
    kinds = [one["kind"] for one in json.loads(told.stdout)["findings"]]
    assert kinds.count("unlike-the-others") == 1
    # A check that looks at no picture has no use for weights.
    plain = CliRunner().invoke(cli, ["check", str(data), "--set", "weights=random"])
    assert plain.exit_code != 0


def test_a_baseline_names_them_and_excludes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    index = index_data(pictures(tmp_path / "data", 16, bad=(4,)))
    for how, rows in (("report", 16), ("exclude", 15), ("off", 16)):
        settings = SETTINGS.with_(
            audit_good=how, num_stations=1, calibration_fraction=0.0, bank_scope="category"
        )
        run_baseline(settings, index, tmp_path / how)
        told = json.loads((tmp_path / how / "run.json").read_text())
        summary = json.loads((tmp_path / how / "training_summary.json").read_text())
        assert summary["clip"]["training_images"] == rows
        assert told["audit"]["audit_good"] == how
        named = [one for one in told["notices"] if "clip/train/good/004.png" in one]
        assert len(named) == (how != "off")
        assert (told["audit"]["categories"] == {}) == (how == "off")

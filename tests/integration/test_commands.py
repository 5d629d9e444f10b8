"""The main commands with real Flower processes, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.flower

COMMAND = str(Path(sys.executable).parent / "fedpatchcore")


def command(folder: Path, *words: str | Path, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder of its own, with a cache of its own."""
    environment = {**os.environ, "FEDPATCHCORE_CACHE": str(folder / "cache"), "COLUMNS": "100"}
    return subprocess.run(
        [COMMAND, *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def metrics(run: Path, method: str, category: str) -> dict:
    path = run / "evaluation" / "metrics" / method / category / "metrics.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.usefixtures("one_core")
def test_demo_leaves_the_tree_of_the_contract_and_finds_the_drawn_defects(tmp_path: Path) -> None:
    done = command(tmp_path, "demo", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SYNTHETIC" in done.stdout
    demo = tmp_path / "outputs" / "demo"
    assert (demo / "report.html").stat().st_size > 10_000
    for method in ("centralized", "federated_iid", "federated_category"):
        run = demo / method
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        assert (facts["status"], facts["method"]) == ("completed", method)
        assert facts["data"]["synthetic"] is True
        for name in ("model/bank.safetensors", "model/model.json", "report.html"):
            assert (run / name).is_file(), f"{method}/{name}"
        assert list((run / "plots").glob("*.png"))
        told = json.loads((run / "contributions.json").read_text(encoding="utf-8"))
        assert len(told["stations"]) == (0 if method == "centralized" else 5)
        spro, auroc = [], []
        for category in facts["data"]["categories"]:
            found = metrics(run, method, category)
            assert found["synthetic_data"] is True
            assert set(found["localization"]["auc_spro"]) == {"0.01", "0.05", "0.1", "0.3", "1.0"}
            spro.append(found["localization"]["auc_spro"]["0.05"])
            auroc.append(found["classification"]["auc_roc"])
        # A newcomer's first sight is detection, not noise.
        assert np.mean(spro) >= 0.7, (method, spro)
        assert np.mean(auroc) >= 0.95, (method, auroc)
        assert "random" not in facts["feature_space"]["weights"]
        if method != "centralized":
            assert {station["status"] for station in facts["stations"]} == {"used"}
            assert len(facts["stations"]) == 5
            assert int(facts["flower_run_id"]) > 0
    assert not list(demo.glob("*.partial"))


@pytest.mark.realdata
def test_a_real_part_reaches_the_reference(tmp_path: Path, test_data: Path) -> None:
    """MVTec bottle, ResNet-18, 256 pixels, 8192 rows, five IID stations.

    The reference is what another implementation reached on the same images and weights:
    image AUROC 1.0000, pixel AUROC 0.9834, AUC-sPRO 0.8498 at 0.05 and 0.9742 at 0.3.
    """
    settings = {
        "backbone": "resnet18",
        "weights": test_data / "weights" / "resnet18_trunk.pth",
        "image-size": 256,
        "calibration-fraction": 0,
        "global-bank-size": 8192,
    }
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    data = test_data / "parts"
    for name, words, method in (
        ("iid", ["federate", data, "--partition", "iid"], "federated_iid"),
        ("centralized", ["baseline", data], "centralized"),
    ):
        done = command(tmp_path, *words, "--out", name, *options, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        found = metrics(tmp_path / name, method, "bottle")
        assert found["classification"]["auc_roc"] >= 0.995
        assert found["localization"]["pixel_auc_roc"] == pytest.approx(0.9834, abs=0.01)
        reference = {"0.01": 0.6174, "0.05": 0.8498, "0.1": 0.9225, "0.3": 0.9742, "1.0": 0.9922}
        assert found["localization"]["auc_spro"] == pytest.approx(reference, abs=0.01)
        bank = json.loads((tmp_path / name / "run.json").read_text())["bank"]
        assert sum(bank["rows"].values()) == 8192
    # The saved federated bank judges the same images alike in one place, and exactly.
    done = command(tmp_path, "evaluate", "iid", data, "--out", "exact", timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    exact = metrics(tmp_path / "exact", "federated_iid", "bottle")
    merged = metrics(tmp_path / "iid", "federated_iid", "bottle")
    assert exact["classification"] == merged["classification"]
    for limit, value in exact["localization"]["auc_spro"].items():
        assert merged["localization"]["auc_spro"][limit] == pytest.approx(value, abs=1e-5)

from __future__ import annotations

import html
import json
import re

import numpy as np
import pytest
from run_factory import CATEGORIES, dump, made_up_info, made_up_metrics, made_up_spro, write_run

from common.analysis import visualize_anomaly_map, write_report
from common.errors import InputError


def text_of(path):
    """What a reader sees: no style, no script, no tags."""
    page = path.read_text(encoding="utf-8")
    page = re.sub(r"<(style|script|title)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page)))


FEW = ("engine_wiring", "tank_screw", "pipe_clip")


@pytest.fixture
def three(tmp_path):
    for method in ("centralized", "federated_iid", "federated_category"):
        spros = {category: made_up_spro(method, category) for category in FEW}
        write_run(tmp_path / "runs" / method, method, spros=spros, curves=False)
    return tmp_path / "runs"


def test_several_runs_make_a_comparison(tmp_path):
    for method in ("centralized", "federated_iid", "federated_category"):
        write_run(tmp_path / "runs" / method, method)
    path = write_report([tmp_path / "runs"], tmp_path / "out")
    assert path == tmp_path / "out" / "report.html"
    assert path.stat().st_size < 3_000_000
    text = text_of(path)
    assert "Comparison of 3 anomaly detection runs" in text
    mean = np.mean([made_up_spro("centralized", c) for c in CATEGORIES])
    assert f"Centralized has the highest mean AUC-sPRO at FPR limit 0.05: {mean:.3f}" in text
    for part in (
        "Wilcoxon signed-rank",
        "Holm",
        "6 categories are few",
        "Synthetic data.",
        "Random weights.",
        "fedpatchcore federate DATA --out federated_iid --partition iid",
        "All 10 stations that were asked took part",
        "promise no less than 0.11",
    ):
        assert part in text, part


def test_stations_stand_beside_each_other_with_their_thresholds(tmp_path):
    folder = write_run(tmp_path / "r", "federated_iid", spros={"clip": 0.5})
    assert "station by station" not in text_of(write_report([folder], tmp_path / "before.html"))
    path = folder / "evaluation/metrics/federated_iid/clip/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["threshold"]["stations"] = {
        "mill": {
            "value": 1.25, "promised_false_alarm_rate": 0.125, "held_out_images": 7,
            "good_images": 9, "false_alarms": 2, "defective_images": 6, "detections": 5,
            "drift": {"verdict": "watch"}, "drift_calibration": "own",
        },
        "gate": {"good_images": 0, "false_alarms": 0, "defective_images": 3, "detections": 3},
    }  # fmt: skip
    path.write_text(json.dumps(metrics))
    text = text_of(write_report([folder], tmp_path / "after.html"))
    table = text[text.index("station by station") :]
    gate, mill = table.index("gate"), table.index("mill")
    assert gate < mill
    for part in ("0 of 0", "3 of 3", "no good test images"):
        assert part in table[gate:mill]
    for part in ("1.25", "12.5 %", "2 of 9", "5 of 6", "watch (its own calibration)"):
        assert part in table[mill : mill + 600]


def test_one_run_says_that_there_is_nothing_to_compare(tmp_path):
    path = write_report([write_run(tmp_path / "r", spros={"a": 0.5})], tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    text = text_of(path)
    assert "there is nothing to compare it with" in text
    assert "significant" not in text
    assert "No pictures were given" in text


def test_nothing_outside_the_file_is_named(three):
    page = write_report([three], three).read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:image/)""", page)
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_what_stations_say_is_escaped_and_bounded(tmp_path):
    evil = '<script>alert("x")</script>'
    station = {"name": evil, "status": "refused", "reason": evil + "y" * 5000, "host": "\x00<i>"}
    folder = write_run(
        tmp_path / "r", stations=[station], notices=[evil], status="failed", error=evil
    )
    brought = {"name": evil, "images": 3, "categories": {evil: {"images": 3}}}
    dump(folder / "contributions.json", {"stations": [brought]})
    page = write_report([folder], folder).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "\x00" not in page
    assert "y" * 301 not in page


def test_categories_and_defect_types_are_escaped(tmp_path):
    folder = tmp_path / "r"
    metrics = made_up_metrics("m", "<b>", 0.5)
    metrics["per_defect_type"] = {"<u>": metrics["per_defect_type"]["missing"]}
    dump(folder / "evaluation/metrics/m/<b>/metrics.json", metrics)
    page = write_report([folder], tmp_path / "o").read_text()
    assert "<b>" not in page
    assert "<u>" not in page


def test_a_failed_run_is_named_with_its_reason_and_nothing_is_imputed(three, tmp_path):
    why = "2 of 5 stations answered, 4 are required"
    write_run(three / "x", "federated_dirichlet", spros={}, status="failed", error=why)
    gone = three / "federated_iid/evaluation/metrics/federated_iid/tank_screw/metrics.json"
    gone.unlink()
    text = text_of(write_report([three], tmp_path))
    assert f"Run x failed.{why}" in text
    assert f"federated, Dirichlet, x: the run failed ({why})" in text
    assert "federated, IID, federated_iid: tank_screw: its metrics.json was not written" in text
    assert "over the 2 categories that all methods have" in text
    assert "too few categories to test (0;" in text


def test_only_failed_runs_still_make_a_page(tmp_path):
    folder = write_run(tmp_path / "r", spros={}, status="failed", error="no station answered")
    text = text_of(write_report([folder], tmp_path))
    assert "no station answered" in text
    assert "No result to draw a finding from" in text
    assert "No curve was written" in text


def test_a_run_without_localization_has_what_it_has(tmp_path):
    folder = tmp_path / "r"
    metrics = made_up_metrics("m", "a", 0.5)
    for key in ("localization", "per_defect_type", "per_anomaly_kind", "threshold"):
        del metrics[key]
    metrics["not_computed"] = {"localization": "the data set has no masks"}
    dump(folder / "evaluation/metrics/m/a/metrics.json", metrics)
    text = text_of(write_report([folder], tmp_path))
    assert "a, AUC-sPRO: m, r: the data set has no masks" in text
    assert "M reaches a mean image AUROC of 0.600" in text
    for part in ("No threshold was recorded", "No settings were recorded", "No times were"):
        assert part in text


def test_absolute_paths_stay_out_and_real_stations_show_none(tmp_path):
    settings = {**made_up_info("m")["settings"], "data-root": "/plant/secret/parts"}
    settings["weights"] = "/plant/secret/w.pth"
    simulated = write_run(tmp_path / "a", "federated_iid", settings=settings, spros={"a": 0.5})
    text = text_of(write_report([simulated], tmp_path))
    assert "/plant" not in text
    assert "weights=WEIGHTS_FILE" in text
    real = write_run(tmp_path / "b", "federated", settings=settings, spros={})
    text = text_of(write_report([real], tmp_path))
    assert "/plant" not in text
    assert "w.pth" not in text
    assert "not shown (real stations)" in text
    assert "images and anomaly maps of real stations never leave them" in text
    assert "flwr run . SUPERLINK --stream --run-config" in text


def test_the_gallery_is_inlined_and_refused_for_real_stations(tmp_path):
    figure = visualize_anomaly_map(np.zeros((8, 8), np.uint8), np.eye(8, dtype=np.float32))
    gallery = [{"group": "Worst", "title": "a <b>", "text": "score 2", "picture": figure}]
    folder = write_run(tmp_path / "a", spros={})
    page = write_report([folder], tmp_path, gallery=gallery).read_text()
    assert '<img src="data:image/png;base64,' in page
    assert "a &lt;b&gt;" in page
    with pytest.raises(ValueError, match="real stations"):
        write_report([write_run(tmp_path / "r", "federated")], tmp_path, gallery=gallery)
    with pytest.raises(InputError, match="neither PNG nor JPEG"):
        write_report([folder], tmp_path, gallery=[{**gallery[0], "picture": b"GIF89a"}])


def test_seeds_are_averaged_and_said_to_be(tmp_path):
    for seed, spro in ((1, 0.4), (2, 0.6)):
        settings = {**made_up_info("m")["settings"], "seed": seed}
        write_run(tmp_path / f"r{seed}", spros={"a": spro}, seed=seed, settings=settings)
    text = text_of(write_report([tmp_path], tmp_path / "o"))
    assert "mean over their seeds" in text
    assert "0.500" in text


def test_merged_counts_state_their_error(tmp_path):
    folder = write_run(tmp_path / "r", spros={"a": 0.5})
    metrics = made_up_metrics("federated_iid", "a", 0.5)
    metrics["evaluation"] = {"method": "merged counts", "auc_error_bound": {"0.05": 0.0004}}
    dump(folder / "evaluation/metrics/federated_iid/a/metrics.json", metrics)
    assert "exact to within ±0.0004" in text_of(write_report([folder], tmp_path))


def test_a_broken_run_is_one_clear_error_and_leaves_no_page(tmp_path):
    folder = write_run(tmp_path / "r")
    (folder / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json is not JSON"):
        write_report([folder], tmp_path / "o")
    assert not (tmp_path / "o").exists()

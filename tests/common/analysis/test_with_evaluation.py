"""The files that the evaluation really writes are files that the report reads."""

from __future__ import annotations

import numpy as np
import pytest

from common.analysis import load_run, write_report
from common.data.regions import Region
from common.evaluation.metrics import MetricsWrapper


@pytest.mark.parametrize("defects", [True, False])
def test_written_metrics_are_read_and_reported(tmp_path, defects):
    wrapper = MetricsWrapper("tank_screw", method="centralized", weights="imagenet")
    rng = np.random.default_rng(0)
    for index in range(6):
        map_ = rng.random((12, 16)).astype(np.float32)
        regions = []
        if defects and index % 2:
            mask = np.zeros((12, 16), bool)
            mask[3:6, 4:9] = True
            map_[mask] += 1
            regions = [Region(mask, "missing", 15)]
        kind = "missing" if regions else "good"
        wrapper.update(map_, regions, label=len(regions), score=float(map_.max()), defect_type=kind)
    wrapper.save(tmp_path)
    run = load_run(tmp_path)
    assert ("centralized" in run.curves) == defects
    page = write_report([tmp_path], tmp_path).read_text(encoding="utf-8")
    if defects:
        assert "1.000</td>" in page  # every defect lies above every normal pixel
    else:
        assert "No result to draw a finding from" in page

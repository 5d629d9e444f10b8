"""RESULTS.md is what the renderer makes of the committed figures, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.render import PAGE, RESULTS, SUBJECTS, render

MACHINE = {
    "date": "2026-01-02",
    "processor": "Some CPU",
    "cpus": 2,
    "load": [0.25, 0, 0],
    "python": "3.11",
    "versions": {"numpy": "2.4"},
    "torch_blas": ["mkl"],
    "blas": [
        {"prefix": "libopenblas", "version": "0.3", "architecture": "Haswell", "num_threads": 1}
    ],
}


def test_the_page_is_rendered_from_the_committed_figures() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(RESULTS)


def test_a_subject_without_figures_is_named_as_not_run(tmp_path: Path) -> None:
    page = render(tmp_path)
    for name in SUBJECTS:
        assert f"Not run: `python benchmarks/{name}.py`." in page


def test_figures_appear_as_measured(tmp_path: Path) -> None:
    case = {
        "rows": 200_000,
        "size": 2000,
        "cpu_seconds": 1.234,
        "peer_cpu_seconds": 150.0,
        "ratio": 121.4,
        "same_picks": "31 of 31",
    }
    result = {
        "machine": MACHINE,
        "data": "rows",
        "peer": {"name": "anomalib 2"},
        "identical_to_float64_loop": True,
        "cases": [case],
        "growth": {"rows": 0.8, "size": 0.7, "points": 9},
    }
    (tmp_path / "coreset.json").write_text(json.dumps(result))
    page = render(tmp_path)
    assert "| 200,000 | 2,000 | 1.23 | 150 | **121x** | 31 of 31 |" in page
    assert "rows^0.80 x chosen^0.70 (fitted to 9 runs)" in page
    assert "2026-01-02: Some CPU, 2 CPUs, load 0.2" in page
    assert "Two threads" not in page  # it was not measured


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_has_a_script(name: str) -> None:
    assert (PAGE.parent / f"{name}.py").is_file()

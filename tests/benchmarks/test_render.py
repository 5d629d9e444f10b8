"""RESULTS.md is what the renderer makes of the committed figures, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.render import PAGE, RESULTS, SECTIONS, render

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
    for _, _, command in SECTIONS.values():
        assert f"Not run: `python benchmarks/{command}`." in page


CASE = {"features": "rows", "rows": 200_000, "size": 2000, "cpu_seconds": 1.234}
CASE |= {"peer_cpu_seconds": 150.0, "ratio": 121.4, "same_picks": "31 of 31"}


def search_case(features: str, ratio: float) -> dict[str, Any]:
    return {
        "features": features,
        "bank": [10_000, 1536],
        "queries": 2500,
        "way": "float32, plain products",
        "cpu_seconds": {"ours": 0.4, "peer": 0.4 * ratio},
        "ratios": {"ours": 1.0, "peer": ratio, "faiss": 1.5},
        "same_rows": {"peer": 1.0},
    }


SIDE = {
    "wall_seconds": 20.0,
    "cpu_seconds": 30.0,
    "peak_together_mb": 3000.0,
    "programs": {"station (ray)": {"count": 2, "peak_mb": 1234.0, "cpu_seconds": 5.0}},
    "metrics": {"bank_rows": 4805, "auc_spro": 0.5, "image_auroc": 0.75},
}
MEASURED: dict[str, dict[str, Any]] = {
    "coreset": {
        "data": "rows",
        "peer": {"name": "anomalib 2"},
        "identical_to_float64_loop": True,
        "cases": [CASE],
    },
    "search": {"peer": {"name": "anomalib 2"}, "cases": [search_case("real", 7.0)]},
    "features": {
        "peer": {"name": "anomalib 2"},
        "features": {
            "image": [400, 400],
            "cpu_seconds": {"ours": 0.3},
            "ratios": {"ours": 2.5},
            "errors": {"ours": {"median": 1e-6, "most": 2e-6}},
        },
        "image": {
            "features": "real",
            "bank": 10_000,
            "ours": {"features": 0.3, "search": 0.1},
            "peer": {"features": 0.7, "search": 1.0},
            "ratio": 4.25,
        },
    },
    "spro": {
        "data": "drawn images",
        "maps": "stand-in",
        "peer": {"name": "plain sweep"},
        "categories": {
            "part": {
                "size": [750, 1000],
                "images": 6,
                "regions": 2,
                "read": 0.1,
                "auc_spro": {"0.05": 0.9},
                "cpu_seconds": {
                    "same work": 0.01,
                    "plain sweep": 0.2,
                    "scikit-learn": 0.5,
                    "counts": 0.02,
                },
                "ratios": {"plain sweep": 20.0, "scikit-learn": 50.0},
                "difference": {"plain sweep": 1e-13, "scikit-learn": 0.0, "counts": 1e-6},
                "counts_bytes": 1000,
            }
        },
    },
    "memory": {
        "imports_gb": 0.5,
        "cases": {
            "station": {"patches": 10, "peak_gb": 0.75, "limit_gb": {"beside_imports": 0.6}},
            "station, everything kept": {"patches": 10, "peak_gb": 3.0, "limit_gb": {}},
        },
    },
    "memory_large": {
        "imports_gb": 0.5,
        "cases": {
            "large": {
                "patches": 3_525_000,
                "kept": 20_000,
                "peak_gb": 3.75,
                "limit_gb": {"in_all": 3.5},
                "disk_bytes": 12_500_000_000,
                "disk_left": False,
                "wall_seconds": 400.4,
            }
        },
    },
    "device": {
        "device": "Some GPU",
        "cases": [
            {
                **{"what": "search", "device": 0.01, "processor": 0.04, "peer": 0.008},
                **{"ratio": 4.0, "peer_ratio": 0.8},
            },
            {"what": "image", "device": 0.002, "processor": 0.05, "ratio": 25.0, "error": 1e-6},
        ],
    },
    "autovi": {
        "data": "drawings in AutoVI's counts and sizes",
        "summary": "used 1 of 1",
        "settings": {"weights": "random"},
        "cache_gb": 8.0,
        "test_every": 10,
        "features_of_an_earlier_start": False,
        "wall_seconds": 1800.0,
        "seconds": {"survey": 20.0, "build_bank": 900.0},
        "global_rows": {"shared": 10_000},
        "stations": [
            {
                "name": "north",
                "status": "used",
                "training_images": 20,
                "test_images": 30,
                "image_bytes": 4_000_000,
                "contribution": {"patches": 1000, "rows_sent": 100, "seconds": 12.0},
                "megabytes_up": 1.5,
                "megabytes_down": 30.7,
                "peak_megabytes": {"flwr-clientapp": 2345.0, "flower-supernode": 200.0},
            }
        ],
        "peak_megabytes": {"executor: flwr-serverapp": 1500.0, "north: flwr-clientapp": 2345.0},
        "metrics": {
            "clip": {
                "counts": {"images": 30},
                "localization": {"auc_spro": {"0.05": 0.5}},
                "classification": {"auc_roc": 0.75},
            }
        },
    },
    "wire": {
        "features": "real",
        "bank": [10, 1536],
        "all_features_of_300_images_bytes": 4_000_000_000,
        "formats": {
            "int8": {
                "bytes": 10_000_000,
                "deflated_bytes": 5_000_000,
                "score_error_median": 1e-4,
                "score_error_most": 1e-3,
                "map_correlation": 0.99,
                "image_score_error": 1e-4,
            }
        },
    },
    "line": {
        "pictures": "bottle",
        "count": 8,
        "image_size": 256,
        "bank": 2000,
        "clients": 4,
        "one_client_seconds": {"predict_single": 0.070, "served": 0.077, "more": 0.006},
        "pictures_a_second": {"predict": 26.5, "served": 20.25, "ratios": [0.75, 0.8]},
    },
    "end_to_end": {
        "data": "drawn",
        "training_images_bytes": 1_000_000,
        "settings": ["weights=random"],
        "peer": {"name": "baseline"},
        "same_work": True,
        "federate": SIDE,
        "baseline": SIDE,
        "wall_ratio": 2.5,
        "cpu_ratio": 2.25,
        "steps_seconds": {"survey": 3.0},
        "stations": {
            "north": {
                "images": 10,
                "patches": 1000,
                "rows_sent": 100,
                "work_seconds": 4.0,
                "bytes_up": 2_000_000,
                "bytes_down": 3_000_000,
            }
        },
    },
}


def page_of(folder: Path, name: str, result: dict[str, Any]) -> str:
    """The section of one subject."""
    (folder / f"{name}.json").write_text(json.dumps({"machine": MACHINE, **result}))
    title = SECTIONS[name][0]
    return render(folder).partition(f"## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("coreset", ["| rows | 200,000 | 2,000 | 1.23 | 150 | **121x** | 31 of 31 |"]),
        ("search", ["| 400 | 2800 | **7.0x** | faiss 1.5x | 100.00% |", "7.00x; target 1.3x: met"]),
        ("features", ["| ours | 300 | **2.50x** |", "700 + anomalib 2 1000 ms: **4.2x**"]),
        ("spro", ["1000x750 | 6 | 2 | 0.9000 | 10.0 | 200 | **20.0x** |", "Least ratio: 20.0x"]),
        (
            "memory",
            ["| 0.75 | 0.25 |", "station: 4.0x less", "beside imports: target 0.6 GB: met"],
        ),
        (
            "memory_large",
            ["| 3,525,000 | 20,000 | 3.75 | 3.25 | 12.50 | nothing | 400 |", "3.5 GB: MISSED"],
        ),
        (
            "device",
            [
                "Some GPU against the 2 cores",
                "| search | 10.0 | 40.0 | 8.0 | 4.0x | 0.8x | 0 |",
                "| image | 2.0 | 50.0 | - | 25.0x | - | 1e-06 |",
            ],
        ),
        (
            "autovi",
            [
                "**30 minutes** in all",
                "| north | used | 20 | 30 | 4 | 1,000 | 100 | 12 | 1.5 | 30.7 | 2.35 |",
                "executor 1.50",
                "Global bank: 10,000 rows",
                "Only 1 in 10 test images",
                "| clip | 30 | 0.5000 | 0.7500 |",
            ],
        ),
        ("wire", ["| int8 | 10.0 | 5.0 | **400x** |"]),
        (
            "line",
            [
                "8 pictures (bottle), 256 pixels, ResNet-18, 2,000 rows",
                "`predict_single`, one client) | 70 | 77 |",
                "`predict`, 4 clients) | 26.50 | 20.25 |",
                "6 ms more",
                "by rounds: 0.75, 0.80",
            ],
        ),
        ("end_to_end", ["| federate | 20 | 30 | 3000 | 4,805 | 0.5000 | 0.7500 |", "1234 MB"]),
    ],
)
def test_figures_appear_as_measured(tmp_path: Path, name: str, figures: list[str]) -> None:
    section = page_of(tmp_path, name, MEASURED[name])
    for figure in figures:
        assert figure in section
    assert "2026-01-02: Some CPU, 2 CPUs, load 0.2" in section


@pytest.mark.parametrize("name", SECTIONS)
def test_a_missing_field_is_named(tmp_path: Path, name: str) -> None:
    for field in MEASURED[name]:
        less = {key: value for key, value in MEASURED[name].items() if key != field}
        with pytest.raises(SystemExit, match=f"{name}.json lacks '{field}'"):
            page_of(tmp_path, name, less)


def test_what_was_not_measured_is_not_told(tmp_path: Path) -> None:
    section = page_of(tmp_path, "coreset", MEASURED["coreset"])
    assert "grows" not in section
    assert "Two threads" not in section
    grown = MEASURED["coreset"] | {"growth": {"rows": 0.8, "size": 0.7, "points": 9}}
    section = page_of(tmp_path, "coreset", grown)
    assert "rows^0.80 x chosen^0.70 (fitted to 9 runs)" in section


def test_the_search_is_held_to_its_target_on_all_kernels(tmp_path: Path) -> None:
    other = {
        "machine": MACHINE | {"environment": {"OPENBLAS_CORETYPE": "Haswell"}},
        "cases": [search_case("pure noise", 1.25)],
    }
    section = page_of(tmp_path, "search", MEASURED["search"] | {"other_kernels": other})
    assert "Set: OPENBLAS_CORETYPE=Haswell." in section
    assert "1.25x; target 1.3x: missed" in section.lower()


def test_the_peers_kernels_are_told(tmp_path: Path) -> None:
    pool = {"prefix": "libopenblas", "version": "0.2", "architecture": "Zen", "package": "faiss"}
    peer = {"name": "anomalib 2", "python": "3.11", "torch": "2.1", "torch_blas": ["mkl"]}
    result = MEASURED["coreset"] | {"peer": peer | {"blas": [pool]}}
    section = page_of(tmp_path, "coreset", result)
    assert "torch 2.1 with mkl, BLAS libopenblas 0.2 (Zen, of faiss)" in section


@pytest.mark.parametrize("name", SECTIONS)
def test_every_subject_has_a_script(name: str) -> None:
    script = SECTIONS[name][2].split()[0]
    assert (PAGE.parent / script).is_file()

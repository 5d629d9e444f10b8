"""Run folders with made-up numbers, of the shapes that a run writes. Test data, never results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CATEGORIES = (
    "engine_wiring",
    "pipe_clip",
    "pipe_staple",
    "tank_screw",
    "underbody_pipes",
    "underbody_screw",
)
STATIONS = (
    "engine-assembly",
    "underbody-line",
    "fastener-station",
    "clip-inspection",
    "quality-control",
)
LIMITS = ("0.01", "0.05", "0.1", "0.3", "1.0")


def made_up_spro(method: str, category: str, seed: int = 42) -> float:
    """A number between 0.3 and 0.9 that depends on its names only."""
    base = 0.45 + 0.07 * (CATEGORIES.index(category) if category in CATEGORIES else 0)
    cost = {"centralized": 0.0, "federated_iid": 0.012, "federated_category": 0.047}
    wobble = ((sum(map(ord, category)) * (3 + len(method)) + seed) % 11) / 400
    return round(base - cost.get(method, 0.09) + wobble, 4)


def made_up_metrics(
    method: str, category: str, spro: float, *, synthetic: bool = True
) -> dict[str, Any]:
    """A metrics.json whose AUC-sPRO at 0.05 is `spro`."""

    def block(value: float) -> dict[str, Any]:
        spros = {limit: min(value + step, 1.0) for limit, step in zip(LIMITS, STEPS, strict=True)}
        return {
            "localization": {"auc_spro": spros, "pixel_auc_roc": min(value + 0.2, 1.0)},
            "classification": {
                "auc_roc": min(value + 0.1, 1.0),
                "average_precision": min(value + 0.12, 1.0),
                "tpr_at_tnr": {"0.9": value, "0.95": value - 0.1, "0.99": value - 0.2},
            },
        }

    counts = {"images": 83, "good_images": 20, "defective_images": 63, "regions": 63}
    return {
        "method": method,
        "category": category,
        "synthetic_data": synthetic,
        "weights": "random (seed 42)" if synthetic else "IMAGENET1K_V1",
        **block(spro),
        "per_defect_type": {
            "missing": {"kind": "logical", **block(spro - 0.1), "counts": counts},
            "scratch": {"kind": "structural", **block(spro + 0.05), "counts": counts},
        },
        "per_anomaly_kind": {"logical": block(spro - 0.1), "structural": block(spro + 0.05)},
        "counts": {**counts, "normal_pixels": 9_000_000, "anomalous_pixels": 45_000},
        "threshold": {
            "value": 1.2,
            "target_false_alarm_rate": 0.05,
            "promised_false_alarm_rate": 0.11,
            "held_out_images": 8,
            "false_alarm_rate_on_test": 0.05,
            "detection_rate_on_test": 0.9,
            "note": "8 held-out images can promise no less than 0.11.",
        },
        "evaluation": {"method": "exact", "auc_error_bound": dict.fromkeys(LIMITS, 0.0)},
        "not_computed": {},
    }


STEPS = (-0.15, 0.0, 0.06, 0.12, 0.2)


def made_up_curve(spro: float) -> dict[str, list[float]]:
    """A rising curve through (0, 0) and (1, 1)."""
    fpr = [(step / 40) ** 3 for step in range(41)]
    return {"fpr": fpr, "spro": [rate ** (1.02 - spro) for rate in fpr]}


def made_up_info(method: str, **changes: Any) -> dict[str, Any]:
    """A run.json; `changes` replace keys."""
    federated = method.startswith("federated")
    names = list(STATIONS) if federated else []
    info = {
        "format": 1,
        "status": "completed",
        "error": None,
        "method": method,
        "flower_run_id": "1234567890" if federated else None,
        "started": "2025-01-02T03:04:05+00:00",
        "finished": "2025-01-02T03:06:05+00:00",
        "seconds": {
            "survey": 1.5,
            "build_bank": 60.0,
            "aggregate": 20.0,
            "score": 38.0,
            "write": 0.5,
            "total": 120.0,
        },
        "settings": {
            "data-root": "",
            "partition": "iid" if method == "federated_iid" else "category",
            "backbone": "resnet18",
            "global-bank-size": 2000,
            "bank-scope": "shared",
            "seed": 42,
            "output-dir": f"/somewhere/made/up/{method}",
        },
        "versions": {"fedpatchcore": "0.1.0", "flwr": "1.41.0", "python": "3.11.2"},
        "seed": 42,
        "data": {"synthetic": True, "categories": list(CATEGORIES)},
        "feature_space": {
            "backbone": "resnet18",
            "layers": ["layer2", "layer3"],
            "neighborhood_size": 3,
            "image_size": 0,
            "precision": "float32",
            "weights": "random (seed 42)",
            "weights_sha256": "ab" * 32,
            "fingerprint": "cd" * 16,
        },
        "bank": {"scope": "shared", "rows": {"shared": 2000}, "feature_dim": 384, "radius": 1.2},
        "stations": [
            {
                "name": name,
                "status": "used",
                "reason": None,
                "host": "factory-pc",
                "bytes_up": 800_000 * (index + 1),
                "bytes_down": 1_600_000,
            }
            for index, name in enumerate(names)
        ],
        "bytes": {"up": 12_000_000 if federated else 0, "down": 8_000_000 if federated else 0},
        "notices": [],
    }
    return {**info, **changes}


def made_up_contributions(names: Sequence[str] = STATIONS) -> dict[str, Any]:
    """A contributions.json."""
    return {
        "stations": [
            {
                "name": name,
                "images": 30 + 15 * index,
                "patches": (30 + 15 * index) * 784,
                "budget": 900,
                "rows_sent": 500 + 90 * index,
                "rows_chosen": 300 + 50 * index,
                "bytes": 800_000 * (index + 1),
                "radius": 0.8 + 0.1 * index,
                "seconds": 12.0 + index,
                "categories": {
                    CATEGORIES[index]: {"images": 20 + 15 * index, "patches": 15_680},
                    CATEGORIES[index + 1]: {"images": 10, "patches": 7_840},
                },
            }
            for index, name in enumerate(names)
        ]
    }


def write_run(
    folder: Path,
    method: str = "federated_iid",
    *,
    spros: Mapping[str, float] | None = None,
    curves: bool = True,
    **changes: Any,
) -> Path:
    """Write a whole run folder; `spros` gives AUC-sPRO at 0.05 by category ({} = none)."""
    if spros is None:
        spros = {category: made_up_spro(method, category) for category in CATEGORIES}
    folder.mkdir(parents=True, exist_ok=True)
    info = made_up_info(method, **changes)
    dump(folder / "run.json", info)
    if method.startswith("federated") and info["status"] == "completed":
        dump(folder / "contributions.json", made_up_contributions())
    synthetic = bool(info["data"]["synthetic"])
    for category, spro in spros.items():
        target = folder / "evaluation" / "metrics" / method / category
        metrics = made_up_metrics(method, category, spro, synthetic=synthetic)
        dump(target / "metrics.json", metrics)
        if curves:
            dump(target / "curve.json", made_up_curve(spro))
    return folder


def dump(path: Path, content: object) -> None:
    """Write JSON, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")

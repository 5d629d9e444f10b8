"""`metrics.json` and `curve.json` on disk: written whole, read with every fault named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.paths import json_text
from common.system.files import write_whole

METRICS_FOLDER = Path("evaluation") / "metrics"
"""Where a run folder keeps its metrics: `<method>/<category>/` below this."""


def metrics_folder(folder: Path, method: str, category: str) -> Path:
    """Folder of one method and category below a run folder.

    Raises
    ------
    ValueError
        If a name would leave its place: it is empty, starts with a dot or holds a separator.
    """
    for name in (method, category):
        if not name or name.startswith(".") or any(mark in name for mark in "/\\\0"):
            raise ValueError(f"{name!r} cannot be the name of a folder")
    return Path(folder) / METRICS_FOLDER / method / category


def write_metrics(folder: Path, metrics: Mapping[str, Any], curves: Mapping[str, Any]) -> Path:
    """Write what `build_metrics` and `build_curves` gave below a run folder.

    Parameters
    ----------
    folder : Path
        The run folder; made if missing.
    metrics, curves : mapping
        JSON values without NaN or infinity.

    Returns
    -------
    Path
        Of `metrics.json`. `curve.json` lies beside it and is written first, so that whoever finds
        `metrics.json` finds both. Each file appears whole or not at all.
    """
    target = metrics_folder(folder, metrics["method"], metrics["category"])
    _write_json(target / "curve.json", curves)
    return _write_json(target / "metrics.json", metrics)


def load_metrics(
    root: Path, *, problems: list[str] | None = None
) -> dict[str, dict[str, dict[str, Any]]]:
    """Read all metrics of a run, or of a folder of runs.

    Parameters
    ----------
    root : Path
        A run folder, its `evaluation/metrics`, or a folder that holds run folders.
    problems : list of str, optional
        If given, a sentence about each missing or broken file is appended and the file left out.

    Returns
    -------
    dict
        `results[method][category]` is the content of a `metrics.json`.

    Raises
    ------
    InputError
        If there are no metrics at all; and, without `problems`, if a file is missing or broken or
        two runs hold the same method and category.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from common.evaluation import MetricsWrapper, load_metrics
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = MetricsWrapper("clip", method="local", weights="imagenet").save(Path(folder))
    ...     results = load_metrics(Path(folder))
    >>> results["local"]["clip"]["counts"]["images"]
    0
    """
    root = Path(root)
    found: list[str] = []
    results: dict[str, dict[str, dict[str, Any]]] = {}
    origin: dict[tuple[str, str], Path] = {}
    for path in _category_folders(root):
        method, category = path.parent.name, path.name
        if (method, category) in origin:
            other = origin[method, category]
            found.append(f"{path}: has the method and category of {other}; keep one of the two")
            continue
        try:
            metrics = _read_json(path / "metrics.json")
        except InputError as error:
            found.append(str(error))
            continue
        results.setdefault(method, {})[category] = metrics
        origin[method, category] = path
    if found and problems is None:
        raise InputError("; ".join(found))
    if problems is not None:
        problems.extend(found)
    if not results:
        raise InputError(
            f"{root}: holds no metrics; expected "
            f"{METRICS_FOLDER}/<method>/<category>/metrics.json in it or in its folders"
        )
    return results


def extract_auc_spro(
    results: Mapping[str, Mapping[str, Mapping[str, Any]]], fpr_limit: float
) -> dict[str, dict[str, float]]:
    """AUC-sPRO at one FPR limit as `{method: {category: value}}`.

    Parameters
    ----------
    results : mapping
        From `load_metrics`.
    fpr_limit : float
        One of `curve.FPR_LIMITS`.

    Returns
    -------
    dict
        A category without the value is left out; a method without any has an empty dictionary.

    Examples
    --------
    >>> from common.evaluation import extract_auc_spro
    >>> clip = {"localization": {"auc_spro": {"0.05": 0.75}}}
    >>> extract_auc_spro({"local": {"clip": clip, "screw": {}}}, fpr_limit=0.05)
    {'local': {'clip': 0.75}}
    """
    name = str(float(fpr_limit))
    values: dict[str, dict[str, float]] = {}
    for method, categories in results.items():
        values[method] = {}
        for category, metrics in categories.items():
            value = metrics.get("localization", {}).get("auc_spro", {}).get(name)
            if value is not None:
                values[method][category] = float(value)
    return values


def _category_folders(root: Path) -> list[Path]:
    """Folders that should hold a metrics.json, for each of the three kinds of root."""
    for base in ("evaluation/metrics/*/*", "*/evaluation/metrics/*/*", "*/*"):
        folders = sorted(path for path in root.glob(base) if path.is_dir())
        if base == "*/*" and not any((path / "metrics.json").exists() for path in folders):
            return []
        if folders:
            return folders
    return []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; evaluate this category again") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read as JSON ({error}); evaluate this category again"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no JSON object; evaluate this category again")
    return content


def _write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write whole or not at all: readers never see half a file."""
    write_whole(path, json_text(content) + "\n")
    return path

"""Run folders on disk: found, read and checked, with every fault named by its file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.analysis.runs import Curve, Results, Run
from common.errors import InputError
from common.evaluation.metrics_files import METRICS_FOLDER, load_metrics
from common.paths import RUN_FILE as RUN_FILE


def load_run(folder: Path) -> Run:
    """Read one run folder.

    Parameters
    ----------
    folder : Path
        A folder with run.json, or with evaluation/metrics alone.

    Returns
    -------
    Run
        Failed runs too, with their status; what a run did not write is empty.

    Raises
    ------
    InputError
        If the folder is not one of a run, or one of its files is not the JSON it should be. The
        message names the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from common.analysis import load_run
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "run.json").write_text('{"method": "local", "seed": 7}')
    ...     run = load_run(Path(folder))
    >>> run.method, run.seed, run.failed
    ('local', 7, False)
    """
    folder = Path(folder)
    if not _is_run(folder):
        raise InputError(
            f"{folder} is not a run folder: it has neither {RUN_FILE} nor {METRICS_FOLDER}/; "
            "give the output folder of a run"
        )
    info = read_json(folder / RUN_FILE) if (folder / RUN_FILE).is_file() else {}
    _check_info(info, folder / RUN_FILE)
    contributions: list[Mapping[str, Any]] = []
    path = folder / "contributions.json"
    if path.is_file():
        contributions = _object_list(read_json(path).get("stations", []), path, "stations")
    metrics, problems = _read_metrics(folder)
    curves: dict[str, dict[str, Curve]] = {}
    for method, by_category in metrics.items():
        for category in by_category:
            curve_file = folder / METRICS_FOLDER / method / category / "curve.json"
            curve = _read_curve(curve_file) if curve_file.is_file() else None
            if curve is not None:
                curves.setdefault(method, {})[category] = curve
    return Run(folder, info, tuple(contributions), metrics, curves, problems)


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """Read every run in or below some folders, in order of path.

    Parameters
    ----------
    folders : iterable of Path
        Run folders, or folders that hold run folders at any depth.

    Returns
    -------
    list of Run
        Each run once, at least one.

    Raises
    ------
    InputError
        If a folder does not exist or holds no run, or a file of a run is broken.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from common.analysis import find_runs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for method in ("centralized", "local"):
    ...         Path(folder, method).mkdir()
    ...         _ = Path(folder, method, "run.json").write_text(f'{{"method": "{method}"}}')
    ...     [run.method for run in find_runs([Path(folder)])]
    ['centralized', 'local']
    """
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; give the output folder of a run")
        below = [folder] if _is_run(folder) else _runs_below(folder)
        if not below:
            raise InputError(
                f"{folder} holds no run: no {RUN_FILE} and no {METRICS_FOLDER}/ in or below it"
            )
        found.update(dict.fromkeys(path.resolve() for path in below))
    return [load_run(path) for path in found]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputError
        If the file cannot be read or does not hold a JSON object; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); run it again or restore it") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not JSON ({error.msg} in line {error.lineno}); "
            "it may have been cut off: run it again or restore it"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {type(content).__name__}, expected a JSON object")
    return content


def _is_run(folder: Path) -> bool:
    return (folder / RUN_FILE).is_file() or (folder / METRICS_FOLDER).is_dir()


def _runs_below(folder: Path) -> list[Path]:
    """Run folders below a folder, without looking into runs.

    Hidden folders, unfinished runs and earlier runs that a new one moved aside (`name.1` beside
    `name`) are left out.
    """
    runs: list[Path] = []
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        if child.name.startswith(".") or child.suffix == ".partial":
            continue
        if child.suffix[1:].isdigit() and _is_run(child.with_suffix("")):
            continue
        runs.extend([child] if _is_run(child) else _runs_below(child))
    return runs


def _check_info(info: Mapping[str, Any], path: Path) -> None:
    """Refuse a run.json whose parts are not of the kind that everything here relies on."""
    for key in ("seconds", "settings", "versions", "data", "feature_space", "bank", "bytes"):
        if info.get(key) is not None and not isinstance(info[key], dict):
            raise InputError(f"{path}: {key} is {type(info[key]).__name__}, expected an object")
    _object_list(info.get("stations") or [], path, "stations")
    for key in ("notices", "unevaluated"):
        if not isinstance(info.get(key) or [], list):
            raise InputError(f"{path}: {key} is not a list of sentences")


def _object_list(value: object, path: Path, key: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(f"{path}: {key} is not a list of objects")
    return value


def _read_metrics(folder: Path) -> tuple[Results, tuple[str, ...]]:
    """Metrics of a run, and a sentence about each category whose metrics.json is not there."""
    written = list((folder / METRICS_FOLDER).glob("*/*/metrics.json"))
    problems: list[str] = []
    if not written:
        return {}, ()
    metrics = load_metrics(folder, problems=problems)
    broken = [path for path in written if path.parts[-2] not in metrics.get(path.parts[-3], {})]
    if broken:
        raise InputError("; ".join(problems))
    left_out = sorted(
        path.name
        for path in (folder / METRICS_FOLDER).glob("*/*/")
        if not (path / "metrics.json").is_file()
    )
    return metrics, tuple(f"{name}: its metrics.json was not written" for name in left_out)


def _read_curve(path: Path) -> Curve | None:
    """Read a curve.json in rising order of FPR, as it was written; None if it has no curve."""
    content = read_json(path)
    fpr, spro = content.get("fpr"), content.get("mean_spro", content.get("spro"))
    if fpr is None and spro is None:
        return None
    if not isinstance(fpr, list) or not isinstance(spro, list) or len(fpr) != len(spro):
        raise InputError(f"{path}: fpr and spro must be two lists of the same length")
    try:
        return Curve(tuple(map(float, fpr)), tuple(map(float, spro)))
    except (TypeError, ValueError):
        raise InputError(f"{path}: fpr and spro must hold numbers only") from None

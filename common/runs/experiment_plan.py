"""An experiment file: which runs it asks for, each with its name and settings."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from common.config import NAMED_WEIGHTS, Settings
from common.data.partition import PARTITIONS
from common.data.strict_yaml import read_yaml
from common.errors import InputError
from common.patchcore.names import check_names
from common.runs.honoured import unused_by_methods

METHODS: Final = ("centralized", "local", "federated")
_KEYS: Final = (
    "data",
    "methods",
    "partitions",
    "bank-scopes",
    "aggregations",
    "seeds",
    "settings",
)
# What the lists above decide, and what the experiment itself decides.
_TAKEN: Final[dict[str, str]] = {
    "partition": "list it under partitions",
    "dirichlet-alpha": "write it in partitions, as `- dirichlet: 0.5`",
    "bank-scope": "list it under bank-scopes",
    "aggregation": "list it under aggregations",
    "seed": "list it under seeds",
    "data-root": "name the folder under data",
    "output-dir": "give it on the command line, --out",
}


@dataclass(frozen=True)
class PlannedRun:
    """One run of an experiment.

    Attributes
    ----------
    name : str
        Of its folder: method and what sets it apart, as `federated_iid-shared-seed42`.
    kind : str
        `centralized`, `local` or `federated`.
    method : str
        Name of its metrics, as `federated_iid`.
    settings : Settings
        All but `output_dir`, which the experiment's folder decides.
    """

    name: str
    kind: str
    method: str
    settings: Settings


@dataclass(frozen=True)
class ExperimentPlan:
    """What an experiment file says.

    Attributes
    ----------
    data : Path or None
        Data folder; None for the synthetic set.
    methods, bank_scopes, aggregations : tuple of str
    partitions : tuple of (str, float or None)
        Name and, for `dirichlet`, alpha.
    seeds : tuple of int
    settings : Settings
        Common to all runs.
    """

    data: Path | None
    methods: tuple[str, ...]
    partitions: tuple[tuple[str, float | None], ...]
    bank_scopes: tuple[str, ...]
    aggregations: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Settings

    def runs(self, base: Settings | None = None) -> list[PlannedRun]:
        """Every run once, seed by seed.

        Parameters
        ----------
        base : Settings, optional
            Common settings with weights and data folder settled; default those of the file.

        Returns
        -------
        list of PlannedRun
            With distinct names. A centralized run has no partition and no aggregation, a local
            one no aggregation: these have one run for each combination of what is left. What is
            cheap and what the others are compared with comes first, so that a first comparison
            stands after one seed.

        Notes
        -----
        A centralized run holds out the images that the stations of the *first* partition hold
        out, for its threshold; see `common.runs.baseline`.
        """
        base = base or self.settings
        alphas = [alpha for name, alpha in self.partitions if name == "dirichlet"]
        found: list[PlannedRun] = []
        for seed in self.seeds:
            for kind in (name for name in METHODS if name in self.methods):
                partitions = self.partitions[:1] if kind == "centralized" else self.partitions
                aggregations = self.aggregations if kind == "federated" else self.aggregations[:1]
                for name, alpha in partitions:
                    for scope in self.bank_scopes:
                        for aggregation in aggregations:
                            settings = base.with_(
                                partition=name,
                                dirichlet_alpha=base.dirichlet_alpha if alpha is None else alpha,
                                bank_scope=scope,
                                aggregation=aggregation,
                                seed=seed,
                            )
                            method = f"federated_{name}" if kind == "federated" else kind
                            words = [method]
                            if kind == "local":
                                words.append(name)
                            if len(alphas) > 1 and name == "dirichlet" and kind != "centralized":
                                words.append(f"alpha{alpha:g}")
                            words.append(scope)
                            if len(aggregations) > 1:
                                words.append(aggregation)
                            words.append(f"seed{seed}")
                            found.append(PlannedRun("-".join(words), kind, method, settings))
        return found


def read_plan(path: Path) -> ExperimentPlan:
    """Read and check an experiment file.

    Parameters
    ----------
    path : Path
        YAML with some of the keys `data`, `methods`, `partitions`, `bank-scopes`, `aggregations`,
        `seeds` and `settings`; what is left out is the run config's default. A relative `data`
        folder, and a weight file in `settings`, lie beside the file.

    Returns
    -------
    ExperimentPlan

    Raises
    ------
    InputError
        If the file cannot be read, has an unknown key or a value that no run can use; the message
        names file and key.
    """
    content = _read(path)
    for key in content:
        if key not in _KEYS:
            raise InputError(f"{path}: unknown key {key!r}{_suggest(str(key), _KEYS)}")
    folder = path.resolve().parent
    try:
        settings = _settings(content.get("settings") or {}, folder)
        partitions = tuple(map(_partition, _list(content, "partitions", [settings.partition])))
        scopes = tuple(map(str, _list(content, "bank-scopes", [settings.bank_scope])))
        aggregations = tuple(map(str, _list(content, "aggregations", [settings.aggregation])))
        seeds = tuple(map(_seed, _list(content, "seeds", [settings.seed])))
        methods = tuple(map(str, _list(content, "methods", list(METHODS))))
        for method in methods:
            _one_of("methods", method, METHODS)
        unused_by_methods(methods, map(str, content.get("settings") or {}))
        # Settings and tables know what a scope, an aggregation and a seed may be.
        for key, values in (("bank_scope", scopes), ("aggregation", aggregations), ("seed", seeds)):
            for value in values:
                check_names(settings.with_(**{key: value}))
        for name, alpha in partitions:
            settings.with_(partition=name, dirichlet_alpha=1.0 if alpha is None else alpha)
        data = content.get("data")
        if data is not None and not isinstance(data, str):
            raise InputError(f"data: found {data!r}, expected the path of a folder")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    root = (folder / Path(data).expanduser()).resolve() if data else None
    return ExperimentPlan(root, methods, partitions, scopes, aggregations, seeds, settings)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = read_yaml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the experiment file cannot be read ({error})") from None
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise InputError(f"{path}: is not YAML ({words}); mend the file") from None
    if not content:
        raise InputError(f"{path}: is empty; expected keys such as data, methods and seeds")
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: holds {type(content).__name__}, expected keys such as methods and seeds"
        )
    return content


def _settings(content: Any, folder: Path) -> Settings:
    if not isinstance(content, dict):
        raise InputError(f"settings: found {content!r}, expected keys of the run config")
    for key in content:
        if key in _TAKEN:
            raise InputError(f"settings: {key} does not belong here; {_TAKEN[key]}")
    settings = check_names(Settings.from_run_config({str(k): v for k, v in content.items()}))
    if settings.weights not in NAMED_WEIGHTS:
        weights = (folder / Path(settings.weights).expanduser()).resolve()
        settings = settings.with_(weights=str(weights))
    return settings


def _list(content: Mapping[str, Any], key: str, default: list[Any]) -> list[Any]:
    """Read a list without repetitions; one value alone is a list of one."""
    found = content.get(key, default)
    values = found if isinstance(found, list) else [found]
    if not values or any(value is None for value in values):
        raise InputError(f"{key}: is empty; leave the key out for {default}, or list some")
    for number, value in enumerate(values):
        if value in values[:number]:
            raise InputError(f"{key}: {value!r} is listed twice")
    return values


def _partition(value: Any) -> tuple[str, float | None]:
    """`iid`, `category`, `dirichlet`, or `{dirichlet: alpha}`."""
    if isinstance(value, dict) and list(value) == ["dirichlet"]:
        alpha = value["dirichlet"]
        if isinstance(alpha, bool) or not isinstance(alpha, int | float):
            raise InputError(f"partitions: dirichlet: found {alpha!r}, expected a number as 0.5")
        return "dirichlet", float(alpha)
    _one_of("partitions", value, PARTITIONS)
    return str(value), None


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"seeds: found {value!r}, expected whole numbers")
    return value


def _one_of(key: str, value: Any, allowed: Iterable[str]) -> None:
    names = tuple(allowed)
    if value not in names:
        raise InputError(f"{key}: found {value!r}, expected some of {', '.join(names)}")


def _suggest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known ones are: {', '.join(known)}"

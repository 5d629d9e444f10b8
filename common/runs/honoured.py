"""Which settings a command uses: what it cannot use is refused, what a comparison shares is told.

A setting that is accepted and changes nothing makes its user believe in a result that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from common.config import Settings
from common.errors import InputError

FEDERATED_ONLY: Final = (
    "aggregation",
    "weighted-by-samples",
    "oversample-factor",
    "min-station-share",
    "num-server-rounds",
    "min-stations",
    "round-timeout",
    "max-station-share",
    "on-suspicion",
    "without",
    "deliver",
    "feature-space",
    "evaluation",
)
"""Settings of what stations and server say to each other: of no use where nobody speaks."""

_LOADING: Final = ("device", "batch-size", "num-workers", "weights", "backbone", "layers")
# Loading refuses another feature space than the model's, so to name one is to make sure of it.
_JUDGING: Final = (*_LOADING, "neighborhood-size", "image-size", "precision", "image-score")

_FITTED: Final = "it decides how a bank is made: train anew to change it"
_HELD_OUT: Final = "the threshold was calibrated when the model was fitted: train anew to change it"
_CALIBRATION: Final = ("calibration-fraction", "target-false-alarm-rate")
_DATA: Final = {"data-root": "give the data folder as DATA", "output-dir": "give it with --out"}
_OF_A_PLANT: Final = {
    "data-root": "every station names its own images in its station file",
    "output-dir": "runs are written on the server; fetch one with `fedpatchcore result`",
    "deliver": "`fedpatchcore plant deliver RUN_ID` sends an earlier run's model",
    **dict.fromkeys(
        ("partition", "num-stations", "dirichlet-alpha"),
        "in a plant the images lie where they were taken; only a simulation deals them out",
    ),
}


def _with_model(uses: Iterable[str], **instead: str) -> dict[str, str]:
    """What a command that has a model cannot use, each with what to do instead."""
    known = Settings().to_run_config()
    other = {key: _HELD_OUT if key in _CALIBRATION else _FITTED for key in known}
    own = {key.replace("_", "-"): text for key, text in instead.items()}
    return {key: text for key, text in {**other, **own}.items() if key not in set(uses)}


_BY_SCORE: Final = "judge by another score with --threshold, or train anew"
REFUSED: Final[dict[str, dict[str, str]]] = {
    "demo": {
        "data-root": "the demonstration draws its own images",
        "output-dir": "give it with --out",
    },
    "baseline": _DATA,
    "federate": _DATA,
    "inspect": _with_model(
        _JUDGING,
        data_root="give the images, or their folder, as arguments",
        output_dir="give it with --out",
        calibration_fraction=_BY_SCORE,
        target_false_alarm_rate=_BY_SCORE,
    ),
    "evaluate": _with_model(_JUDGING, **{k.replace("-", "_"): v for k, v in _DATA.items()}),
    "add": _with_model(
        [key for key in _JUDGING if key != "image-score"],
        data_root="give the images, or their folder, as arguments",
        output_dir="give it with --out",
        global_bank_size="say with --rows how many rows to add",
        local_coreset_ratio="say with --rows how many rows to add",
        image_score="the model's threshold is for its own",
    ),
    "calibrate": _with_model(
        [key for key in _JUDGING if key != "image-score"],
        data_root="give the images, or their folder, with --from",
        output_dir="the new model is written beside the old one",
        target_false_alarm_rate="give it with --rate",
        image_score="the model's threshold is for its own",
    ),
    "evaluate --maps": {
        **dict.fromkeys(
            Settings().to_run_config(),
            "maps are evaluated as they are, and no setting changes that",
        ),
        "image-score": "an image's score is the maximum of its map (reweighted, for one, needs "
        "patches and a memory bank, which maps do not bring)",
    },
    "plant run": _OF_A_PLANT,
    "check --station": _OF_A_PLANT,
}
"""Command -> setting that it cannot use -> what to do instead."""


def require_used(command: str, assignments: Sequence[str] | None) -> None:
    """Refuse a setting that a command cannot use.

    Parameters
    ----------
    command : str
        A key of `REFUSED`.
    assignments : sequence of `key=value`, or None
        As given with `--set`. What is no setting at all is not looked at here.

    Raises
    ------
    InputError
        Naming the command, the setting and what to do instead.
    """
    for key in _keys(assignments):
        if key in REFUSED[command]:
            raise InputError(f"{command} does not use the setting {key}: {REFUSED[command][key]}")


def unused(kind: str, settings: Settings, assignments: Sequence[str] | None) -> list[str]:
    """Say which settings change nothing in this run, though they may in one it is compared with.

    Parameters
    ----------
    kind : {"baseline", "federate", "demo", "plant run", "check --station"}
    settings : Settings
        With the assignments in place.
    assignments : sequence of `key=value`, or None
        As given with `--set`.

    Returns
    -------
    list of str
        One sentence a reason.
    """
    reasons: dict[str, list[str]] = {}
    for key in _keys(assignments):
        if reason := _reason(kind, key, settings):
            reasons.setdefault(reason, []).append(key)
    return [f"no effect here: {', '.join(keys)} ({why})" for why, keys in reasons.items()]


def unused_by_methods(methods: Sequence[str], keys: Iterable[str]) -> None:
    """Refuse a setting that none of an experiment's methods uses.

    Parameters
    ----------
    methods : sequence of `centralized`, `local`, `federated`
    keys : iterable of str
        Settings that the file names.

    Raises
    ------
    InputError
        Naming the first of them.
    """
    if "federated" in methods:
        return
    for key in keys:
        if key in FEDERATED_ONLY:
            raise InputError(
                f"settings: {key} is used by the method federated alone, and methods lists only "
                f"{', '.join(methods)}; leave it out, or add federated"
            )


def _reason(kind: str, key: str, settings: Settings) -> str:
    """Why a setting changes nothing; empty if it may change something."""
    dealing = ("partition", "num-stations", "dirichlet-alpha")
    if kind == "baseline" and key in FEDERATED_ONLY:
        return "only a federation uses it"
    if kind == "baseline" and key in dealing and settings.calibration_fraction == 0:
        return "a baseline deals images out only to hold some out, and calibration-fraction is 0"
    if kind == "check --station" and key in (*FEDERATED_ONLY, "bank-scope", "image-score"):
        return "a run may use it, but nothing at a station that is looked over depends on it"
    if kind == "demo" and key == "partition":
        return "the demonstration runs iid and category"
    if key == "dirichlet-alpha" and settings.partition != "dirichlet":
        return f"the partition is {settings.partition}"
    if key == "target-false-alarm-rate" and settings.calibration_fraction == 0:
        return "without held-out images, as calibration-fraction is 0, there is no threshold"
    if key == "min-station-share" and settings.aggregation != "diversity_preserving":
        return f"the aggregation {settings.aggregation} guarantees no share"
    return ""


def _keys(assignments: Sequence[str] | None) -> list[str]:
    return [text.partition("=")[0].strip().replace("_", "-") for text in assignments or ()]

"""Evaluation on test images that the server holds, instead of the stations' own."""

from __future__ import annotations

import time

from common.config import Settings
from common.data.demo_data import demo_data
from common.data.layout import index_data
from common.errors import InputError
from common.evaluation import EvaluationCounts
from common.evaluation.judge import evaluate_samples
from common.patchcore import PatchCore
from common.patchcore.weights import resolve_auto
from server_app.outcome import Outcome


def evaluate_on_server(settings: Settings, outcome: Outcome) -> None:
    """Judge the test images below the run's `data-root` with the global bank.

    Parameters
    ----------
    settings : Settings
        `data_root` is a folder of this machine; "" stands for the synthetic data set.
    outcome : Outcome
        Its `counts` are filled: the same numbers as the stations' counts of the same images.

    Raises
    ------
    InputError
        If the folder has no test image, or the weights here are not the stations'.
    """
    started = time.monotonic()
    index = index_data(settings.data_root or demo_data())
    if not index.select("test"):
        raise InputError(f"evaluation=server: {index.root} on the server holds no test image")
    if settings.weights == "auto":
        source, _ = resolve_auto(settings.backbone, index.synthetic)
        settings = settings.with_(weights=source)
    model = PatchCore(settings)
    if outcome.space is None or model.space.fingerprint != outcome.space.fingerprint:
        raise InputError(
            f"evaluation=server: the server's feature space {model.space.describe()} is not the "
            f"stations' {outcome.space.describe() if outcome.space else 'unknown one'}"
        )
    for name, rows in outcome.rows.items():
        model.set_bank(name, rows)
    for category in index.categories:
        samples = index.select("test", category)
        if samples:
            outcome.counts[category] = evaluate_samples(model, index, samples, EvaluationCounts())
    outcome.add_seconds("score", time.monotonic() - started)

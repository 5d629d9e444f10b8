"""Evaluation on test images that the server holds, instead of the stations' own."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from common.config import Settings
from common.data.demo_data import demo_data
from common.data.layout import index_data
from common.errors import InputError
from common.evaluation.judge import judge_station, resolution_notices
from common.patchcore import PatchCore
from common.patchcore.model_store import SHARED
from common.patchcore.network.choice import settle_network
from common.patchcore.shares import pooled_owners
from server_app.influence.gathered import SERVER
from server_app.outcome import Outcome


class ServerEvaluation:
    """Judges the test images below the run's `data-root` with the global bank.

    Parameters
    ----------
    settings : Settings
        `data_root` is a folder of this machine; "" stands for the synthetic data set.

    Raises
    ------
    InputError
        If the folder has no test image or the weights are not on this machine.
    """

    def __init__(self, settings: Settings) -> None:
        self.index = index_data(settings.data_root or demo_data())
        if not self.index.select("test"):
            raise InputError(
                f"evaluation=server: {self.index.root} on the server holds no test image; give a "
                "data-root with some or set evaluation=stations"
            )
        settings, _ = settle_network(settings, may_fall_back=True)
        self.model = PatchCore(settings)

    def run(self, outcome: Outcome) -> None:
        """Fill `outcome.counts`: the same numbers as the stations' counts of the same images.

        Raises
        ------
        InputError
            If the weights here are not the stations'.
        """
        started = time.monotonic()
        model = self.model
        if outcome.space is None or model.space.fingerprint != outcome.space.fingerprint:
            raise InputError(
                f"evaluation=server: the server's feature space {model.space.describe()} is not "
                f"the stations' {outcome.space.describe() if outcome.space else 'unknown one'}"
            )
        whose: dict[str, NDArray[np.uint16]] = outcome.gathered.numbered(outcome.owners)
        if outcome.shared and whose:
            whose = {SHARED: pooled_owners(whose)}
        for name, rows in outcome.judging.items():
            model.set_bank(name, rows, whose.get(name))
        held = outcome.categories()
        for category in self.index.categories:
            if category not in held:
                outcome.note(f"the server's {category} was not judged: no station holds that part")
        test = [one for one in self.index.select("test") if one.category in held]
        found = model.source.whole(judge_station, model, self.index, test, ())
        outcome.counts = found.counts
        outcome.gathered.keep(SERVER, {}, found.counts, found.without)
        outcome.without_bank.update(found.without_bank)
        for category, faults in found.faults.items():
            outcome.leave_out(category, "on the server", faults)
        for notice in resolution_notices(found.defects, model.space):
            outcome.note(notice)
        outcome.device = model.extractor.computed_by
        outcome.add_seconds("score", time.monotonic() - started)

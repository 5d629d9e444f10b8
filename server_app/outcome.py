"""What a run has found out so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluation import EvaluationCounts, StationScores
from common.evaluation.judge import left_out
from common.patchcore.model_store import SHARED, category_of
from common.patchcore.network.feature_space import FeatureSpace
from common.patchcore.shares import Share, pooled
from common.protocol.messages import SurveyReply
from server_app.counted import Counted
from server_app.delivery.holdings import Holdings
from server_app.influence.gathered import Gathered
from server_app.plan import Plan
from server_app.roster import Roster


@dataclass(frozen=True)
class GlobalBank:
    """A global memory bank, or a category's part of the shared one.

    Rows (m, d), and from which station each of them came (m,).
    """

    rows: NDArray[Any]
    owners: NDArray[np.str_]


@dataclass
class Outcome:
    """Filled step by step; readable even after a failure.

    Attributes
    ----------
    roster, plan, counted, space, feature_dim
        Who took part, what was planned, how many images of each count, in which feature space.
    banks : dict of str to GlobalBank
        By category (`bank_of`), in either scope.
    counts : dict of category to EvaluationCounts
        Merged over the stations.
    station_scores : dict of category to dict of station to StationScores
        Image scores: of held-out images, and of the test images that the station judged.
    gathered : Gathered
        What is needed to say what each station's rows do.
    without_bank : set of str
        Categories that no bank could judge at some station.
    radii : dict of bank to float
        Largest distance of a training patch from its category's rows, over all stations.
    seconds : dict of step to float
    device : str or None
        What computed features at the server, if it judged images itself.
    built : bool
        Whether the banks are what the run set out to build: what fails later takes nothing away.
    unevaluated : list of str
        What could not be judged, where and why.
    gaps : dict of category to set of str
        Which images of it are among that: `test`, `held-out`.
    notices : list of str
        What a reader of the results should know.
    progress : dict or None
        How a plant's run stands, see `standing`; its stations are those that were asked.
    audits : dict of station to dict of category to counts
        What the stations say of their good images, see `CategoryAudit.counts`.
    """

    roster: Roster
    plan: Plan = field(default_factory=Plan)
    counted: Counted = field(default_factory=Counted)
    space: FeatureSpace | None = None
    feature_dim: int = 0
    banks: dict[str, GlobalBank] = field(default_factory=dict)
    counts: dict[str, EvaluationCounts] = field(default_factory=dict)
    station_scores: dict[str, dict[str, StationScores]] = field(default_factory=dict)
    gathered: Gathered = field(default_factory=Gathered)
    without_bank: set[str] = field(default_factory=set)
    radii: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    device: str | None = None
    built: bool = False
    unevaluated: list[str] = field(default_factory=list)
    gaps: dict[str, set[str]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    audits: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def surveys(self) -> dict[str, SurveyReply]:
        """Answers of the stations that are still in, by name."""
        return {p.name: p.survey for p in self.roster.used() if p.survey is not None}

    @property
    def planned(self) -> dict[str, SurveyReply]:
        """Answers of those who are in, and of those whose rows of an earlier round are kept."""
        kept = [p for p in self.roster.all() if p.status == "used" or p.rows_chosen]
        return {p.name: p.survey for p in kept if p.survey is not None}

    @property
    def rows(self) -> dict[str, NDArray[Any]]:
        """Rows of the global banks as they travel: by category."""
        return {name: bank.rows for name, bank in self.banks.items()}

    def holdings(self) -> Holdings:
        """What of the banks goes to which station."""
        return Holdings(self.rows, self.roster.settings.wire_dtype, each=not self.shared)

    @property
    def owners(self) -> dict[str, NDArray[np.str_]]:
        """Who brought each of these rows."""
        return {name: bank.owners for name, bank in self.banks.items()}

    @property
    def shared(self) -> bool:
        """Whether all rows judge together."""
        return self.roster.settings.bank_scope == "shared"

    @property
    def judging(self) -> dict[str, NDArray[Any]]:
        """The banks that judge: those of the categories, or all rows in one."""
        return {SHARED: pooled(self.rows)} if self.shared and self.banks else self.rows

    @property
    def judging_radii(self) -> dict[str, float]:
        """The radius of each bank that judges: of a shared one that of its worst category."""
        if self.shared and self.radii:
            return {SHARED: max(self.radii.values())}
        return self.radii

    @property
    def shares(self) -> dict[str, Share]:
        """What each category has of the shared bank; nothing where there is none."""
        return {
            category: Share(len(bank.rows), self.radii.get(name))
            for name, bank in sorted(self.banks.items())
            if self.shared and (category := category_of(name)) is not None
        }

    def categories(self) -> list[str]:
        """All categories that some station holds or has left rows of, in order."""
        held = {c for survey in self.surveys.values() for c in survey.categories}
        left = {c for s in self.planned.values() for c, told in s.categories.items() if told.images}
        return sorted(held | left)

    def leave_out(self, category: str, place: str, faults: Mapping[str, object]) -> None:
        """Keep what could not be judged of a category somewhere, see `Judged.faults`."""
        self.unevaluated += left_out(f"{category} {place}", faults)
        self.gaps.setdefault(category, set()).update(faults)

    def note(self, notice: str) -> None:
        """Keep a notice, once."""
        if notice not in self.notices:
            self.notices.append(notice)

    def add_seconds(self, step: str, seconds: float) -> None:
        """Add to the time of a step that rounds repeat."""
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

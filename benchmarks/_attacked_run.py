"""One federated run with stations that say wrong things, and what it is worth to the others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Message, MessageType

from benchmarks._attacks import Attack, Banks, Scene, consistent
from benchmarks._in_process import run_here
from benchmarks._trust_data import Parts
from common.errors import FedPatchCoreError, reason
from common.evaluation import EvaluationCounts, calibrate_threshold
from common.protocol.messages import BuildReply, BuildRequest, ScoreReply, SurveyReply
from common.protocol.records import (
    BANK,
    COUNTS,
    FAILURE,
    WITHOUT,
    prefixed,
    read_facts,
    select_prefix,
    take_arrays,
    to_record,
)

VERDICTS = ("watch", "quarantine")
Kept = dict[str, EvaluationCounts]


@dataclass
class Between:
    """Stands between the server and the stations: changes what the bad ones say, and looks on.

    Attributes
    ----------
    attack : Attack
    scene : Scene
    names : dict of node to str
        As the stations called themselves.
    counts : dict of station to dict of category to EvaluationCounts
        What honest stations counted in the last scoring.
    held_out : dict of station to dict of category to list of float
        Scores, as they went out.
    scoring_seconds : float
        Of processors, that all stations scored for together.
    """

    attack: Attack
    scene: Scene
    names: dict[int, str] = field(default_factory=dict)
    counts: dict[str, Kept] = field(default_factory=dict)
    held_out: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    scoring_seconds: float = 0.0
    _patches: dict[str, dict[str, int]] = field(default_factory=dict)

    def __call__(self, node: int, request: Message, work: Callable[[], Message]) -> Message:
        """Have a station work, and change its reply if it is one of the bad."""
        started = time.process_time()
        reply = work()
        took = time.process_time() - started
        if FAILURE in reply.content:
            return reply
        kind = request.metadata.message_type
        if kind == MessageType.QUERY and node not in self.names:
            facts = read_facts(reply.content, SurveyReply)
            self.names[node] = facts.station
            if facts.station in self.scene.bad and self.attack.survey is not None:
                facts = self.attack.survey(self.scene, facts)
                told = {name: own.patches for name, own in facts.categories.items()}
                self._patches[facts.station] = told
                return Message(content=to_record(facts), metadata=reply.metadata)
        elif kind == MessageType.TRAIN:
            return self._rows(node, request, reply)
        elif kind == MessageType.EVALUATE:
            self.scoring_seconds += took
            return self._scores(node, reply)
        return reply

    def _rows(self, node: int, request: Message, reply: Message) -> Message:
        name = self.names[node]
        asked, facts = (
            read_facts(message.content, what)
            for message, what in ((request, BuildRequest), (reply, BuildReply))
        )
        assert isinstance(asked, BuildRequest)
        assert isinstance(facts, BuildReply)
        rows: Banks = select_prefix(BANK, take_arrays(reply.content))
        if name in self.scene.bad:
            if self.attack.rows is not None:
                rows = self.attack.rows(self.scene, name, asked, rows)
            facts = consistent(facts, rows, self._patches.get(name, {}))
        self.scene.sent[name] = rows
        return Message(content=to_record(facts, prefixed(BANK, rows)), metadata=reply.metadata)

    def _scores(self, node: int, reply: Message) -> Message:
        name = self.names[node]
        facts = read_facts(reply.content, ScoreReply)
        arrays = take_arrays(reply.content)
        if name in self.scene.bad and self.attack.scores is not None:
            facts, arrays = self._other_scores(name, facts, arrays)
        if name in self.scene.bad and self.attack.answers is not None:
            start, answers = f"{WITHOUT}/", self.attack.answers
            arrays = {k: answers(k, a) if k.startswith(start) else a for k, a in arrays.items()}
        self.held_out[name] = {c: list(own.held_out_scores) for c, own in facts.categories.items()}
        if name not in self.scene.bad:
            packed: dict[str, dict[str, Any]] = {}
            for key, array in arrays.items():
                if key.startswith(f"{COUNTS}/"):
                    category, _, what = key.removeprefix(f"{COUNTS}/").rpartition("/")
                    packed.setdefault(category, {})[what] = array
            self.counts[name] = {c: EvaluationCounts.from_arrays(a) for c, a in packed.items()}
        return Message(content=to_record(facts, arrays), metadata=reply.metadata)

    def _other_scores(
        self, name: str, facts: ScoreReply, arrays: dict[str, Any]
    ) -> tuple[ScoreReply, dict[str, Any]]:
        """Other held-out scores, and with them what they would be without anybody's rows."""
        assert self.attack.scores is not None
        changed = {}
        for category, own in facts.categories.items():
            before = sorted(own.held_out_scores)
            after = sorted(self.attack.scores(self.scene, name, before))
            changed[category] = own.model_copy(update={"held_out_scores": after})
            key = f"{WITHOUT}/{category}/held-out"
            if key in arrays:
                # No lower without somebody's rows: what is higher by a share stays so.
                shares = arrays[key] / np.asarray(before)[:, None]
                if len(after) != len(before):
                    shares = np.ones((len(after), arrays[key].shape[1]))
                arrays[key] = np.maximum(shares, 1) * np.asarray(after)[:, None]
        return facts.model_copy(update={"categories": changed}), arrays


def bad_stations(names: list[str], attack: Attack) -> tuple[str, ...]:
    """The second station, and the third of a pair; nobody where a picture lies everywhere."""
    some = changed(attack) and attack.picture != "each"
    return tuple(names[1 : 1 + attack.bad]) if some else ()


def attacked_run(parts: Parts, attack: Attack, out: Path, *, changes: str = "") -> dict[str, Any]:
    """Do a run and tell what became of the honest stations' images.

    Parameters
    ----------
    parts : Parts
        The honest images; the bad stations' own are honest, too.
    attack : Attack
        One without a change is the honest run that others are compared with.
    out : Path
        Of the run; its data, where a picture is misplaced, lie beside it.
    changes : str
        A setting `key=value` on top.

    Returns
    -------
    dict
        `error`, or `figures` of the honest stations, by how many are left out of them: as many as
        are bad, and of an honest run each number that another run may have. They hold `found` and
        `false_alarms` (each `merged` and `own`; None without a threshold), `defective`, `good`,
        `image_auroc`, `auc_spro`, and the `captured` rows of those left out. Then `rows` of the
        bank; `scoring_seconds`; `verdicts` and `sentences` by station; `refused` and `notices`
        that name a bad station.
    """
    names, root = list(parts.held), parts.root
    bad = bad_stations(names, attack)
    if attack.picture:
        root = parts.misplaced(list(bad) or names, Path(f"{out}-data"))
    between = Between(attack, Scene(bad, parts.defects))
    words = [f"{key}={value}" for key, value in parts.settings.to_run_config().items()]
    words += [f"num-server-rounds={attack.rounds}"]
    # Who is refused is out, and the run goes on: what the others have of it is told.
    words += [f"min-stations={max(1, len(names) - 2)}", *([changes] if changes else [])]
    chosen = [word for word in words if word.partition("=")[0] not in ("data-root", "output-dir")]
    told: dict[str, Any] = {"attack": attack.name, "bad": list(bad), "error": None}
    try:
        took = run_here("federate", root, out, chosen, between)
    except FedPatchCoreError as error:
        return told | {"error": reason(error)}
    run = json.loads((out / "run.json").read_text())
    chosen_rows = {
        one["name"]: one["rows_chosen"]
        for one in json.loads((out / "contributions.json").read_text())["stations"]
    }
    figures = {}
    for count in {len(bad)} if changed(attack) else {0, 1, 2}:
        left_out = names[1 : 1 + count]
        figures[str(count)] = _figures(between, out, [n for n in names if n not in left_out])
        figures[str(count)]["captured"] = sum(chosen_rows.get(name, 0) for name in left_out)
    told |= {"cpu_seconds": took["cpu_seconds"], "scoring_seconds": between.scoring_seconds}
    return told | {"figures": figures, "rows": sum(run["bank"]["rows"].values())} | _named(run, bad)


def changed(attack: Attack) -> bool:
    """Whether anything is wrong in such a run."""
    return any((attack.survey, attack.rows, attack.scores, attack.answers, attack.picture))


def _figures(between: Between, out: Path, honest: list[str]) -> dict[str, Any]:
    """What the honest stations find of their own images, at the thresholds of the run."""
    found: dict[str, int | None] = {"merged": 0, "own": 0}
    alarms: dict[str, int | None] = {"merged": 0, "own": 0}
    defective, good, aurocs, spros = 0, 0, [], []
    for path in sorted(out.glob("evaluation/metrics/*/*/metrics.json")):
        category, told = path.parent.name, json.loads(path.read_text()).get("threshold", {})
        together, target = EvaluationCounts(), told.get("target_false_alarm_rate", 0.05)
        for name in honest:
            counts = between.counts.get(name, {}).get(category)
            if counts is None or not counts.n_images:
                continue
            together.merge(counts)
            # Not from the scores here: without an excluded station's rows they are others.
            judged = told.get("stations", {}).get(name, {})
            own = calibrate_threshold(between.held_out[name].get(category, []), target, fenced=True)
            for tally, label, key in ((found, 1, "detections"), (alarms, 0, "false_alarms")):
                tally["merged"] = _plus(tally["merged"], judged.get(key))
                above = own and sum(score > own.value for score in counts.image_scores(label))
                tally["own"] = _plus(tally["own"], judged.get(key) if own is None else above)
        defective += len(together.image_scores(1))
        good += len(together.image_scores(0))
        if together.n_images:
            overall = together.compute(breakdown=False).overall
            aurocs += [overall.auc_roc] if overall.auc_roc is not None else []
            spros += [overall.auc_spro[0.05]] if 0.05 in overall.auc_spro else []
    return {
        "found": found,
        "false_alarms": alarms,
        "defective": defective,
        "good": good,
        "image_auroc": float(np.mean(aurocs)) if aurocs else None,
        "auc_spro": float(np.mean(spros)) if spros else None,
    }


def _plus(total: int | None, more: int | None) -> int | None:
    """A sum that is not known once a part of it is not: there is no threshold then."""
    return None if total is None or more is None else total + more


def _named(run: dict[str, Any], bad: tuple[str, ...]) -> dict[str, Any]:
    """Who is named, and how."""
    influence = (run.get("influence") or {}).get("stations", {})
    status = {one["name"]: (one["status"], one["reason"]) for one in run["stations"]}
    return {
        "verdicts": {name: own["verdict"] for name, own in influence.items()},
        "sentences": {
            name: own["sentence"] for name, own in influence.items() if own["verdict"] in VERDICTS
        },
        "refused": {name: why for name, (how, why) in status.items() if how != "used"},
        "notices": [one for one in run["notices"] if any(name in one for name in bad)],
        "influence": influence,
        "flagged": {
            name: many
            for name, own in run["audit"]["stations"].items()
            if (many := sum(map(_flagged, own.values())))
        },
        "held_out": sum(
            counts.get("held_out", 0)
            for own in run["audit"]["stations"].values()
            for counts in own.values()
        ),
    }


def _flagged(counts: dict[str, Any]) -> int:
    """Held-out images of a category that the fence or the audit points at; many are both's."""
    return max(counts.get("beyond_fence", 0), counts.get("suspicious_held_out", 0))

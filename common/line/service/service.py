"""Everything behind the HTTP: judging, writing down, switching models, ending."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

import common
from common.errors import reason
from common.inspection.regions import find_regions
from common.line.journal import Entry, Journal, Review, Verdict
from common.line.models.admission import StationRules
from common.line.models.versions import ModelVersions
from common.line.service.bounds import RETRY, Bounds, NotNow
from common.line.service.events import Events
from common.line.service.exchange import Exchange, NoModel, loader
from common.line.service.intake import Intake, Picture
from common.line.service.judge import Judge, Judged
from common.line.service.metrics import Metrics
from common.line.service.resident import Found, ModelSource, Resident
from common.line.service.tickets import Tickets

INCOMING: Final = "incoming"
_POLL: Final = 0.25
_NEVER: Final = object()
_SERVICE: Final = "service"


class Service:
    """Judges parts by a resident model and puts every verdict into the journal.

    Parameters
    ----------
    source : ModelSource
    journal : Journal
        Closed by `close`.
    bounds : Bounds
    station : str, optional
        Whose own thresholds judge.
    changes : mapping, optional
        For `PatchCore.load`: where this machine has the weights, its device.
    rules : StationRules, optional
        How the station lets a version judge that is made here; without them none can be.

    Raises
    ------
    InputError
        If there is no model that can be loaded.
    """

    def __init__(
        self,
        source: ModelSource,
        journal: Journal,
        bounds: Bounds,
        *,
        station: str | None = None,
        changes: Mapping[str, Any] | None = None,
        rules: StationRules | None = None,
    ) -> None:
        self.source, self.journal, self.bounds, self.station = source, journal, bounds, station
        self.rules = rules
        self.version = str(common.__version__)
        self.intake = Intake(journal.folder / INCOMING, bounds)
        self.events, self.tickets = Events(bounds, journal), Tickets()
        self._places = threading.Semaphore(bounds.places)
        self._taken, self._counting = 0, threading.Lock()
        self.ending = False
        self.started = time.time()
        self.not_loaded: str | None = None
        self._seen: object = source.generation()
        load = loader(station, dict(changes or {}))
        resident = load(source.newest())
        self._note_start(resident)
        self.judge = Judge(resident)
        self._exchange = Exchange(self.judge, bounds, load, self._note_switch)
        self.metrics = Metrics(lambda: self._taken)
        self.metrics.model(resident)
        self._watchman = threading.Thread(target=self._watch_models, name="models", daemon=True)
        self._watchman.start()

    @property
    def resident(self) -> Resident:
        """The model that judges now."""
        return self.judge.resident

    def require_room(self) -> None:
        """Refuse a part before it is read, if there is no place for it.

        Raises
        ------
        NotNow
        """
        if self.ending:
            raise NotNow("the service is ending; send the part again later", RETRY)
        if self._taken >= self.bounds.places:
            raise self._full()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places; `NotNow` if all are taken."""
        if self.ending:
            raise NotNow("the service is ending; send the part again later", RETRY)
        if not self._places.acquire(blocking=False):
            raise self._full()
        with self._counting:
            self._taken += 1
        try:
            yield
        finally:
            with self._counting:
                self._taken -= 1
            self._places.release()

    def judge_upload(
        self, content: bytes, name: str | None, category: str | None, part: str | None
    ) -> Entry:
        """Judge an upload, for which a place is held; its verdict is durable on return.

        Raises
        ------
        InputError
            If the image cannot be read, or the model does not know the category; nothing is in
            the journal then.
        NotNow
            If the service ends first.
        RunError
            If the journal cannot be written.
        """
        began = time.monotonic()
        self.resident.rule(category)  # what nobody can judge is not decoded
        picture = self.intake.decode(content, name)
        judged = self.judge.judge(picture.image, category)
        return self.write_down(picture, judged, part, name, "api", began)

    def write_down(
        self,
        picture: Picture,
        judged: Judged,
        part: str | None,
        name: str | None,
        source: str,
        began: float,
    ) -> Entry:
        """Put a verdict into the journal and tell the listeners."""
        rule, score = judged.rule, judged.prediction.score
        finite = bool(np.isfinite(score))
        regions, anomalous = [], None
        if finite and rule.threshold is not None:
            anomalous = score > rule.threshold
            regions = find_regions(judged.prediction.anomaly_map, rule.threshold)
        verdict = Verdict(
            part=part,
            category=str(rule.category),
            score=score if finite else None,
            threshold=rule.threshold,
            anomalous=anomalous,
            regions=[region.to_json() for region in regions],
            threshold_source=rule.note,
            model_sha256=judged.resident.found.sha256,
            run_id=judged.resident.run_id,
            image_sha256=picture.sha256,
            name=name,
            source=source,
            seconds=time.monotonic() - began,
            program_version=self.version,
            error=None if finite else f"its score is {score}; the model cannot judge it",
        )
        return self.keep(verdict, picture.content)

    def keep(self, verdict: Verdict, content: bytes | None) -> Entry:
        """Write a verdict; it is durable, counted and told when this returns."""
        entry = self.journal.add_verdict(verdict, content)
        self.metrics.judged(verdict)
        self.events.publish()
        return entry

    def unjudged(self, name: str, category: str | None, sha256: str, error: str) -> Entry:
        """Write down that a watched file could not be judged."""
        resident = self.resident
        rule = resident.rule(category)
        return self.keep(
            Verdict(
                part=None,
                category=str(rule.category),
                score=None,
                threshold=rule.threshold,
                anomalous=None,
                regions=[],
                threshold_source=rule.note,
                model_sha256=resident.found.sha256,
                run_id=resident.run_id,
                image_sha256=sha256,
                name=name,
                source="watch",
                seconds=0.0,
                program_version=self.version,
                error=error,
            ),
            None,
        )

    def review(self, id: int, verdict: str, by: str, note: str) -> Review:
        """Write what a person says of a part, and tell the listeners."""
        review = self.journal.add_review(id, verdict, by, note)
        self.events.publish()
        return review

    def status(self) -> dict[str, Any]:
        """What the service is doing; cheap."""
        resident = self.resident
        return {
            "station": self.station,
            "version": self.version,
            "ending": self.ending,
            "seconds_up": round(time.time() - self.started, 1),
            "model": {
                "name": resident.found.name,
                "run_id": resident.run_id,
                "sha256": resident.found.sha256,
                "categories": list(resident.categories),
                "thresholds": {name: resident.rule(name).threshold for name in resident.categories},
            },
            "not_loaded": self.not_loaded,
            "queue": {"taken": self._taken, "places": self.bounds.places},
            "listeners": self.events.listeners,
        }

    def end(self) -> None:
        """Finish the parts in hand and refuse all others; the journal stays open."""
        self.ending = True
        self.events.end()
        self.judge.end()

    def close(self) -> None:
        """End, wait for what is in hand, and close the journal."""
        self.end()
        self.judge.join()
        self._watchman.join()
        for _ in range(self.bounds.places):  # whoever holds a place still writes
            self._places.acquire(timeout=10)
        self.journal.close()

    def _full(self) -> NotNow:
        seconds = max(1, round(self.bounds.places * self.judge.typical_seconds))
        return NotNow(f"{self._taken} parts are waiting; no more are taken", seconds)

    def _watch_models(self) -> None:
        """Take over what becomes active; a model that cannot be loaded leaves the old one."""
        while not self.ending:
            time.sleep(_POLL)
            try:
                generation = self.source.generation()
                if generation == self._seen:
                    continue
                self._seen = generation
                found = self.source.newest()
                if found.sha256 == self.resident.found.sha256 and self.resident.is_loaded:
                    continue
                resident = self._exchange.to(found)
            except Exception as error:
                if isinstance(error, NoModel):
                    self._seen = _NEVER  # parts are answered 503 until one can be loaded
                    time.sleep(_POLL * 4)
                self.not_loaded = f"the new model was not taken over: {reason(error)}"
                self.metrics.failed("model")
                self.events.note("model", {"not_loaded": self.not_loaded})
                continue
            self.not_loaded = None
            self.metrics.model(resident)
            self.events.publish()

    def _note_start(self, resident: Resident) -> None:
        """Write down that another model judges than when the journal was closed."""
        last = self.journal.switches(limit=1)
        if not last or last[0].model_sha256 != resident.found.sha256:
            why = "the service started with this model"
            self.journal.add_switch(resident.found.sha256, resident.run_id, _SERVICE, why)

    def _note_switch(self, new: Resident, old: Resident) -> None:
        if new.found.sha256 == old.found.sha256:
            return  # loaded again
        by, why = self._who(new.found)
        self.journal.add_switch(new.found.sha256, new.run_id, by, why)
        for category in new.categories:
            rule = new.rule(category)
            before = old.rule(category).threshold if category in old.categories else None
            if before != rule.threshold:
                self.journal.add_threshold(
                    category, before, rule.threshold, rule.note[:2000], by, why
                )

    def _who(self, found: Found) -> tuple[str, str]:
        """Who switched, as the models folder says."""
        versions = getattr(self.source, "versions", None)
        switches = versions.switches() if isinstance(versions, ModelVersions) else []
        last: dict[str, Any] = switches[-1] if switches else {}
        if last.get("name") != found.name:
            return _SERVICE, "another version is active"
        return str(last.get("by") or _SERVICE)[:100], str(last.get("why", ""))[:500]


def error_bytes(sentence: str) -> bytes:
    """The body of every refusal."""
    return json.dumps({"error": sentence}).encode()

"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from common.line.journal import Verdict
from common.line.service.resident import Resident

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30)


class Metrics:
    """The service's own counters; labels hold categories that the model knows, and fixed words."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self._parts = Counter(
            "fedpatchcore_parts",
            "Parts in the journal since the start.",
            ("category", "verdict"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "fedpatchcore_part_seconds",
            "From the image to its verdict.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._errors = Counter(
            "fedpatchcore_errors",
            "What was not judged: refused, busy, unreadable, model, internal.",
            ("kind",),
            registry=self._registry,
        )
        self._model = Info("fedpatchcore_model", "The model that judges.", registry=self._registry)
        queue = Gauge(
            "fedpatchcore_queue_length", "Parts that are in the house.", registry=self._registry
        )
        queue.set_function(waiting)

    def judged(self, verdict: Verdict) -> None:
        """Count a part."""
        word = {True: "anomalous", False: "good", None: "none"}[verdict.anomalous]
        self._parts.labels(verdict.category, "error" if verdict.error else word).inc()
        self._seconds.observe(verdict.seconds)

    def failed(self, kind: str) -> None:
        """Count what was not judged."""
        self._errors.labels(kind).inc()

    def model(self, resident: Resident) -> None:
        """Say which model judges."""
        self._model.info(
            {
                "name": resident.found.name,
                "run_id": resident.run_id,
                "sha256": resident.found.sha256,
            }
        )

    def text(self) -> bytes:
        """All of it, in Prometheus' own format."""
        return generate_latest(self._registry)

"""What a server counts, in Prometheus's text format."""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from recbole_ext.recommend.serve.door import COUNTS

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SESSIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The counts of one process; `text` gives those of all workers of its server."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "recbole_ext_requests", "Requests answered", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "recbole_ext_request_seconds",
            "Time from a request's head to its answer",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "recbole_ext_model_seconds", "Time of one call of the model", buckets=SECONDS, registry=registry
        )
        self.batch_sessions = Histogram(
            "recbole_ext_model_sessions",
            "Sessions of one call of the model",
            buckets=SESSIONS,
            registry=registry,
        )
        self.batch_requests = Histogram(
            "recbole_ext_model_requests",
            "Requests of one call of the model",
            buckets=SESSIONS,
            registry=registry,
        )
        self.waiting = Gauge(
            "recbole_ext_waiting_requests",
            "Requests that wait for the model",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.swaps = Counter("recbole_ext_swaps", "Swaps of the model", ["result"], registry=registry)
        self.loaded = Gauge(
            "recbole_ext_model_loaded_timestamp_seconds",
            "When the model was opened; of several workers the oldest one",
            multiprocess_mode="livemin",
            registry=registry,
        )
        for result in ("done", "refused"):
            self.swaps.labels(result)
        self._children: dict[tuple[str, int], Counter] = {}

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        key = path, status
        counter = self._children.get(key)
        if counter is None:
            counter = self._children[key] = self.requests.labels(path, str(status))
        counter.inc()
        self.seconds.labels(path).observe(seconds)

    def asked(self, questions: int, sessions: int, seconds: float, waiting: int) -> None:
        """Count a call of the model."""
        self.waiting.set(waiting)
        self.batch_seconds.observe(seconds)
        self.batch_sessions.observe(sessions)
        self.batch_requests.observe(questions)

    def text(self) -> tuple[bytes, str]:
        """The counts and their content type."""
        if COUNTS not in os.environ:
            return generate_latest(self.registry), CONTENT_TYPE_LATEST
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return generate_latest(registry), CONTENT_TYPE_LATEST

"""Figures for Prometheus: what was done is counted, what is there is looked at when it is asked for.

Loaded only where the settings ask for it. Each process has its own figures, and an address of its own for them.
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.homeserver.storage.pool import Pool
from tricord.homeserver.stream.publisher import Commit, Publisher

_CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
# From what an idle machine takes for a cached answer to what nobody waits for; a sync waits for half a minute.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class GetMetrics(Endpoint):
    """The figures of this process."""

    method = "GET"
    path = "/metrics"
    authentication = Authentication.NONE
    body_kind = "none"
    hot = True


class Metrics:
    """Counts what a process does."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "tricord_request_seconds",
            "What requests took, by endpoint; those that wait for news take as long as that",
            ["method", "endpoint"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._requests = self._counter(
            "tricord_requests", "Requests by endpoint and status", "method", "endpoint", "status"
        )
        self._commits = self._counter("tricord_commits", "Transactions that clients could hear of, of all processes")
        self._events = self._counter("tricord_events", "Events that were written, of all processes")
        # Memory, processor time, open files.
        ProcessCollector(registry=self._registry)

    def observe_request(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._seconds.labels(method, endpoint).observe(seconds)
        self._requests.labels(method, endpoint, str(status)).inc()

    def watch(
        self, publisher: Publisher, pool: Pool, *, connections: Callable[[], int], outboxes: Callable[[], int]
    ) -> None:
        """Count what is committed, and look at the rest whenever somebody asks."""
        publisher.observe(self._note, lambda _position: None)
        self._gauge("tricord_position", "The last position that is published here", lambda: publisher.position)
        self._gauge("tricord_connections", "Connections of clients and other servers", connections)
        self._gauge("tricord_outboxes_waiting", "Other servers for which something waits here", outboxes)
        self._gauge("tricord_database_connections_used", "Connections to the database in use", lambda: pool.in_use)
        self._gauge("tricord_database_connections_idle", "Connections to the database not in use", lambda: pool.idle)
        self._gauge("tricord_database_waiting", "Tasks that wait for a connection", lambda: pool.waiting)

    def routes(self) -> list[Route]:
        """Return the route by which they are asked for."""
        return [Route(GetMetrics, self._answer)]

    async def _answer(self, _call: Call[Any, Any]) -> Answer:
        return Answer(generate_latest(self._registry), headers=((b"content-type", _CONTENT_TYPE),))

    def _note(self, commit: Commit) -> None:
        self._commits.inc()
        if commit.has_events:
            # Each event takes a position.
            self._events.inc(commit.count)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self._registry)

    def _gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        Gauge(name, help_text, registry=self._registry).set_function(read)

"""Prometheus metrics under the community driver's names, so that its dashboards and alerts work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from claimwright.driver.entries import Entry, State
from claimwright.driver.errors import LockTimeout

Operation = Literal["prepare", "unprepare"]
GPU_TYPES = ("gpu", "mig", "vfio")
_UNKNOWN = "unknown"
PREPARE_ERRORS = ("lock_acquire", "prepare_devices", "publish_resources")
UNPREPARE_ERRORS = ("lock_acquire", "unprepare_devices", "publish_resources")
# 0.1 ms, a file, to 26 s, a busy GPU that is waited for.
_STEP_BUCKETS = tuple(0.0001 * 4**power for power in range(10))
_BUCKETS = tuple(0.05 * 2**power for power in range(9))


class Metrics:
    """The series of one driver process.

    All exist from the start with value zero, but those of steps: they begin when a step of their kind is first done.
    """

    def __init__(self, driver: str, node: str, device_types: Sequence[str] = GPU_TYPES) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        operation = ("driver", "operation")
        requests = self._counter("requests", "Requests that succeeded", operation)
        seconds = Histogram(
            "nvidia_dra_request_duration_seconds",
            "Duration of requests that succeeded",
            operation,
            buckets=_BUCKETS,
            registry=self.registry,
        )
        inflight = self._gauge("requests_inflight", "Requests being served", operation)
        devices = self._gauge("prepared_devices", "Prepared devices", ("node", "driver", "device_type"))
        error = ("driver", "error_type")
        self._prepare_errors = self._counter("node_prepare_errors", "Failed prepares", error)
        self._unprepare_errors = self._counter("node_unprepare_errors", "Failed unprepares", error)
        self._driver = driver
        # Children are looked up once: this is on the way of every claim.
        self._of_operation = {
            name: (requests.labels(driver, name), seconds.labels(driver, name), inflight.labels(driver, name))
            for name in ("prepare", "unprepare")
        }
        self._of_kind = {kind: devices.labels(node, driver, kind) for kind in (*device_types, _UNKNOWN)}
        self._create_series()
        self._step_seconds = Histogram(
            "nvidia_dra_step_duration_seconds",
            "Duration of one verb (do, undo, probe, found) of one step, of journal commits and of reads of claims, "
            "failed ones included",
            ("driver", "tool", "verb"),
            buckets=_STEP_BUCKETS,
            registry=self.registry,
        )
        self._of_step: dict[tuple[str, str], Histogram] = {}

    @contextmanager
    def request(self, operation: Operation) -> Iterator[None]:
        """Count and time one claim's request; one that raises is in flight only."""
        requests, seconds, inflight = self._of_operation[operation]
        started = time.perf_counter()
        inflight.inc()
        try:
            yield
        finally:
            inflight.dec()
        requests.inc()
        seconds.observe(time.perf_counter() - started)

    def failed(self, operation: Operation, error: BaseException) -> None:
        """Count one failed claim by what failed."""
        errors = self._prepare_errors if operation == "prepare" else self._unprepare_errors
        kind = "lock_acquire" if isinstance(error, LockTimeout) else f"{operation}_devices"
        errors.labels(self._driver, kind).inc()

    def step(self, tool: str, verb: str, seconds: float) -> None:
        """Observe one verb of one step."""
        series = self._of_step.get((tool, verb))
        if series is None:
            series = self._of_step[tool, verb] = self._step_seconds.labels(self._driver, tool, verb)
        series.observe(seconds)

    def publishing_failed(self) -> None:
        """Count one failed attempt to publish."""
        self._prepare_errors.labels(self._driver, "publish_resources").inc()

    def count_devices(self, entries: Iterable[Entry]) -> None:
        """Set the gauge of prepared devices from all entries."""
        kinds = [held.kind for entry in entries if entry.state is State.PREPARED for held in entry.devices]
        named = [kind if kind in self._of_kind else _UNKNOWN for kind in kinds]
        for kind, gauge in self._of_kind.items():
            gauge.set(named.count(kind))

    def exposition(self) -> bytes:
        """Return the text format that Prometheus scrapes."""
        return prometheus_client.generate_latest(self.registry)

    def _create_series(self) -> None:
        for kind in PREPARE_ERRORS:
            self._prepare_errors.labels(self._driver, kind)
        for kind in UNPREPARE_ERRORS:
            self._unprepare_errors.labels(self._driver, kind)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"nvidia_dra_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(f"nvidia_dra_{name}", text, labels, registry=self.registry)

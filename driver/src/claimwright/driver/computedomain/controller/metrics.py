"""Prometheus metrics of the controller: the community's count of domains, and what is needed to see that it works."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from claimwright.driver.computedomain.resources import NOT_READY, READY

# 0.1 ms, a look that writes nothing, to 26 s, an API server that does not answer.
_BUCKETS = tuple(0.0001 * 4**power for power in range(10))


class ControllerMetrics:
    """The series of one controller; all exist from the start, with value zero."""

    def __init__(self, domains: Callable[[], Iterable[dict[str, Any]]]) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._domains = domains
        self._info = Gauge(
            "nvidia_dra_compute_domain_info", "ComputeDomains by status", ("status",), registry=self.registry
        )
        self.leading = Gauge(
            "nvidia_dra_compute_domain_leading", "1 while this controller leads", registry=self.registry
        )
        self.seconds = Histogram(
            "nvidia_dra_compute_domain_reconcile_duration_seconds",
            "Duration of one look at one domain, failed ones included",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.failures = Counter(
            "nvidia_dra_compute_domain_reconcile_errors",
            "Looks at a domain that failed and are repeated",
            registry=self.registry,
        )

    def exposition(self) -> bytes:
        """Return the text format that Prometheus scrapes."""
        tally = Tally((item.get("status") or {}).get("status") or NOT_READY for item in self._domains())
        for status in (READY, NOT_READY):
            self._info.labels(status).set(tally[status])
        return prometheus_client.generate_latest(self.registry)

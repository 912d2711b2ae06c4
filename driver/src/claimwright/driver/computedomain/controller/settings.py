"""What the controller is told at start: every flag of the community controller, as one value."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path

from claimwright.driver.computedomain.controller.daemon_sets import DaemonPods
from claimwright.driver.computedomain.imex_mode import check_imex
from claimwright.driver.computedomain.resources import HOST_MANAGED
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.logs import Format
from claimwright.driver.settings import parse_endpoint


@dataclass(frozen=True)
class ElectionSettings:
    """The Lease by which one of several controllers leads, and its times in seconds."""

    namespace: str
    name: str
    lease_seconds: float = 15.0
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0

    def check(self) -> None:
        """Refuse times by which two could lead at once; NodeUnusable names the flags."""
        if not 0 < self.retry_seconds < self.renew_seconds < self.lease_seconds:
            raise NodeUnusable(
                "--leader-election-retry-period, -renew-deadline and -lease-duration: "
                f"{self.retry_seconds:g} s, {self.renew_seconds:g} s and {self.lease_seconds:g} s; "
                "expected each to be longer than the one before"
            )


@dataclass(frozen=True)
class ControllerSettings:
    """Settings of `compute-domain-controller`."""

    pod_name: str
    namespace: str
    kubeconfig: Path | None
    image_name: str
    image_pull_policy: str
    image_pull_secrets: tuple[str, ...]
    daemon_verbosity: int
    max_nodes: int
    imex_mode: str
    imex_isolation: str
    http_endpoint: str
    metrics_path: str
    profile_path: str
    additional_namespaces: tuple[str, ...]
    election: ElectionSettings | None
    feature_gates: FeatureGates
    logging_format: Format
    verbosity: int

    @property
    def has_cliques(self) -> bool:
        """Whether daemons tell where they are in ComputeDomainCliques, and not in the status of their domain."""
        return self.feature_gates["ComputeDomainCliques"]

    @property
    def host_managed(self) -> bool:
        """Whether the host runs nvidia-imex, and no daemon is made."""
        return self.imex_mode == HOST_MANAGED

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Where daemons are: the driver's namespace first, then those that it had before."""
        return tuple(dict.fromkeys((self.namespace, *self.additional_namespaces)))

    @property
    def daemon_pods(self) -> DaemonPods:
        """What the daemon pods of all domains have in common."""
        return DaemonPods(
            namespace=self.namespace,
            image=self.image_name,
            image_pull_policy=self.image_pull_policy,
            image_pull_secrets=self.image_pull_secrets,
            verbosity=self.daemon_verbosity,
            logging_format=self.logging_format,
            max_nodes=self.max_nodes,
            feature_gates=self.feature_gates.spelled(),
        )

    def check(self) -> None:
        """Refuse combinations that make no sense; NodeUnusable names the flag."""
        check_imex(self.imex_mode, self.imex_isolation, self.feature_gates)
        if self.max_nodes < 1:
            raise NodeUnusable(f"--max-nodes-per-imex-domain {self.max_nodes}: expected at least 1")
        for flag, path in (("--metrics-path", self.metrics_path), ("--pprof-path", self.profile_path)):
            if path and not path.startswith("/"):
                raise NodeUnusable(f"{flag} {path!r}: expected a path such as /metrics, or nothing")
        if self.http_endpoint and parse_endpoint(self.http_endpoint) is None:
            raise NodeUnusable(
                f"--http-endpoint {self.http_endpoint!r}: expected [host]:port, for example :8080"
            )
        if self.election is not None:
            self.election.check()

    def describe(self) -> str:
        """Return all settings as one JSON object, for the first line of the log."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        known["feature_gates"] = dict(self.feature_gates.values)
        known["election"] = vars(self.election) if self.election else None
        return json.dumps(known, default=str, sort_keys=True)

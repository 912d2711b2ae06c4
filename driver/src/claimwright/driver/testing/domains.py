"""ComputeDomains for tests of the controller: what users, kubelets and daemons would write, on the fake API."""

from __future__ import annotations

from typing import Any

from claimwright.dra.kube import NODES, PODS
from claimwright.dra.testing import FakeApi
from claimwright.driver.computedomain.controller import ControllerSettings
from claimwright.driver.computedomain.resources import (
    CLIQUE,
    CLIQUES,
    COMPUTE_DOMAINS,
    DOMAIN,
    DRIVER_MANAGED,
    Member,
    clique_name,
)
from claimwright.driver.feature_gates import FeatureGates

NAMESPACE = "driver"
FABRIC = "cluster.1"


def controller_settings(**changes: Any) -> ControllerSettings:  # noqa: ANN401  any field
    """Return settings of a controller in NAMESPACE that does not elect."""
    fields: dict[str, Any] = {
        "pod_name": "controller-0",
        "namespace": NAMESPACE,
        "kubeconfig": None,
        "image_name": "driver:1",
        "image_pull_policy": "",
        "image_pull_secrets": (),
        "daemon_verbosity": 0,
        "max_nodes": 18,
        "imex_mode": DRIVER_MANAGED,
        "imex_isolation": "domain",
        "http_endpoint": "",
        "metrics_path": "/metrics",
        "profile_path": "",
        "additional_namespaces": (),
        "election": None,
        "feature_gates": FeatureGates(),
        "logging_format": "text",
        "verbosity": 4,
    }
    return ControllerSettings(**(fields | changes))


def put_domain(
    api: FakeApi, name: str = "a", *, template: str = "channel", nodes: int = 0, mode: str = "Single"
) -> str:
    """Create a domain in namespace `team`, as a user would; return its uid."""
    channel = {"resourceClaimTemplate": {"name": template}, "allocationMode": mode}
    spec = {"numNodes": nodes, "channel": channel}
    made = api.put(COMPUTE_DOMAINS, {"metadata": {"name": name, "namespace": "team"}, "spec": spec})
    return str(made["metadata"]["uid"])


def put_daemon(
    api: FakeApi,
    uid: str,
    node: str,
    *,
    clique: str | None = "",
    ready: bool = True,
    address: str = "10.0.0.1",
) -> None:
    """Label a node, and put the pod there that the daemon set would make; `clique` None has not told yet."""
    labels = {DOMAIN: uid} | ({} if clique is None else {CLIQUE: clique})
    api.put(NODES, {"metadata": {"name": node, "labels": {DOMAIN: uid}}})
    conditions = [{"type": "Ready", "status": str(ready)}]
    api.put(
        PODS,
        {
            "metadata": {"name": f"daemon-{node}", "namespace": NAMESPACE, "labels": labels},
            "spec": {"nodeName": node},
            "status": {"phase": "Running", "podIP": address, "conditions": conditions},
        },
    )


def put_rows(api: FakeApi, uid: str, *nodes: str, clique: str = FABRIC, ready: bool = True) -> None:
    """Write a clique whose rows are `nodes`, as their daemons would."""
    rows = [Member(node, "10.0.0.1", clique, index, ready) for index, node in enumerate(nodes)]
    api.put(
        CLIQUES,
        {
            "metadata": {
                "name": clique_name(uid, clique),
                "namespace": NAMESPACE,
                "labels": {DOMAIN: uid, CLIQUE: clique},
            },
            "daemons": [row.row(named="nodeName") for row in rows],
        },
    )

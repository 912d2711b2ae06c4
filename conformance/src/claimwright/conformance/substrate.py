"""The few cluster objects that a run needs: a namespace for its claims and a node for each driver.

All carry the run's label, by which `claimwright conformance cleanup` finds them after a kill.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from claimwright.conformance.evidence.bundle import Run
from claimwright.conformance.ledger import Ledger
from claimwright.dra.kube import NAMESPACES, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES, Kube, NotFound

RUN_LABEL: Final = "claimwright.dev/run"


def make_namespace(kube: Kube, run: Run, ledger: Ledger) -> str:
    """Create the namespace of this run and worker."""
    labels = run.labels("namespace") | {"resource.kubernetes.io/admin-access": "true"}
    kube.create(NAMESPACES, {"metadata": {"name": run.name, "labels": labels}})
    ledger.owe(f"namespace {run.name}", lambda: kube.delete(NAMESPACES, run.name))
    return run.name


def make_node(kube: Kube, run: Run, name: str) -> None:
    """Create a Node object for a driver; no pod is ever sent there."""
    taint = {"key": RUN_LABEL, "value": run.id, "effect": "NoSchedule"}
    body = {"metadata": {"name": name, "labels": run.labels("node")}, "spec": {"taints": [taint]}}
    kube.create(NODES, body)


def delete_node(kube: Kube, name: str) -> None:
    """Delete a node and the slices on it, as the garbage collector and the kubelet would."""
    with suppress(NotFound):
        kube.delete(NODES, name)
    kube.delete_collection(RESOURCE_SLICES, field_selector=f"spec.nodeName={name}")


def sweep(kube: Kube, run_id: str) -> list[str]:
    """Delete everything that carries the label of a run; returns what was found."""
    selector = f"{RUN_LABEL}={run_id}"
    found: list[str] = []
    for node in kube.list(NODES, label_selector=selector)["items"]:
        found.append(f"node {node['metadata']['name']}")
        delete_node(kube, node["metadata"]["name"])
    for claim in kube.list(RESOURCE_CLAIMS, label_selector=selector)["items"]:
        found.append(f"claim {claim['metadata']['namespace']}/{claim['metadata']['name']}")
        with suppress(NotFound):
            kube.delete(RESOURCE_CLAIMS, claim["metadata"]["name"], namespace=claim["metadata"]["namespace"])
    for namespace in kube.list(NAMESPACES, label_selector=selector)["items"]:
        found.append(f"namespace {namespace['metadata']['name']}")
        with suppress(NotFound):
            kube.delete(NAMESPACES, namespace["metadata"]["name"])
    return found

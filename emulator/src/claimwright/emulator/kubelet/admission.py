"""Whether a node takes a pod at all: the kubelet's admission for what an emulated node has.

Checked: number of pods, cpu, memory and extended resources against allocatable, and `nodeSelector`. DRA has
no admission of its own; its errors show at prepare time (as on a kubelet).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from claimwright.dra.quantities import parse_quantity
from claimwright.emulator.kubelet.errors import PodRejected
from claimwright.emulator.kubelet.node_objects import DEFAULT_CAPACITY, StandInNode, node_labels
from claimwright.emulator.kubelet.pods import ContainerKind, Pod


def admit(node: StandInNode, pod: Pod, others: Iterable[Pod]) -> None:
    """Take the pod beside the `others` on the node, or raise `PodRejected` with the kubelet's reason."""
    _match_selector(node, pod)
    present = list(others)
    capacity = {**DEFAULT_CAPACITY, **node.capacity}
    if len(present) + 1 > int(capacity["pods"]):
        raise PodRejected(
            "OutOfpods", f"Node didn't have enough resource: pods, capacity: {capacity['pods']}"
        )
    wanted = pod_requests(pod)
    used = _sum(pod_requests(other) for other in present)
    for resource, amount in wanted.items():
        _fit(resource, amount, used.get(resource, Decimal(0)), capacity)


def pod_requests(pod: Pod) -> Mapping[str, Decimal]:
    """Return what a pod needs: its long-running containers together, or its largest init container."""
    running = [c for c in pod.containers if c.kind is not ContainerKind.INIT]
    total = _sum(_parsed(container.requests) for container in running)
    for container in pod.containers:
        if container.kind is ContainerKind.INIT:
            for resource, amount in _parsed(container.requests).items():
                total[resource] = max(total.get(resource, Decimal(0)), amount)
    return total


def _match_selector(node: StandInNode, pod: Pod) -> None:
    labels = node_labels(node)
    wanted: Mapping[str, str] = pod.raw.get("spec", {}).get("nodeSelector") or {}
    for key, value in wanted.items():
        if labels.get(key) != value:
            raise PodRejected(
                "NodeAffinity", f"node {node.name} has {key}={labels.get(key)}, pod wants {value}"
            )


def _fit(resource: str, amount: Decimal, used: Decimal, capacity: Mapping[str, str]) -> None:
    # An extended resource that the node does not list may be backed by DRA: its claim is what counts.
    if resource not in capacity or not amount:
        return
    limit = parse_quantity(capacity[resource])
    if used + amount > limit:
        detail = f"requested: {amount}, used: {used}, capacity: {limit}"
        raise PodRejected(f"OutOf{resource}", f"Node didn't have enough resource: {resource}, {detail}")


def _parsed(requests: Mapping[str, str]) -> dict[str, Decimal]:
    return {resource: parse_quantity(str(amount)) for resource, amount in requests.items()}


def _sum(all_requests: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for requests in all_requests:
        for resource, amount in requests.items():
            total[resource] = total.get(resource, Decimal(0)) + amount
    return total

"""What a container sees after CDI has been merged into it, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claimwright.dra.cdi import CdiError, ContainerEdits, DeviceNode, Hook, Mount, load_specs
from claimwright.emulator.kubelet.claim_state import ClaimState
from claimwright.emulator.kubelet.errors import InjectionFailed
from claimwright.emulator.kubelet.node_objects import StandInNode
from claimwright.emulator.kubelet.pods import ContainerSpec, JsonObject, Pod, PodReference


@dataclass(frozen=True)
class ContainerView:
    """Environment, mounts, device nodes and hooks of one started container.

    `host_root` is what host paths in mounts and device nodes are relative to; "/" for real paths.
    """

    pod: PodReference
    container: str
    cdi_ids: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    device_nodes: tuple[DeviceNode, ...]
    hooks: tuple[Hook, ...]
    host_root: Path

    @property
    def devices(self) -> tuple[str, ...]:
        """The paths of the device nodes in the container, sorted: what isolation is judged by."""
        return tuple(sorted({node.path for node in self.device_nodes}))

    def on_host(self, path: str) -> Path:
        """Return where a host path of this view is found."""
        return self.host_root / path.lstrip("/")


def container_cdi_ids(
    pod: Pod, container: ContainerSpec, claims: Mapping[str, ClaimState]
) -> tuple[str, ...]:
    """Return a container's CDI ids in the kubelet's order: pod claims first, extended resources last.

    `claims` maps pod claim names to their state, "" to the extended-resource claim. Duplicates stay out:
    CDI applies a device once.
    """
    ids: list[str] = []
    for claim in pod.claims:
        state = claims.get(claim.name)
        for use in container.claims:
            if state and use.claim == claim.name:
                ids += state.cdi_ids(use.request)
    extended = claims.get("")
    if pod.extended_claim and extended:
        for mapping in pod.extended_claim.mappings:
            if mapping.container == container.name and container.requests.get(mapping.resource, "0") != "0":
                ids += extended.cdi_ids(mapping.request)
    return tuple(dict.fromkeys(ids))


def compose_view(
    node: StandInNode, pod: Pod, container: ContainerSpec, claims: Mapping[str, ClaimState], *, pod_ip: str
) -> ContainerView:
    """Resolve the container's CDI devices on this node; raises `InjectionFailed` as a runtime would fail."""
    ids = container_cdi_ids(pod, container, claims)
    try:
        edits = load_specs(node.cdi_dirs).resolve(ids) if ids else ContainerEdits()
    except CdiError as error:
        raise InjectionFailed(f"failed to inject devices via CDI: {error}") from error
    view = ContainerView(
        pod=pod.reference,
        container=container.name,
        cdi_ids=ids,
        environment={**_declared(pod, container, pod_ip), **dict(_assignment(entry) for entry in edits.env)},
        mounts=edits.mounts,
        device_nodes=edits.device_nodes,
        hooks=edits.hooks,
        host_root=node.host_root,
    )
    _check_sources(view)
    return view


def _check_sources(view: ContainerView) -> None:
    """Miss what a runtime would miss: nodes without given numbers are looked up, mounts need a source."""
    for node in view.device_nodes:
        host = view.on_host(node.host_path or node.path)
        if (node.type is None or node.major is None) and not host.exists():
            raise InjectionFailed(f"failed to stat CDI host device {str(host)!r}: no such file or directory")
    for mount in view.mounts:
        host = view.on_host(mount.host_path)
        if mount.type in (None, "bind") and not host.exists():
            raise InjectionFailed(
                f"error mounting {str(host)!r} to {mount.container_path!r}: no such file or directory"
            )


def _declared(pod: Pod, container: ContainerSpec, pod_ip: str) -> dict[str, str]:
    """Return the environment of the pod's spec: plain values and the downward API's fields."""
    fields = {
        "metadata.name": pod.reference.name,
        "metadata.namespace": pod.reference.namespace,
        "metadata.uid": pod.reference.uid,
        "spec.nodeName": pod.node_name,
        "status.podIP": pod_ip,
    }
    found: dict[str, str] = {}
    for entry in container.environment:
        value = _value(entry, fields)
        if value is not None:
            found[entry["name"]] = value
    return found


def _value(entry: JsonObject, fields: Mapping[str, str]) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value", ""))
    # Config maps and secrets are not read: nothing that runs here needs them.
    return fields.get((source.get("fieldRef") or {}).get("fieldPath", ""))


def _assignment(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value

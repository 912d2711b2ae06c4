"""What the stand-in reads of a Pod object, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

from claimwright.emulator.kubelet.clock import parse_timestamp

PodUid = NewType("PodUid", str)
JsonObject = dict[str, Any]

TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, order=True)
class PodReference:
    """Which pod, in a way that survives deletion and re-creation under the same name."""

    namespace: str
    name: str
    uid: PodUid

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class ContainerKind(StrEnum):
    """When a container runs in the life of its pod."""

    INIT = "init"
    SIDECAR = "sidecar"  # an init container with restartPolicy Always: started in order, runs to the end
    REGULAR = "regular"


@dataclass(frozen=True)
class ClaimUse:
    """One entry of `container.resources.claims`; no request means all devices of the claim."""

    claim: str
    request: str | None = None


@dataclass(frozen=True)
class ContainerSpec:
    """The parts of a container that matter to a node without a container runtime."""

    name: str
    kind: ContainerKind
    image: str = ""
    claims: tuple[ClaimUse, ...] = ()
    requests: Mapping[str, str] = field(default_factory=dict)
    environment: tuple[JsonObject, ...] = ()


@dataclass(frozen=True)
class PodClaim:
    """One entry of `pod.spec.resourceClaims`: a claim by name or by template."""

    name: str
    claim_name: str | None = None
    template_name: str | None = None


@dataclass(frozen=True)
class RequestMapping:
    """Which request of the extended-resource claim a container's resource stands for."""

    container: str
    resource: str
    request: str


@dataclass(frozen=True)
class ExtendedClaim:
    """`pod.status.extendedResourceClaimStatus`, written by the scheduler."""

    claim_name: str
    mappings: tuple[RequestMapping, ...]


@dataclass(frozen=True)
class Pod:
    """A pod bound to a node of ours; `raw` is the object it was read from."""

    reference: PodReference
    node_name: str
    containers: tuple[ContainerSpec, ...]
    restart_policy: str
    claims: tuple[PodClaim, ...]
    claim_names: Mapping[str, str | None]
    extended_claim: ExtendedClaim | None
    annotations: Mapping[str, str]
    phase: str
    deleted_at: datetime | None
    grace_seconds: float
    raw: JsonObject = field(repr=False, compare=False)

    @property
    def deleting(self) -> bool:
        """Whether the API object carries a deletion timestamp."""
        return self.deleted_at is not None

    @property
    def terminal(self) -> bool:
        """Whether the API object already says Succeeded or Failed."""
        return self.phase in TERMINAL_PHASES

    @classmethod
    def from_object(cls, pod: JsonObject) -> Pod:
        """Read a Pod object as the API server serves it."""
        metadata, spec, status = pod["metadata"], pod.get("spec", {}), pod.get("status", {})
        return cls(
            reference=PodReference(metadata["namespace"], metadata["name"], PodUid(metadata["uid"])),
            node_name=spec.get("nodeName", ""),
            containers=_containers(spec),
            restart_policy=spec.get("restartPolicy", "Always"),
            claims=tuple(_claim(entry) for entry in spec.get("resourceClaims") or ()),
            claim_names={
                entry["name"]: entry.get("resourceClaimName")
                for entry in status.get("resourceClaimStatuses") or ()
            },
            extended_claim=_extended(status.get("extendedResourceClaimStatus")),
            annotations=metadata.get("annotations") or {},
            phase=status.get("phase", "Pending"),
            deleted_at=_moment(metadata.get("deletionTimestamp")),
            grace_seconds=_grace(metadata, spec),
            raw=pod,
        )


def _containers(spec: JsonObject) -> tuple[ContainerSpec, ...]:
    first = tuple(_container(entry, _init_kind(entry)) for entry in spec.get("initContainers") or ())
    return first + tuple(_container(entry, ContainerKind.REGULAR) for entry in spec.get("containers") or ())


def _init_kind(container: JsonObject) -> ContainerKind:
    return ContainerKind.SIDECAR if container.get("restartPolicy") == "Always" else ContainerKind.INIT


def _container(container: JsonObject, kind: ContainerKind) -> ContainerSpec:
    resources = container.get("resources") or {}
    return ContainerSpec(
        name=container["name"],
        kind=kind,
        image=container.get("image", ""),
        claims=tuple(
            ClaimUse(use["name"], use.get("request") or None) for use in resources.get("claims") or ()
        ),
        requests=dict(resources.get("requests") or {}),
        environment=tuple(container.get("env") or ()),
    )


def _claim(entry: JsonObject) -> PodClaim:
    return PodClaim(entry["name"], entry.get("resourceClaimName"), entry.get("resourceClaimTemplateName"))


def _extended(status: JsonObject | None) -> ExtendedClaim | None:
    if not status:
        return None
    mappings = tuple(
        RequestMapping(entry["containerName"], entry["resourceName"], entry["requestName"])
        for entry in status.get("requestMappings") or ()
    )
    return ExtendedClaim(status["resourceClaimName"], mappings)


def _moment(text: str | None) -> datetime | None:
    return parse_timestamp(text) if text else None


def _grace(metadata: JsonObject, spec: JsonObject) -> float:
    # The delete call's own grace period, once there is one, overrides the one of the spec.
    grace = metadata.get("deletionGracePeriodSeconds")
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds", 30)
    return float(grace)

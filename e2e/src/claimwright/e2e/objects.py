"""What scenarios read of pods and claims, as values; made from API objects at the door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod: identity, phase, readiness, and its claims by the name in its spec → the ResourceClaim's name."""

    name: str
    uid: str
    phase: str
    ready: bool
    claims: Mapping[str, str]
    unschedulable: str | None
    conditions: tuple[str, ...]

    @classmethod
    def from_object(cls, pod: JsonObject) -> Pod:
        """Read an API object."""
        status = pod.get("status", {})
        conditions = status.get("conditions", ())
        scheduled: JsonObject = next((c for c in conditions if c["type"] == "PodScheduled"), {})
        generated = {s["name"]: s.get("resourceClaimName") for s in status.get("resourceClaimStatuses", ())}
        return cls(
            name=pod["metadata"]["name"],
            uid=pod["metadata"]["uid"],
            phase=status.get("phase", "Pending"),
            ready=all(container["ready"] for container in status.get("containerStatuses", ())),
            claims={
                entry["name"]: name
                for entry in pod["spec"].get("resourceClaims", ())
                if (name := entry.get("resourceClaimName") or generated.get(entry["name"]))
            },
            unschedulable=scheduled.get("message") if scheduled.get("reason") == "Unschedulable" else None,
            conditions=tuple(f"{c['type']}={c['status']} {c.get('reason', '')}" for c in conditions),
        )


@dataclass(frozen=True)
class Claim:
    """A resource claim: identity, owners' uids, and its allocated devices as (pool, device); None: unallocated."""

    name: str
    uid: str
    owners: tuple[str, ...]
    devices: tuple[tuple[str, str], ...] | None

    @classmethod
    def from_object(cls, claim: JsonObject) -> Claim:
        """Read an API object."""
        allocation = claim.get("status", {}).get("allocation")
        return cls(
            name=claim["metadata"]["name"],
            uid=claim["metadata"]["uid"],
            owners=tuple(owner["uid"] for owner in claim["metadata"].get("ownerReferences", ())),
            devices=None
            if allocation is None
            else tuple((result["pool"], result["device"]) for result in allocation["devices"]["results"]),
        )

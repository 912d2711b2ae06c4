"""ResourceClaims as the suite writes them, allocations included: the part of the scheduler.

Field names as in resource.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from claimwright.conformance.published import PublishedDevice


@dataclass(frozen=True, slots=True)
class Config:
    """Opaque parameters for a driver, as they stand in `status.allocation.devices.config`."""

    driver: str
    parameters: Mapping[str, Any] = field(hash=False)
    source: Literal["FromClass", "FromClaim"] = "FromClaim"
    requests: tuple[str, ...] = ()

    def as_object(self) -> dict[str, Any]:
        """Return the API's form."""
        opaque = {"driver": self.driver, "parameters": dict(self.parameters)}
        requests = {"requests": list(self.requests)} if self.requests else {}
        return {"source": self.source, "opaque": opaque, **requests}


def claim_body(
    name: str,
    namespace: str,
    driver: str,
    requests: Mapping[str, Sequence[PublishedDevice]],
    labels: Mapping[str, str],
) -> dict[str, Any]:
    """Return a claim with one request per entry; `gpu/big` becomes sub-request `big` of `gpu`."""
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {"devices": {"requests": [_request(one, len(has), driver) for one, has in requests.items()]}},
    }


def with_admin_access(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claim with adminAccess on each request (its namespace needs the label that allows it)."""
    requests = [
        {**one, "exactly": {**one["exactly"], "adminAccess": True}}
        for one in body["spec"]["devices"]["requests"]
    ]
    return {**body, "spec": {"devices": {"requests": requests}}}


def _request(name: str, wanted: int, class_name: str) -> dict[str, Any]:
    exactly = {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": max(1, wanted)}
    base, _, sub = name.partition("/")
    return (
        {"name": base, "firstAvailable": [{"name": sub, **exactly}]}
        if sub
        else {"name": base, "exactly": exactly}
    )


def allocation(
    driver: str,
    node: str,
    requests: Mapping[str, Sequence[PublishedDevice]],
    configs: Sequence[Config],
    more_results: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what a scheduler writes into `status.allocation` for devices of one node."""
    results = [
        result(driver, request, one.pool, one.name) for request, has in requests.items() for one in has
    ]
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    devices = {
        "results": [*results, *map(dict, more_results)],
        "config": [one.as_object() for one in configs],
    }
    return {"devices": devices, "nodeSelector": {"nodeSelectorTerms": terms}}


def result(driver: str, request: str, pool: str, device: str) -> dict[str, Any]:
    """Return one allocation result."""
    return {"request": request, "driver": driver, "pool": pool, "device": device}

"""Which claims a pod uses and whether it may use them: the kubelet's checks before it touches any state.

Source: pkg/kubelet/cm/dra/manager.go (prepareResources) and k8s.io/dynamic-resource-allocation/resourceclaim.
The messages are the kubelet's, because tools and people search events for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from claimwright.dra.claims import Claim, ClaimError, ClaimReference, DriverName
from claimwright.emulator.kubelet.errors import ClaimNotReady
from claimwright.emulator.kubelet.pods import JsonObject, Pod, PodClaim

PREPARE, UNPREPARE, ALL = "NodePrepareResources", "NodeUnprepareResources", "*"


@dataclass(frozen=True)
class NeededClaim:
    """A claim that the pod needs by name; `pod_claim` is "" for the extended-resource claim."""

    pod_claim: str
    name: str
    check_owner: bool


@dataclass(frozen=True)
class DriverUse:
    """A driver with at least one device in the claim, and whether its node calls are to be skipped."""

    driver: DriverName
    skip_prepare: bool = False
    skip_unprepare: bool = False


@dataclass(frozen=True)
class UsableClaim:
    """A claim that passed every check: it is allocated and this pod may use it."""

    reference: ClaimReference
    drivers: tuple[DriverUse, ...]


def needed_claims(pod: Pod) -> tuple[NeededClaim, ...]:
    """Return the claims of the pod in the order of its spec, those that no container uses included.

    A template whose claim is not made yet raises `ClaimNotReady`; one that needs no claim is left out.
    """
    needed = [found for claim in pod.claims if (found := _needed(pod, claim))]
    if pod.extended_claim:
        needed.append(NeededClaim("", pod.extended_claim.claim_name, check_owner=False))
    return tuple(needed)


def _needed(pod: Pod, claim: PodClaim) -> NeededClaim | None:
    if claim.claim_name:
        return NeededClaim(claim.name, claim.claim_name, check_owner=False)
    if claim.name not in pod.claim_names:
        raise ClaimNotReady(f'pod "{pod.reference}": ResourceClaim not created yet')
    name = pod.claim_names[claim.name]
    return NeededClaim(claim.name, name, check_owner=True) if name else None


def check_claim(pod: Pod, needed: NeededClaim, claim: JsonObject) -> UsableClaim:
    """Check that this pod may use the claim object now; raises `ClaimNotReady` in the kubelet's words."""
    if needed.check_owner and not _owned(pod, claim):
        message = (
            f"ResourceClaim {pod.reference.namespace}/{needed.name} was not created for pod {pod.reference}"
        )
        raise ClaimNotReady(f"{message} (pod is not owner)")
    if not _reserved(pod, claim):
        uid = claim["metadata"]["uid"]
        pod_name = f"pod {pod.reference.name} ({pod.reference.uid})"
        raise ClaimNotReady(f"{pod_name} is not allowed to use ResourceClaim {needed.name} ({uid})")
    try:
        allocated = Claim.from_object(claim)
    except ClaimError as error:
        raise ClaimNotReady(f"ResourceClaim {needed.name}: {error}") from error
    return UsableClaim(allocated.reference, _drivers(allocated))


def _owned(pod: Pod, claim: JsonObject) -> bool:
    owners: Sequence[JsonObject] = claim["metadata"].get("ownerReferences") or ()
    controller = next((owner for owner in owners if owner.get("controller")), None)
    if controller is None:
        return False
    group = _pod_group(pod)
    in_group = controller.get("kind") == "PodGroup" and group is not None and controller.get("name") == group
    return in_group or controller.get("uid") == pod.reference.uid


def _reserved(pod: Pod, claim: JsonObject) -> bool:
    consumers: Sequence[JsonObject] = claim.get("status", {}).get("reservedFor") or ()
    return any(_is_pod(pod, consumer) or _is_group(pod, consumer) for consumer in consumers)


def _is_pod(pod: Pod, consumer: JsonObject) -> bool:
    return consumer.get("resource") == "pods" and consumer.get("uid") == pod.reference.uid


def _is_group(pod: Pod, consumer: JsonObject) -> bool:
    # Workload claims (KEP-5729, alpha): the group reserves, its pods use.
    return consumer.get("resource") == "podgroups" and consumer.get("name") == _pod_group(pod) is not None


def _pod_group(pod: Pod) -> str | None:
    group: Mapping[str, Any] = pod.raw.get("spec", {}).get("schedulingGroup") or {}
    return group.get("podGroupName")


def _drivers(claim: Claim) -> tuple[DriverUse, ...]:
    """Group the results by driver; an operation is skipped only when every result of the driver says so."""
    raw = claim.raw["status"]["allocation"]["devices"]["results"]
    skips: dict[DriverName, list[set[str]]] = {}
    for result, entry in zip(claim.results, raw, strict=True):
        skips.setdefault(result.driver, []).append(set(entry.get("skipNodeOperations") or ()))
    return tuple(_use(driver, entries) for driver, entries in sorted(skips.items()))


def _use(driver: DriverName, entries: Sequence[set[str]]) -> DriverUse:
    skip_unprepare = all(entry & {UNPREPARE, ALL} for entry in entries)
    skip_prepare = skip_unprepare and all(entry & {PREPARE, ALL} for entry in entries)
    return DriverUse(driver, skip_prepare=skip_prepare, skip_unprepare=skip_unprepare)

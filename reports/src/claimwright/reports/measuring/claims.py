"""Claims that are allocated by hand, as the scheduler writes them: the kubelet's side needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from claimwright.dra.claims import ClaimReference, ClaimUid
from claimwright.dra.kube import RESOURCE_CLAIMS, Kube
from claimwright.reports.measuring.progress import Progress
from claimwright.reports.measuring.slices import PublishedDevice
from claimwright.reports.measuring.stage import LABEL

_WRITERS = 4
_REQUEST = "device"


@dataclass(frozen=True, slots=True)
class AllocatedClaim:
    """A claim in the API with the one device that its status gives it."""

    reference: ClaimReference
    device: PublishedDevice


def make_claims(
    kube: Kube,
    namespace: str,
    run: str,
    *,
    count: int,
    driver: str,
    devices: Sequence[PublishedDevice],
    progress: Progress,
) -> list[AllocatedClaim]:
    """Create `count` claims, each with its own uid, over the devices in turn.

    Several claims name one device: the API does not refuse that, and they are never prepared at the same
    time. `reservedFor` stays empty, for else the claim controller would find no such pod and take the
    allocation back.
    """
    made: list[AllocatedClaim] = []

    def make(index: int) -> AllocatedClaim:
        metadata = {"name": f"cycle-{index:06d}", "namespace": namespace, "labels": {LABEL: run}}
        return _make(kube, metadata, driver, devices[index % len(devices)])

    with ThreadPoolExecutor(_WRITERS) as writers:
        try:
            for claim in writers.map(make, range(count)):
                made.append(claim)
                progress.tick(f"{len(made)} of {count} allocated claims made")
        except BaseException:
            writers.shutdown(cancel_futures=True)
            raise
    return made


def _make(kube: Kube, metadata: Mapping[str, Any], driver: str, device: PublishedDevice) -> AllocatedClaim:
    request = {"deviceClassName": driver, "allocationMode": "ExactCount", "count": 1}
    claim = kube.create(
        RESOURCE_CLAIMS,
        {
            "metadata": metadata,
            "spec": {"devices": {"requests": [{"name": _REQUEST, "exactly": request}]}},
        },
    )
    result = {"request": _REQUEST, "driver": driver, "pool": device.pool, "device": device.name}
    kube.replace_status(
        RESOURCE_CLAIMS, {**claim, "status": {"allocation": {"devices": {"results": [result]}}}}
    )
    reference = ClaimReference(metadata["namespace"], metadata["name"], ClaimUid(claim["metadata"]["uid"]))
    return AllocatedClaim(reference, device)

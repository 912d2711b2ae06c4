"""Claims as the scheduler leaves them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from claimwright.dra.testing.objects import Object


def allocated_claim(
    name: str,
    driver: str,
    devices: Sequence[tuple[str, str, str]],
    *,
    namespace: str = "default",
    uid: str | None = None,
    configs: Sequence[Mapping[str, Any]] = (),
    pod_claim_name: str | None = None,
) -> Object:
    """Give a ResourceClaim object to which (request, pool, device) are allocated."""
    annotations = {"resource.kubernetes.io/pod-claim-name": pod_claim_name} if pod_claim_name else {}
    results = [
        {"request": request, "driver": driver, "pool": pool, "device": device}
        for request, pool, device in devices
    ]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or str(uuid.uuid4()),
            "annotations": annotations,
        },
        "spec": {"devices": {"requests": [{"name": request} for request, _, _ in devices]}},
        "status": {"allocation": {"devices": {"results": results, "config": list(configs)}}},
    }

"""Event objects, in the shape that a kubelet's recorder writes them (core/v1)."""

from __future__ import annotations

import secrets
from datetime import datetime

from claimwright.emulator.kubelet.clock import timestamp
from claimwright.emulator.kubelet.pods import JsonObject, Pod

COMPONENT = "kubelet"
FAILED_PREPARE = "FailedPrepareDynamicResources"


def pod_event(pod: Pod, *, reason: str, message: str, warning: bool, now: datetime) -> JsonObject:
    """Build an event about a pod; messages over the API's 1,024 bytes are cut."""
    moment = timestamp(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{pod.reference.name}.{secrets.token_hex(8)}",
            "namespace": pod.reference.namespace,
        },
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": pod.reference.namespace,
            "name": pod.reference.name,
            "uid": pod.reference.uid,
        },
        "reason": reason,
        "message": message.encode()[:1024].decode(errors="ignore"),
        "type": "Warning" if warning else "Normal",
        "source": {"component": COMPONENT, "host": pod.node_name},
        "reportingComponent": COMPONENT,
        "reportingInstance": pod.node_name,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }

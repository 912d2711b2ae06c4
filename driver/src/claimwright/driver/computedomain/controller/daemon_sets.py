"""The daemon set of a domain: its pods run on each node that carries the domain's label, and keep nvidia-imex there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from claimwright.driver.computedomain.controller.claim_templates import owned_metadata
from claimwright.driver.computedomain.resources import DAEMON_ACCOUNT, DOMAIN, ComputeDomain, daemon_name

Object = dict[str, Any]
NAME: Final = "compute-domain-daemon"
# What the daemon set was made from; one without it is the community driver's and stays as it is.
RENDERED: Final = "claimwright.dev/rendered"
_COMMAND: Final = ("claimwright", "driver", NAME)


@dataclass(frozen=True)
class DaemonPods:
    """What the daemon pods of all domains have in common."""

    namespace: str
    image: str
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    verbosity: int = 0
    logging_format: str = "text"
    max_nodes: int = 18
    feature_gates: str = ""


def daemon_set(domain: ComputeDomain, pods: DaemonPods) -> Object:
    """Return the daemon set of `domain`, marked with what it was made from."""
    spec = {
        "selector": {"matchLabels": {DOMAIN: domain.uid}},
        # A new image must not end the daemons of running workloads, whose memory is mapped through them: pods that
        # start later take it.
        "updateStrategy": {"type": "OnDelete"},
        "template": {"metadata": {"labels": {DOMAIN: domain.uid}}, "spec": _pod(domain, pods)},
    }
    metadata = owned_metadata(daemon_name(domain.uid), pods.namespace, domain.uid)
    return {"metadata": {**metadata, "annotations": {RENDERED: _digest(spec)}}, "spec": spec}


def is_outdated(stored: Object, wanted: Object) -> bool:
    """Tell whether `stored` was made by this driver from something else than `wanted`."""
    known = _rendered(stored)
    return known is not None and known != _rendered(wanted)


def _rendered(item: Object) -> str | None:
    found = (item["metadata"].get("annotations") or {}).get(RENDERED)
    return None if found is None else str(found)


def _digest(spec: Object) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def _pod(domain: ComputeDomain, pods: DaemonPods) -> Object:
    return {
        "serviceAccountName": DAEMON_ACCOUNT,
        # Under pressure the node must not evict what the memory of a running workload is mapped through.
        "priorityClassName": "system-node-critical",
        "nodeSelector": {DOMAIN: domain.uid},
        # It follows the workload, whatever that tolerates.
        "tolerations": [{"operator": "Exists"}],
        "imagePullSecrets": [{"name": name} for name in pods.image_pull_secrets],
        "resourceClaims": [{"name": NAME, "resourceClaimTemplateName": daemon_name(domain.uid)}],
        "containers": [_container(pods)],
    }


def _container(pods: DaemonPods) -> Object:
    return {
        "name": NAME,
        "image": pods.image,
        **({"imagePullPolicy": pods.image_pull_policy} if pods.image_pull_policy else {}),
        "command": [*_COMMAND, "run"],
        "env": _environment(pods),
        # Folder, device nodes and the domain's identity come with the claim.
        "resources": {"claims": [{"name": NAME}]},
        "startupProbe": _check(period=1, failures=1200),
        "readinessProbe": _check(period=10, failures=1),
        "livenessProbe": _check(period=60, failures=20),
    }


def _environment(pods: DaemonPods) -> list[Object]:
    fixed = {
        "MAX_NODES_PER_IMEX_DOMAIN": str(pods.max_nodes),
        "FEATURE_GATES": pods.feature_gates,
        "LOGGING_FORMAT": pods.logging_format,
        "V": str(pods.verbosity),
        # No GPU but what the claim brings, whatever the container runtime would add.
        "NVIDIA_VISIBLE_DEVICES": "void",
    }
    fields = {
        "NODE_NAME": "spec.nodeName",
        "POD_IP": "status.podIP",
        "POD_UID": "metadata.uid",
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
    }
    return [
        *({"name": name, "value": value} for name, value in fixed.items()),
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
    ]


def _check(*, period: int, failures: int) -> Object:
    return {
        "exec": {"command": [*_COMMAND, "check"]},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 10,
    }

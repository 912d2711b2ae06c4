"""The claim templates of a domain: one for pods that work in it, one for the daemons that carry it."""

from __future__ import annotations

from typing import Any

from claimwright.driver.computedomain.resources import (
    CHANNEL_CLASS,
    COMPUTE_DOMAIN_DRIVER,
    DAEMON_CLASS,
    DOMAIN,
    GROUP,
    TARGET,
    TARGET_DAEMON,
    TARGET_WORKLOAD,
    VERSION,
    ComputeDomain,
    daemon_name,
)

Object = dict[str, Any]


def workload_template(domain: ComputeDomain, *, all_channels: bool) -> Object:
    """Return the template that the domain names, for pods in its namespace."""
    mode = "All" if all_channels else "Single"
    config = _config("channel", "ComputeDomainChannelConfig", domainID=domain.uid, allocationMode=mode)
    metadata = owned_metadata(domain.template, domain.namespace, domain.uid, target=TARGET_WORKLOAD)
    return _template(metadata, "channel", CHANNEL_CLASS, config)


def daemon_template(domain: ComputeDomain, *, namespace: str) -> Object:
    """Return the template for the domain's daemons in the driver's `namespace`."""
    config = _config("daemon", "ComputeDomainDaemonConfig", domainID=domain.uid)
    metadata = owned_metadata(daemon_name(domain.uid), namespace, domain.uid, target=TARGET_DAEMON)
    return _template(metadata, "daemon", DAEMON_CLASS, config)


def owned_metadata(name: str, namespace: str, uid: str, *, target: str | None = None) -> Object:
    """Return the metadata of what exists for a domain; the finalizer keeps it until the controller lets it go."""
    labels = {DOMAIN: uid} | ({TARGET: target} if target else {})
    return {"name": name, "namespace": namespace, "labels": labels, "finalizers": [DOMAIN]}


def _template(metadata: Object, request: str, device_class: str, config: Object) -> Object:
    requests = [{"name": request, "exactly": {"deviceClassName": device_class}}]
    return {"metadata": metadata, "spec": {"spec": {"devices": {"requests": requests, "config": [config]}}}}


def _config(request: str, kind: str, **fields: str) -> Object:
    parameters = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, **fields}
    return {"requests": [request], "opaque": {"driver": COMPUTE_DOMAIN_DRIVER, "parameters": parameters}}

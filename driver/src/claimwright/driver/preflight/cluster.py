"""The cluster: its version and API, the features that can be seen, and whether somebody else owns the GPUs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from claimwright.dra.kube import DEVICE_CLASSES, NODES, Kube, KubeError, NotFound
from claimwright.dra.quantities import MalformedQuantity, parse_quantity
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.preflight.findings import Finding, fail, ok, warn
from claimwright.driver.settings import GPU_DRIVER

LEAST_VERSION: Final = (1, 34)
# Kubernetes' features that a gate of this driver rests on.
_RESTS_ON: Final = (
    ("DynamicMIG", "DRAPartitionableDevices"),
    ("ConsumableShares", "DRAConsumableCapacity"),
    ("NVMLDeviceHealthCheck", "DRADeviceTaints"),
    ("DRAListTypeAttributes", "DRAListTypeAttributes"),
)
_FEATURE: Final = re.compile(r'^kubernetes_feature_enabled\{name="(\w+)",stage="\w*"\} ([01])$', re.MULTILINE)


def check_cluster(kube: Kube, gates: FeatureGates) -> Iterator[Finding]:
    """Look at the API server; what may not be read is a warning."""
    try:
        version = kube.server_version()
    except (KubeError, ValueError, KeyError) as error:
        yield fail("API server", f"{kube.server}: {error}", "Check --kubeconfig and the way to that address.")
        return
    yield _version(version)
    yield _api(kube)
    yield from _features(kube, gates)
    yield _classes(kube)


def check_node(kube: Kube, name: str) -> Iterator[Finding]:
    """Look at the Node object: that it is there, and that no device plugin hands out its GPUs."""
    try:
        status = kube.get(NODES, name).get("status") or {}
    except NotFound:
        yield fail("node", f"there is no Node {name}", "Give the Node's name with --node-name.")
        return
    except KubeError as error:
        yield warn("node", f"Node {name} cannot be read: {error}", "Run with a user that may get nodes.")
        return
    yield ok("node", f"{name}, kubelet {(status.get('nodeInfo') or {}).get('kubeletVersion', 'unknown')}")
    yield _device_plugin(status.get("allocatable") or {})


def runtime_version(kube: Kube, name: str) -> str:
    """Return the container runtime as the kubelet reports it, `containerd://2.1.4`; empty when it is not known."""
    try:
        status = kube.get(NODES, name).get("status") or {}
    except KubeError:
        return ""
    return str((status.get("nodeInfo") or {}).get("containerRuntimeVersion", ""))


def _version(version: tuple[int, int]) -> Finding:
    found = "{}.{}".format(*version)
    if version < LEAST_VERSION:
        return fail("Kubernetes", found, "Upgrade to {}.{} or newer.".format(*LEAST_VERSION))
    return ok("Kubernetes", found)


def _api(kube: Kube) -> Finding:
    subject = "resource.k8s.io"
    try:
        found = json.loads(kube.raw("/apis/resource.k8s.io"))
        versions = [each["version"] for each in found["versions"]]
    except (KubeError, ValueError, KeyError, TypeError) as error:
        return fail(
            subject, f"not served: {error}", "Start the API server with DynamicResourceAllocation on."
        )
    if "v1" not in versions:
        return fail(subject, f"serves {', '.join(versions)}", "Upgrade, or serve v1 (--runtime-config).")
    return ok(subject, f"serves {', '.join(versions)}")


def _features(kube: Kube, gates: FeatureGates) -> Iterator[Finding]:
    try:
        features = dict(_FEATURE.findall(kube.raw("/metrics").decode(errors="replace")))
    except KubeError as error:
        advice = "Run with a user that may get the path /metrics, or ask who runs the control plane."
        yield warn("feature gates", f"not to be seen: {error.reason}", advice)
        return
    off = [(own, theirs) for own, theirs in _RESTS_ON if gates[own] and features.get(theirs) == "0"]
    for own, theirs in off:
        yield fail(
            "feature gates",
            f"{own} is on here, and {theirs} off in the API server",
            f"Switch {theirs} on in API server and scheduler, or {own} off.",
        )
    if not off:
        on = sorted(name for name, value in features.items() if value == "1" and name.startswith("DRA"))
        yield ok("feature gates", ", ".join(on) or "none of DRA's is reported")


def _classes(kube: Kube) -> Finding:
    subject = "device classes"
    try:
        names = [item["metadata"]["name"] for item in kube.list(DEVICE_CLASSES)["items"]]
    except KubeError as error:
        return warn(subject, f"cannot be listed: {error}", "Run with a user that may list deviceclasses.")
    ours = sorted(name for name in names if name.endswith(GPU_DRIVER) or name == "mig.nvidia.com")
    if GPU_DRIVER not in names:
        advice = (
            "They come with the chart, or: claimwright driver manifests deviceclasses | kubectl apply -f -"
        )
        return warn(subject, f"{GPU_DRIVER} is not there", advice)
    return ok(subject, ", ".join(ours))


def _device_plugin(allocatable: Mapping[str, Any]) -> Finding:
    """A device plugin counts in the Node's status; extended resources that DRA serves do not."""
    owned = {
        name: count for name, count in allocatable.items() if name.startswith("nvidia.com/") and _some(count)
    }
    if not owned:
        return ok("device plugin", "none hands out this node's GPUs")
    counts = ", ".join(f"{name}: {count}" for name, count in sorted(owned.items()))
    return fail(
        "device plugin",
        f"a device plugin hands out the same GPUs ({counts})",
        "Take it off this node (for instance nvidia.com/gpu.deploy.device-plugin=false), or both give one GPU to two "
        "pods. Pods may go on asking for nvidia.com/gpu: the class gpu.nvidia.com serves it.",
    )


def _some(count: object) -> bool:
    try:
        return parse_quantity(str(count)) > 0
    except MalformedQuantity:
        return True

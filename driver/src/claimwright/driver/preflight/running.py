"""All checks in order: the node first, then the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from claimwright.dra.errors import DraError
from claimwright.dra.kube import Kube
from claimwright.driver.adapters import HostTree
from claimwright.driver.driver_root import choose_device_root
from claimwright.driver.errors import NodeUnusable
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Inventory
from claimwright.driver.node_view import NodePaths, read_inventory
from claimwright.driver.preflight import cluster, folders, host, runtime
from claimwright.driver.preflight.findings import Finding, Level, fail, verdict, warn


def look(
    paths: NodePaths, gates: FeatureGates, *, node_name: str | None, kubeconfig: Path | None
) -> Iterator[Finding]:
    """Check everything; nothing is changed, and what cannot be seen is a finding too."""
    files = HostTree(paths.host_root)
    kube, problem = _kube(kubeconfig)
    yield from host.check_modules(files, gates)
    yield from host.check_iommu(files, gates)
    yield from _driver(paths, files)
    version = cluster.runtime_version(kube, node_name) if kube is not None and node_name else ""
    yield from runtime.check_runtime(files, version, paths.cdi_root)
    yield from folders.check_folder(paths.cdi_root, "CDI specs", made_by=None)
    yield from folders.check_folder(paths.plugins_dir, "plugins", made_by="The kubelet")
    yield from folders.check_folder(paths.registry_dir, "registration", made_by="The kubelet")
    yield from _cluster(kube, problem, gates, node_name)


def _driver(paths: NodePaths, files: HostTree) -> Iterator[Finding]:
    root = paths.driver_root
    findings = tuple(host.check_installation(root))
    yield from findings
    if verdict(findings) is not Level.FAIL:
        nodes = choose_device_root(root, inside=HostTree(root.readable), host=files)
        yield from host.check_gpus(_inventory(paths), files, nodes)


def _cluster(
    kube: Kube | None, problem: Finding | None, gates: FeatureGates, name: str | None
) -> Iterator[Finding]:
    if problem is not None:
        yield problem
    if kube is None:
        return
    yield from cluster.check_cluster(kube, gates)
    if name is None:
        advice = "Give --node-name, to see whether a device plugin owns the same GPUs."
        yield warn("node", "no name was given", advice)
    else:
        yield from cluster.check_node(kube, name)


def _kube(kubeconfig: Path | None) -> tuple[Kube | None, Finding | None]:
    try:
        return Kube.connect(kubeconfig, user_agent="claimwright-preflight", timeout_seconds=10.0), None
    except DraError as error:
        if kubeconfig is None:
            advice = "Give --kubeconfig, or run in the plugin's pod."
            return None, warn("API server", "not asked: no kubeconfig, and this is no pod", advice)
        return None, fail("API server", str(error), "Correct the kubeconfig.")


def _inventory(paths: NodePaths) -> Inventory | NodeUnusable:
    try:
        return read_inventory(paths)
    except NodeUnusable as error:
        return error

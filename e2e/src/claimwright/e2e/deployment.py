"""Put the driver's manifests on a cluster and compose the command that runs its plugin on a node."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from claimwright.driver import manifests
from claimwright.e2e.credentials import write_service_account_kubeconfig
from claimwright.e2e.kubernetes_door import Kubernetes

DRIVER = "gpu.nvidia.com"
NAMESPACE = manifests.NAMESPACE
ACCOUNT = "dra-driver-nvidia-gpu-service-account-kubeletplugin"
# What a pod-less plugin needs of the bundle: all of it but the DaemonSet, whose work the process does.
PARTS = ("namespace", "deviceclasses", "rbac", "admissionpolicy")


def install(kubernetes: Kubernetes) -> None:
    """Create namespace, device classes, minimal rights and the admission policy; what is there already stays."""
    for manifest in yaml.safe_load_all(manifests.render(PARTS)):
        kubernetes.ensure(manifest)


def write_driver_kubeconfig(kubernetes: Kubernetes, reachable: Path, target: Path, *, node: str) -> Path:
    """Write the kubeconfig of the driver's service account on `node`, for the address that `reachable` names."""
    write_service_account_kubeconfig(
        kubernetes, reachable, target, namespace=NAMESPACE, account=ACCOUNT, node=node
    )
    return target


def plugin_command(
    *, node: str, kubeconfig: Path, driver_root: Path, host_root: Path, kubelet_dir: Path, cdi_dir: Path
) -> Sequence[str]:
    """Compose the command line of the kubelet plugin; all paths as the node sees them."""
    return (
        sys.executable,
        "-m",
        "claimwright.cli.main",
        "driver",
        "gpu-plugin",
        f"--node-name={node}",
        f"--namespace={NAMESPACE}",
        f"--kubeconfig={kubeconfig}",
        f"--nvidia-driver-root={driver_root}",
        f"--container-driver-root={driver_root}",
        f"--host-root={host_root}",
        f"--cdi-root={cdi_dir}",
        f"--kubelet-registrar-directory-path={kubelet_dir / 'plugins_registry'}",
        f"--kubelet-plugins-directory-path={kubelet_dir / 'plugins'}",
        "--image-name=claimwright/driver:latest",
    )

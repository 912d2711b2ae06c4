"""The programs that a cluster is made of: where each comes from and how it is built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from claimwright.cluster import versions

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
NODE = ("kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "runc", "bridge", "host-local", "loopback")


@dataclass(frozen=True)
class Component:
    """One program. `product` names the release it belongs to, `package` its Go main package."""

    name: str
    product: str
    package: str
    tags: tuple[str, ...] = ()


_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl", "kubeadm")
_CONTAINERD_TAGS = ("no_btrfs", "no_devmapper", "no_zfs", "no_aufs")
_CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
_CNI = {"bridge": "main/bridge", "loopback": "main/loopback", "host-local": "ipam/host-local"}

# The API server first: the shared compile of Kubernetes is done when it is, and the rest links in seconds.
COMPONENTS = {
    component.name: component
    for component in (
        *(Component(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}") for name in _KUBERNETES),
        Component("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        *(
            Component(name, "containerd", f"github.com/containerd/containerd/v2/cmd/{name}", _CONTAINERD_TAGS)
            for name in _CONTAINERD
        ),
        Component("runc", "runc", "github.com/opencontainers/runc", ("seccomp",)),
        *(
            Component(name, "cni-plugins", f"github.com/containernetworking/plugins/plugins/{path}")
            for name, path in _CNI.items()
        ),
        Component("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
    )
}


def in_build_order(names: Iterable[str]) -> list[Component]:
    """Return the components called `names` in the order that reuses the most compiled code."""
    wanted = set(names)
    if unknown := wanted - COMPONENTS.keys():
        raise KeyError(f"unknown components {sorted(unknown)}")
    return [component for component in COMPONENTS.values() if component.name in wanted]


def release(component: Component, kubernetes: versions.KubernetesVersion) -> str:
    """Return the version of `component` in a cluster of this Kubernetes, such as `1.37.1`."""
    pinned = {
        "kubernetes": kubernetes.patch,
        "etcd": versions.ETCD,
        "containerd": versions.CONTAINERD,
        "runc": versions.RUNC,
        "cni-plugins": versions.CNI_PLUGINS,
        "helm": versions.HELM,
    }
    return pinned[component.product]


def module_folder(component: Component, kubernetes: versions.KubernetesVersion) -> str:
    """Return the folder under `modules/` whose go.mod pins this component."""
    return kubernetes.minor if component.product == "kubernetes" else component.product


def link_flags(component: Component, kubernetes: versions.KubernetesVersion) -> str:
    """Return Go's -ldflags: stripped, and with the version that the release would carry.

    Kubernetes without these says v0.0.0, which breaks version skew checks (component-base/version).
    """
    patch = release(component, kubernetes)
    major, minor = kubernetes.numbers
    settings = {
        "kubernetes": {
            "k8s.io/component-base/version.gitVersion": f"v{patch}",
            "k8s.io/component-base/version.gitMajor": f"{major}",
            "k8s.io/component-base/version.gitMinor": f"{minor}",
        },
        "containerd": {"github.com/containerd/containerd/v2/version.Version": f"v{patch}"},
        "cni-plugins": {
            "github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": f"v{patch}"
        },
        "helm": {"helm.sh/helm/v4/internal/version.version": f"v{patch}"},
    }.get(component.product, {})
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in settings.items())])

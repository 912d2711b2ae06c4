"""The configuration files of a node's programs, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from claimwright.cluster.local.addresses import NodePlace
from claimwright.cluster.local.certificates import Pair

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "claimwright.local/pause:1"


@dataclass(frozen=True)
class KubeletSettings:
    """What a kubelet's configuration depends on."""

    cgroup: str
    authority: Path
    serving: Pair
    feature_gates: Mapping[str, bool]


def containerd(programs: Path, *, restrict_oom_score: bool) -> str:
    """Return containerd's configuration (version 3 of its format).

    Without CAP_SYS_RESOURCE an OOM score cannot be lowered, and runc fails with "can't get final child's PID from
    pipe" unless containerd keeps to what it may. AppArmor stays off: a profile would be loaded into the host's kernel.
    """
    return f"""version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = {str(restrict_oom_score).lower()}
  disable_apparmor = true
  enable_cdi = true
  cdi_spec_dirs = ["/etc/cdi", "/var/run/cdi"]

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{programs}"]
  conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""


def cni(place: NodePlace) -> str:
    """Return the network of the node's pods: a bridge of the node, addresses from its range."""
    plugin = {
        "type": "bridge", "bridge": "pods0", "isGateway": True, "ipMasq": False, "hairpinMode": True,
        "ipam": {
            "type": "host-local", "ranges": [[{"subnet": place.pod_range}]], "routes": [{"dst": "0.0.0.0/0"}]
        },
    }  # fmt: skip
    return json.dumps({"cniVersion": "1.0.0", "name": "claimwright", "plugins": [plugin]}, indent=1)


def kubelet(settings: KubeletSettings) -> str:
    """Return the kubelet's configuration."""
    socket = f"unix://{CONTAINERD_SOCKET}"
    content = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(settings.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(settings.serving.certificate),
        "tlsPrivateKeyFile": str(settings.serving.key),
        "containerRuntimeEndpoint": socket,
        "imageServiceEndpoint": socket,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": settings.cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        # The disk is the developer's own: pods are not evicted because it is rather full.
        "localStorageCapacityIsolation": False,
        "evictionHard": {"memory.available": "10Mi"},
        "imageGCHighThresholdPercent": 100,
        "maxPods": 250,
        "serializeImagePulls": False,
        "registerNode": True,
        "featureGates": dict(settings.feature_gates),
    }
    return yaml.safe_dump(content, sort_keys=False)


def kubelet_command(kubelet_program: Path, folder: Path, place: NodePlace) -> list[str]:
    """Return the kubelet's command line; `folder` holds its configuration and its identity."""
    return [
        str(kubelet_program),
        f"--config={folder / 'kubelet.yaml'}",
        f"--kubeconfig={folder / 'kubelet.kubeconfig'}",
        f"--hostname-override={place.name}",
        f"--node-ip={place.address}",
        "--root-dir=/var/lib/kubelet",
        "--cert-dir=/var/lib/kubelet/pki",
        "--v=2",
    ]

"""A cluster with the driver installed by its chart: the plugin in a pod, from the image composed here; needs root."""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from claimwright import cluster as clusters
from claimwright.driver import image
from claimwright.driver.journal import load as load_journal
from claimwright.e2e.helm import Helm
from claimwright.e2e.installation import Installation
from claimwright.e2e.kubernetes_door import Kubernetes
from claimwright.e2e.pools import whole_slices
from claimwright.e2e.real import attached_node, probe_image, running_cluster
from claimwright.e2e.scenario import PROBE_IMAGE
from claimwright.emulator import running

PROFILE: Final = "every-mode"
DRIVER: Final = "gpu.nvidia.com"
GATES: Final = (
    "DeviceMetadata", "DynamicMIG", "MPSSupport", "NVMLDeviceHealthCheck", "PassthroughSupport",
    "TimeSlicingSettings", "VGPUSupport",
)  # fmt: skip
# What of DRA the tutorial takes that API servers before 1.36 have off.
_ALPHA_BEFORE_1_36: Final = (
    "DRAConsumableCapacity", "DRADeviceTaints", "DRAExtendedResource", "DRAPartitionableDevices",
)  # fmt: skip


class InstalledWorld(Installation):
    """One cluster, one emulated node with every kind of board, and the chart on it or not."""

    def __init__(
        self, cluster: clusters.Cluster, emulated: running.RunningNode, kubernetes: Kubernetes, helm: Helm
    ) -> None:
        super().__init__(kubernetes, helm, values=_values(emulated), published=lambda: bool(self.devices()))
        self.node = cluster.nodes[0]
        self.kubernetes = kubernetes
        self.emulated = emulated

    def devices(self) -> dict[str, dict[str, Any]]:
        """The published devices of complete pools, by name."""
        return {
            each["name"]: each for found in self.whole_slices() for each in found["spec"].get("devices", ())
        }

    def whole_slices(self) -> list[dict[str, Any]]:
        """The driver's ResourceSlices, none while a pool is being written."""
        return whole_slices(self.kubernetes, f"spec.driver={DRIVER}")

    def node_files(self) -> list[str]:
        """What the driver has on the node's disk, as the host sees it."""
        assert self.node.kubelet_dir is not None
        assert self.node.run_dir is not None
        folders = (
            self.node.kubelet_dir / "plugins" / DRIVER, self.node.kubelet_dir / "plugins_registry",
            self.node.run_dir / "cdi",
        )  # fmt: skip
        found = (path for folder in folders if folder.exists() for path in (folder, *folder.rglob("*")))
        return sorted(str(path) for path in found if DRIVER in str(path))

    def claims_in_the_journal(self) -> list[str]:
        """The uids of the claims that the driver holds, by its journal on the node's disk."""
        loaded = load_journal(self._plugin_folder() / "claims.journal", DRIVER)
        return sorted(loaded.entries) if loaded else []

    def traces(self) -> dict[str, list[str]]:
        """What claims have on the node's disk: CDI specs, metadata files, folders of MPS daemons, journal entries."""
        assert self.node.run_dir is not None
        folder = self._plugin_folder()
        found = {
            "CDI": (self.node.run_dir / "cdi").glob("*"),
            "metadata": folder.glob("dra-device-metadata/*"),
            "MPS": folder.glob("mps/*"),
        }
        names = {what: sorted(path.name for path in paths) for what, paths in found.items()}
        return {**names, "journal": self.claims_in_the_journal()}

    def _plugin_folder(self) -> Path:
        assert self.node.kubelet_dir is not None
        return self.node.kubelet_dir / "plugins" / DRIVER

    def plugin_pods(self) -> list[str]:
        """The uids of the plugin's pods: two while one takes the node over from the other."""
        return [pod["metadata"]["uid"] for pod in self.pods("kubelet-plugin")]

    def nvidia_smi(self, *words: str) -> str:
        """Run the node's nvidia-smi, as its administrator would."""
        program = self.emulated.driver_root / "usr/bin/nvidia-smi"
        environment = {**os.environ, **self.emulated.environment}
        ended = subprocess.run(
            [*self.node.enter, program, *words], env=environment, capture_output=True, text=True, timeout=30,
            check=False,
        )  # fmt: skip
        assert ended.returncode == 0, f"nvidia-smi {words}: {ended.stdout}{ended.stderr}"
        return ended.stdout


def _values(emulated: running.RunningNode) -> dict[str, str]:
    return {
        "nvidiaDriverRoot": str(emulated.driver_root),
        "image.pullPolicy": "Never",
        "webhook.enabled": "true",
        "webhook.replicas": "1",
        **{f"featureGates.{gate}": "true" for gate in GATES},
    }


@contextmanager
def installed_world(purpose: str, *, program: Path, minor: str = "") -> Generator[InstalledWorld, None, None]:
    """Start a cluster with an emulated node, bring the images, and leave the installing to the caller.

    `purpose` begins the cluster's name, `program` is helm. `minor` is a Kubernetes such as 1.34, whose alpha parts of
    DRA are switched on; the newest when empty.
    """
    name = f"{purpose}-{uuid.uuid4().hex[:6]}"
    with ExitStack() as undo:
        folder = Path(
            undo.enter_context(tempfile.TemporaryDirectory(prefix="cw-", ignore_cleanup_errors=True))
        )
        undo.enter_context(running_cluster(_spec(name, minor), None))
        cluster = clusters.load(name)
        emulated = undo.enter_context(attached_node(cluster.nodes[0], name, PROFILE))
        kubernetes = Kubernetes(cluster.kubeconfig)
        undo.callback(kubernetes.close)
        world = InstalledWorld(cluster, emulated, kubernetes, Helm(program, cluster.kubeconfig))
        # The A100 of the profile, which takes a reset to switch its mode.
        world.nvidia_smi("-i", "2", "-mig", "1")
        world.nvidia_smi("-i", "2", "--gpu-reset")
        world.nvidia_smi("mig", "-i", "2", "-cgi", "3g.20gb", "-C")
        with world.timed("image composed"):
            image.write_image(folder / "driver.tar")
        with world.timed("image imported"):
            clusters.import_image(cluster, folder / "driver.tar")
        clusters.import_image(cluster, probe_image(folder))
        _label(world, cluster)
        yield world


def _spec(name: str, minor: str) -> clusters.ClusterSpec:
    if not minor:
        return clusters.ClusterSpec(name=name)
    gates = _ALPHA_BEFORE_1_36 if int(minor.partition(".")[2]) < 36 else ()
    return clusters.ClusterSpec(name=name, kubernetes=minor, feature_gates=dict.fromkeys(gates, True))


def _label(world: InstalledWorld, cluster: clusters.Cluster) -> None:
    """Mark the node as one with GPUs, as feature discovery does."""
    world.kubernetes.patch(
        f"/api/v1/nodes/{cluster.nodes[0].name}", {"metadata": {"labels": {"nvidia.com/gpu.present": "true"}}}
    )


def with_probes(manifests: Path) -> list[dict[str, Any]]:
    """Read manifests, with every container's image and command replaced by the probe's: there is no registry here."""
    objects = [item for item in yaml.safe_load_all(manifests.read_text()) if item]
    for pod in _pods(objects):
        pod["terminationGracePeriodSeconds"] = 1
        for container in pod["containers"]:
            del container["command"]
            container |= {"image": PROBE_IMAGE, "imagePullPolicy": "Never"}
    return objects


def containers_of(objects: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return pod and container of each container, in the order written."""
    return [
        (item["metadata"]["name"], each["name"])
        for item in objects
        if item["kind"] == "Pod"
        for each in item["spec"]["containers"]
    ]


def _pods(objects: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The specs of pods, and of those that a workload makes."""
    templates = (item["spec"].get("template") for item in objects if item["kind"] in ("Job", "Deployment"))
    return [item["spec"] for item in (*objects, *templates) if item.get("kind", "Pod") == "Pod"]

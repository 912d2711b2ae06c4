"""A cluster with the driver installed by its chart: the plugin in a pod, from the image composed here; needs root."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from claimwright import cluster as clusters
from claimwright.driver import image
from claimwright.driver.journal import load as load_journal
from claimwright.e2e import helm as helm_door
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.helm import Helm
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
_SLICES: Final = "/apis/resource.k8s.io/v1/resourceslices"
_SECONDS: Final = 60.0


class InstalledWorld:
    """One cluster, one emulated node with every kind of board, and the chart on it or not."""

    def __init__(
        self, cluster: clusters.Cluster, emulated: running.RunningNode, kubernetes: Kubernetes, helm: Helm
    ) -> None:
        self.node = cluster.nodes[0]
        self.kubernetes = kubernetes
        self.took: dict[str, float] = {}
        self.emulated = emulated
        self._helm = helm
        self._installed = False

    def install(self, values: Mapping[str, str] | None = None) -> None:
        """Install or upgrade the chart, and wait until the node's devices are published."""
        if self._installed and values is None:
            return
        with self.timed("chart installed"):
            self._helm.install(*helm_door.as_flags({**self._values(), **(values or {})}))
        with self.timed("devices published"):
            wait_until("the devices of the node", lambda: bool(self.devices()), seconds=_SECONDS)
        self._installed = True

    def uninstall(self) -> None:
        """Uninstall the chart and wait until its objects and pods are gone."""
        with self.timed("chart uninstalled"):
            self._helm.uninstall()
            wait_until("no pod of the driver", lambda: not self._pods(), seconds=_SECONDS)
        self._installed = False

    def devices(self) -> dict[str, dict[str, Any]]:
        """The published devices of complete pools, by name."""
        return {each["name"]: each for found in self.slices() for each in found["spec"].get("devices", ())}

    def slices(self) -> list[dict[str, Any]]:
        """The driver's ResourceSlices, none while a pool is being written."""
        return whole_slices(self.kubernetes, f"spec.driver={DRIVER}")

    def slice_names(self) -> list[str]:
        """The names of the driver's ResourceSlices, complete or not."""
        found = self.kubernetes.get(_SLICES, fieldSelector=f"spec.driver={DRIVER}")["items"]
        return [each["metadata"]["name"] for each in found]

    def cluster_objects(self) -> list[str]:
        """Everything of the cluster that carries the chart's names, whichever namespace it is in."""
        rbac, admission = "/apis/rbac.authorization.k8s.io/v1", "/apis/admissionregistration.k8s.io/v1"
        paths = (
            "/apis/resource.k8s.io/v1/deviceclasses", f"{rbac}/clusterroles", f"{rbac}/clusterrolebindings",
            f"{rbac}/roles", f"{rbac}/rolebindings", f"{admission}/validatingadmissionpolicies",
            f"{admission}/validatingadmissionpolicybindings", f"{admission}/validatingwebhookconfigurations",
            "/apis/apps/v1/daemonsets", "/apis/apps/v1/deployments", "/api/v1/serviceaccounts", "/api/v1/services",
            "/api/v1/secrets", "/apis/networking.k8s.io/v1/networkpolicies",
        )  # fmt: skip
        names = (
            f"{path}/{item['metadata']['name']}"
            for path in paths
            for item in self.kubernetes.get(path)["items"]
        )
        return [name for name in names if helm_door.RELEASE in name or "nvidia" in name]

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
        return [pod["metadata"]["uid"] for pod in self._pods() if "kubelet-plugin" in pod["metadata"]["name"]]

    def plugin_log(self) -> str:
        """The end of the plugin's log."""
        names = (
            pod["metadata"]["name"] for pod in self._pods() if "kubelet-plugin" in pod["metadata"]["name"]
        )
        return "\n".join(self.kubernetes.logs(helm_door.RELEASE, name, "gpus")[-3000:] for name in names)

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

    @contextmanager
    def timed(self, what: str) -> Generator[None, None, None]:
        """Remember how long something took, in seconds."""
        start = time.monotonic()
        yield
        self.took[what] = round(time.monotonic() - start, 1)

    def _pods(self) -> list[dict[str, Any]]:
        return list(self.kubernetes.get(f"/api/v1/namespaces/{helm_door.RELEASE}/pods")["items"])

    def _values(self) -> dict[str, str]:
        return {
            "nvidiaDriverRoot": str(self.emulated.driver_root),
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
        pod["spec"]["terminationGracePeriodSeconds"] = 1
        for container in pod["spec"]["containers"]:
            del container["command"]
            container |= {"image": PROBE_IMAGE, "imagePullPolicy": "Never"}
    return objects


def containers_of(objects: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return pod and container of each container, in the order written."""
    return [
        (pod["metadata"]["name"], each["name"])
        for pod in _pods(objects)
        for each in pod["spec"]["containers"]
    ]


def _pods(objects: Iterable[Mapping[str, Any]]) -> list[Any]:
    return [item for item in objects if item["kind"] == "Pod"]

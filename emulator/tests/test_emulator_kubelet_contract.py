"""The kubelet stand-in on a real API server, with the real scheduler and controllers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from claimwright.dra.cdi import CdiDevice, CdiSpec, ContainerEdits, DeviceNode, remove_spec, write_spec
from claimwright.dra.kube import (
    DEVICE_CLASSES,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SERVICE_ACCOUNTS,
    Kube,
    NotFound,
)
from claimwright.dra.plugin import Plugin, PluginFolders, PreparedDevice
from claimwright.dra.slices import Device, Pool
from claimwright.emulator.kubelet import StandInKubelet, StandInNode

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def kube(tmp_path_factory):
    given = os.environ.get("CLAIMWRIGHT_TEST_KUBECONFIG")
    if given:
        yield Kube.from_kubeconfig(Path(given))
        return
    name = f"kubelet-{uuid.uuid4().hex[:6]}"
    command = [sys.executable, "-m", "claimwright.cli.main", "cluster"]
    up = subprocess.run(
        [*command, "up", "--nodes", "0", "--name", name], check=True, capture_output=True, text=True
    )
    path = next(
        line.split("=", 1)[1] for line in up.stdout.splitlines() if line.startswith("export KUBECONFIG=")
    )
    yield Kube.from_kubeconfig(Path(path))
    subprocess.run([*command, "down", name], check=True, capture_output=True)


class Scene:
    """A namespace, a node, a driver and its class, all with names of their own; `close` removes them."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self.kube = kube
        self.name = f"stand-in-{uuid.uuid4().hex[:8]}"
        self.driver_name = f"{self.name}.example.com"
        self.node = StandInNode(self.name, folder / "k", labels={"claimwright.dev/scene": self.name})
        self.released: list[str] = []
        kube.create(NAMESPACES, {"metadata": {"name": self.name}})
        selector = {"cel": {"expression": f'device.driver == "{self.driver_name}"'}}
        kube.create(DEVICE_CLASSES, {"metadata": {"name": self.name}, "spec": {"selectors": [selector]}})
        request = {"name": "gpu", "exactly": {"deviceClassName": self.name}}
        template = {"metadata": {"name": "one"}, "spec": {"spec": {"devices": {"requests": [request]}}}}
        kube.create(RESOURCE_CLAIM_TEMPLATES, template, namespace=self.name)

    def plugin(self) -> Plugin:
        folders = PluginFolders(
            self.node.plugins_dir / self.driver_name, self.node.registry_dir, self.node.cdi_dirs[-1]
        )
        pool = Pool(self.name, (Device("gpu-0"),), node_name=self.name)
        return Plugin(self.driver_name, self.name, self, kube=self.kube, folders=folders, publish=pool)

    async def prepare(self, claims):
        return {claim.uid: [self._device(claim)] for claim in claims}

    def _device(self, claim):
        edits = ContainerEdits(device_nodes=(DeviceNode("/dev/gpu-0", type="c", major=195, minor=0),))
        spec = CdiSpec(f"{self.driver_name}/gpu", (CdiDevice(claim.uid, edits),))
        write_spec(self.node.cdi_dirs[-1], spec, transient_id=claim.uid)
        return PreparedDevice(("gpu",), self.name, "gpu-0", (f"{self.driver_name}/gpu={claim.uid}",))

    async def release(self, claims):
        for claim in claims:
            remove_spec(self.node.cdi_dirs[-1], f"{self.driver_name}/gpu", transient_id=claim.uid)
            self.released.append(claim.name)
        return {claim.uid: None for claim in claims}

    def pod(self, name: str, **annotations: str) -> None:
        body = {
            "metadata": {
                "name": name,
                "annotations": {f"claimwright.dev/{k.replace('_', '-')}": v for k, v in annotations.items()},
            },
            "spec": {
                "restartPolicy": "Never" if annotations else "Always",
                "nodeSelector": {"claimwright.dev/scene": self.name},
                "tolerations": [{"operator": "Exists"}],
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 5,
                "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one"}],
                "containers": [
                    {"name": "main", "image": "none.invalid/none", "resources": {"claims": [{"name": "gpu"}]}}
                ],
            },
        }
        self.kube.create(PODS, body, namespace=self.name)

    def read(self, name: str) -> dict | None:
        with suppress(NotFound):
            return self.kube.get(PODS, name, namespace=self.name)
        return None

    def phase(self, name: str) -> str | None:
        pod = self.read(name)
        return pod and pod["status"]["phase"]

    def close(self) -> None:
        self.kube.delete(NAMESPACES, self.name)
        self.kube.delete(DEVICE_CLASSES, self.name)
        self.kube.delete_collection(RESOURCE_SLICES, field_selector=f"spec.driver={self.driver_name}")
        with suppress(NotFound):
            self.kube.delete(NODES, self.name)


@pytest.fixture
def scene(kube):
    # A unix socket's path has 107 bytes: pytest's own folders are too deep.
    with tempfile.TemporaryDirectory(prefix="cw-") as folder:
        scene = Scene(kube, Path(folder))
        yield scene
        scene.close()


async def until(condition, what, seconds: float = 40.0):
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := await asyncio.to_thread(condition)):
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what()}"
        await asyncio.sleep(0.1)
    return found


async def ready_for_pods(scene: Scene) -> None:
    def account() -> bool:
        with suppress(NotFound):
            return bool(scene.kube.get(SERVICE_ACCOUNTS, "default", namespace=scene.name))
        return False

    await until(account, lambda: "default service account")


@pytest.mark.capability("001-01")
async def test_a_pod_from_a_template_runs_and_its_deletion_frees_the_device_for_the_next(scene):
    async with StandInKubelet(scene.kube, [scene.node]) as standin, scene.plugin():
        await ready_for_pods(scene)
        scene.pod("first")
        await until(lambda: scene.phase("first") == "Running", lambda: scene.read("first"))
        assert standin.view(scene.name, "first", "main").devices == ("/dev/gpu-0",)
        conditions = {c["type"]: c["status"] for c in scene.read("first")["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        scene.pod("second")
        scene.kube.delete(PODS, "first", namespace=scene.name)
        await until(lambda: scene.read("first") is None, lambda: scene.read("first"))
        assert len(scene.released) == 1
        await until(lambda: scene.phase("second") == "Running", lambda: scene.read("second"))


async def test_a_pod_that_completes_gives_its_generated_claim_back(scene):
    async with StandInKubelet(scene.kube, [scene.node]), scene.plugin():
        await ready_for_pods(scene)
        scene.pod("job", run_seconds="1")
        await until(lambda: scene.phase("job") == "Succeeded", lambda: scene.read("job"))
        assert len(scene.released) == 1

        def claims() -> list:
            return scene.kube.list(RESOURCE_CLAIMS, namespace=scene.name)["items"]

        await until(lambda: not claims(), claims)


async def test_a_failure_to_prepare_is_an_event_of_the_pod(scene):
    async with StandInKubelet(scene.kube, [scene.node]):
        await ready_for_pods(scene)
        plugin = scene.plugin()
        await plugin.start()
        await until(
            lambda: scene.kube.list(RESOURCE_SLICES, field_selector=f"spec.driver={scene.driver_name}")[
                "items"
            ],
            lambda: "slices",
        )
        await plugin.stop(grace_seconds=0.5)
        scene.pod("waits")

        def reasons() -> set[str]:
            events = scene.kube.list(EVENTS, namespace=scene.name)["items"]
            return {event["reason"] for event in events}

        await until(lambda: "FailedPrepareDynamicResources" in reasons(), reasons)
        assert scene.phase("waits") == "Pending"

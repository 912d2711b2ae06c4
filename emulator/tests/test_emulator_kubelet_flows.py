"""The kubelet stand-in over real HTTP and real sockets: a fake API server, a driver built on the plugin kit."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from claimwright.dra.cdi import CdiDevice, CdiSpec, ContainerEdits, DeviceNode, Mount, remove_spec, write_spec
from claimwright.dra.kube import LEASES, NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES, Kube
from claimwright.dra.plugin import DeviceHealth, Plugin, PluginFolders, PreparedDevice
from claimwright.dra.testing import FakeApi
from claimwright.emulator.kubelet import NoSuchContainer, StandInKubelet, StandInNode, Timings
from claimwright.emulator.kubelet.api import CORE_EVENTS

DRIVER = "gpu.example.com"
FAST = Timings(
    wipe_after=0.5, retry_start=0.02, retry_cap=0.1, reconcile=0.3, plugin_scan=0.03, health_reopen=0.05,
    api_retry=0.02, restart_start=0.05, lease_renew=0.2,
)  # fmt: skip


async def until(condition, what: str, seconds: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


@dataclass
class Recorder:
    """A driver that remembers its calls and can be told to fail."""

    cdi: Path
    library: Path
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    fail_prepare: int = 0
    fail_release: int = 0
    on_release: list = field(default_factory=list)

    async def prepare(self, claims):
        self.calls.append(("prepare", tuple(claim.reference.name for claim in claims)))
        if self.fail_prepare:
            self.fail_prepare -= 1
            return {claim.uid: RuntimeError("the GPU is busy") for claim in claims}
        return {claim.uid: [self._device(claim, result) for result in claim.results] for claim in claims}

    def _device(self, claim, result):
        node = DeviceNode(f"/dev/{result.device}", type="c", major=195, minor=0)
        mount = Mount(str(self.library), "/usr/lib64/libfake.so", ("ro", "bind"))
        edits = ContainerEdits(env=(f"GPU={result.device}",), device_nodes=(node,), mounts=(mount,))
        name = f"{claim.uid}-{result.device}"
        spec = CdiSpec("example.com/gpu", (CdiDevice(name, edits),))
        write_spec(self.cdi, spec, transient_id=f"{claim.uid}-{result.device}", durable=False)
        return PreparedDevice(
            (result.base_request,), result.pool, result.device, (f"example.com/gpu={name}",)
        )

    async def release(self, claims):
        self.calls.append(("release", tuple(claim.name for claim in claims)))
        for observer in self.on_release:
            observer()
        if self.fail_release:
            self.fail_release -= 1
            return {claim.uid: RuntimeError("still in use") for claim in claims}
        for claim in claims:
            for index in range(4):
                remove_spec(self.cdi, "example.com/gpu", transient_id=f"{claim.uid}-gpu-{index}")
        return {claim.uid: None for claim in claims}

    def count(self, verb: str) -> int:
        return sum(1 for called, _ in self.calls if called == verb)


class Health:
    def __init__(self) -> None:
        self.queue: asyncio.Queue = asyncio.Queue()

    async def watch(self):
        while True:
            yield await self.queue.get()


class World:
    """A fake API server, one stand-in node, one driver; and the part of scheduler and controllers."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api = api
        self.node = StandInNode("node-a", folder / "k", capacity={"pods": "5"})
        self.kube = Kube.from_kubeconfig(api.kubeconfig(folder / "config"))
        library = folder / "libfake.so"
        library.write_text("a library")
        self.driver = Recorder(self.node.cdi_dirs[-1], library)
        self.health = Health()

    def standin(self) -> StandInKubelet:
        return StandInKubelet(self.kube, [self.node], timings=FAST)

    def plugin(self, *, instance: str | None = None, health: bool = False) -> Plugin:
        folders = PluginFolders(
            self.node.plugins_dir / DRIVER, self.node.registry_dir, self.node.cdi_dirs[-1]
        )
        return Plugin(
            DRIVER, "node-a", self.driver, kube=self.kube, folders=folders, instance=instance,
            health=self.health if health else None,
        )  # fmt: skip

    def claim(self, name: str, *pods, devices=("gpu-0",), driver: str = DRIVER, owner=None, **status) -> dict:
        results = [
            {"request": f"r{i}", "driver": driver, "pool": "node-a", "device": device}
            for i, device in enumerate(devices)
        ]
        owners = [{"kind": "Pod", "name": "x", "uid": owner, "controller": True}] if owner else []
        return self.api.put(
            RESOURCE_CLAIMS,
            {
                "metadata": {"name": name, "namespace": "ns", "ownerReferences": owners},
                "status": {
                    "reservedFor": [{"resource": "pods", "name": "x", "uid": uid} for uid in pods],
                    "allocation": {"devices": {"results": results}},
                    **status,
                },
            },
        )

    def pod(
        self, name: str, *, uid: str, claims=(), containers=None, annotations=None, policy="Always", **spec
    ):
        containers = containers or [{"name": "main", "resources": {"claims": [{"name": c} for c in claims]}}]
        return self.api.put(
            PODS,
            {
                "metadata": {"name": name, "namespace": "ns", "uid": uid, "annotations": annotations or {}},
                "spec": {
                    "nodeName": "node-a",
                    "restartPolicy": policy,
                    "terminationGracePeriodSeconds": 30,
                    "containers": containers,
                    "resourceClaims": [{"name": c, "resourceClaimName": c} for c in claims],
                    **spec,
                },
                "status": {"phase": "Pending"},
            },
        )

    def read(self, name: str) -> dict | None:
        return next((p for p in self.api.objects(PODS) if p["metadata"]["name"] == name), None)

    def phase(self, name: str) -> str | None:
        pod = self.read(name)
        return pod and pod.get("status", {}).get("phase")

    def events(self, reason: str) -> list[str]:
        return [e["message"] for e in self.api.objects(CORE_EVENTS) if e["reason"] == reason]

    def delete(self, name: str, grace: int | None = None) -> None:
        self.api.remove(PODS, name, namespace="ns", grace_seconds=grace)

    async def running(self, name: str) -> None:
        await until(lambda: self.phase(name) == "Running", f"pod {name} runs; {self.read(name)}")

    async def gone(self, name: str) -> None:
        await until(lambda: self.read(name) is None, f"pod {name} gone")


@pytest.fixture
def world():
    # A unix socket's path has 107 bytes: pytest's own folders are too deep under xdist.
    with tempfile.TemporaryDirectory(prefix="cw-") as folder, FakeApi() as api:
        yield World(api, Path(folder))


@asynccontextmanager
async def playing(world: World, *, plugin: bool = True, health: bool = False):
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(world.standin())
        if plugin:
            stack.push_async_callback(_stop, running := world.plugin(health=health))
            await running.start()
            await until(lambda: standin.node("node-a").drivers == (DRIVER,), "driver registered")
        yield standin


async def _stop(plugin: Plugin) -> None:
    await plugin.stop(grace_seconds=0.2)


def an_uid() -> str:
    return str(uuid.uuid4())


async def test_a_node_is_registered_ready_labelled_emulated_and_keeps_its_lease(world):
    async with playing(world, plugin=False):
        (node,) = world.api.objects(NODES)
        assert node["metadata"]["labels"]["claimwright.dev/emulated"] == "true"
        assert "stand-in" in node["status"]["nodeInfo"]["kubeletVersion"]
        assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"
        (lease,) = world.api.objects(LEASES)
        first = lease["spec"]["renewTime"]

        def renewed() -> bool:
            return world.api.objects(LEASES)[0]["spec"]["renewTime"] > first

        await until(renewed, "lease renewed")


async def test_removed_nodes_stay_away_although_heartbeats_are_on_their_way(world):
    hasty = replace(FAST, lease_renew=0.001, node_status=0.001)
    async with StandInKubelet(world.kube, [world.node], timings=hasty) as standin:
        await standin.remove_nodes()
    assert world.api.objects(NODES) == world.api.objects(LEASES) == []


async def test_a_deleted_node_comes_back(world):
    async with playing(world, plugin=False):
        world.api.remove(NODES, "node-a")
        world.api.remove(LEASES, "node-a", namespace="kube-node-lease")
        await until(lambda: world.api.objects(NODES), "node registered again")


async def test_a_pod_with_a_template_claim_runs_with_exactly_its_device_and_frees_it(world):
    uid = an_uid()
    world.claim("made-xyz", uid, owner=uid)
    async with playing(world) as standin:
        world.pod(
            "p", uid=uid, containers=[{"name": "main", "resources": {"claims": [{"name": "gpu"}]}}],
            resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}],
        )  # fmt: skip
        await until(
            lambda: any("not created yet" in m for m in world.events("FailedPrepareDynamicResources")), "wait"
        )
        statuses = [{"name": "gpu", "resourceClaimName": "made-xyz"}]
        given = {"status": {"resourceClaimStatuses": statuses}}
        world.kube.patch(PODS, "p", given, namespace="ns", subresource="status")
        await world.running("p")
        view = standin.view("ns", "p", "main")
        assert view.devices == ("/dev/gpu-0",)
        assert view.environment["GPU"] == "gpu-0"
        assert world.read("p")["status"]["resourceClaimStatuses"] == statuses
        world.delete("p")
        await world.gone("p")
        assert world.driver.calls == [("prepare", ("made-xyz",)), ("release", ("made-xyz",))]
        assert standin.node("node-a").claim_states() == {}
        with pytest.raises(NoSuchContainer):
            standin.view("ns", "p", "main")


async def test_two_pods_share_a_claim_that_is_prepared_and_released_once(world):
    one, two = an_uid(), an_uid()
    world.claim("c", one, two)
    async with playing(world):
        world.pod("one", uid=one, claims=["c"])
        world.pod("two", uid=two, claims=["c"])
        await world.running("one")
        await world.running("two")
        world.delete("one")
        await world.gone("one")
        assert world.driver.calls == [("prepare", ("c",))]
        world.delete("two")
        await world.gone("two")
        assert world.driver.calls == [("prepare", ("c",)), ("release", ("c",))]


async def test_containers_see_the_devices_of_the_requests_that_they_name(world):
    uid = an_uid()
    world.claim("c", uid, devices=("gpu-0", "gpu-1"))
    world.claim("d", uid, devices=("gpu-2",))
    uses = {
        "both": [{"name": "c"}],
        "first": [{"name": "c", "request": "r0"}],
        "other": [{"name": "d"}],
        "none": [],
    }
    async with playing(world) as standin:
        world.pod(
            "p", uid=uid, claims=["c", "d"],
            containers=[{"name": name, "resources": {"claims": use}} for name, use in uses.items()],
        )  # fmt: skip
        await world.running("p")
        seen = {name: standin.view("ns", "p", name).devices for name in uses}
        assert seen == {
            "both": ("/dev/gpu-0", "/dev/gpu-1"), "first": ("/dev/gpu-0",), "other": ("/dev/gpu-2",), "none": (),
        }  # fmt: skip
        assert world.driver.calls == [("prepare", ("c", "d"))]


async def test_a_claim_that_no_container_uses_is_prepared_too(world):
    uid = an_uid()
    world.claim("c", uid)
    async with playing(world):
        world.pod("p", uid=uid, claims=["c"], containers=[{"name": "main"}])
        await world.running("p")
        assert world.driver.count("prepare") == 1


async def test_a_failed_prepare_is_reported_and_tried_again(world):
    uid = an_uid()
    world.claim("c", uid)
    world.driver.fail_prepare = 2
    async with playing(world):
        world.pod("p", uid=uid, claims=["c"])
        await world.running("p")
        messages = world.events("FailedPrepareDynamicResources")
        assert len(messages) == 2
        assert "NodePrepareResources failed for ResourceClaim c" in messages[0]
        assert "the GPU is busy" in messages[0]


async def test_a_pod_waits_for_its_driver_and_can_be_deleted_without_it(world):
    one, two = an_uid(), an_uid()
    world.claim("c", one)
    world.claim("d", two, devices=("gpu-1",))
    async with playing(world, plugin=False):
        world.pod("one", uid=one, claims=["c"])
        world.pod("two", uid=two, claims=["d"])
        words = f"DRA driver {DRIVER} is not registered"
        await until(lambda: any(words in m for m in world.events("FailedPrepareDynamicResources")), "event")
        world.delete("one")
        await world.gone("one")
        plugin = world.plugin()
        await plugin.start()
        await world.running("two")
        await _stop(plugin)


async def test_an_unreserved_claim_keeps_the_pod_pending(world):
    uid = an_uid()
    world.claim("c")
    async with playing(world):
        world.pod("p", uid=uid, claims=["c"])
        await until(
            lambda: any("not allowed to use" in m for m in world.events("FailedPrepareDynamicResources")), "x"
        )
        assert world.phase("p") == "Pending"
        assert world.driver.calls == []


async def test_the_claim_is_released_before_the_pods_object_goes(world):
    uid = an_uid()
    world.claim("c", uid)
    present = []
    world.driver.on_release.append(lambda: present.append(world.read("p") is not None))
    world.driver.fail_release = 2
    async with playing(world) as standin:
        world.pod("p", uid=uid, claims=["c"])
        await world.running("p")
        world.delete("p")
        await world.gone("p")
        assert present == [True, True, True]
        await until(lambda: standin.journal.kinds("ns/p")[-2:] == ("ClaimsReleased", "PodEnded"), "pod ended")


async def test_a_force_deleted_pod_gives_its_claim_back_and_its_successor_waits_for_that(world):
    old, new = an_uid(), an_uid()
    world.claim("c", old)
    world.driver.fail_release = 3
    async with playing(world):
        world.pod("p", uid=old, claims=["c"])
        await world.running("p")
        world.delete("p", grace=0)
        world.api.remove(RESOURCE_CLAIMS, "c", namespace="ns")
        world.claim("c", new)
        world.pod("p", uid=new, claims=["c"])
        await world.running("p")
        assert [verb for verb, _ in world.driver.calls] == ["prepare", *["release"] * 4, "prepare"]


async def test_a_pod_that_completes_releases_its_claim_and_stays_succeeded(world):
    uid = an_uid()
    world.claim("c", uid)
    async with playing(world):
        world.pod(
            "p", uid=uid, claims=["c"], annotations={"claimwright.dev/run-seconds": "0"}, policy="Never"
        )
        await until(lambda: world.phase("p") == "Succeeded", "succeeded")
        assert world.driver.count("release") == 1
        world.delete("p")
        await world.gone("p")
        assert world.driver.count("release") == 1


async def test_a_stand_in_that_was_killed_prepares_again_for_what_runs_and_reclaims_what_went(world):
    stays, leaves = an_uid(), an_uid()
    world.claim("c", stays)
    world.claim("d", leaves, devices=("gpu-1",))
    async with playing(world):
        world.pod("stays", uid=stays, claims=["c"])
        world.pod("leaves", uid=leaves, claims=["d"])
        await world.running("stays")
        await world.running("leaves")
        before = world.read("stays")["status"]
    world.delete("leaves", grace=0)
    world.driver.calls.clear()
    async with playing(world) as standin:
        await until(lambda: world.driver.count("release"), "lost claim released")
        await until(lambda: world.driver.count("prepare"), "prepared again")
        assert sorted(world.driver.calls) == [("prepare", ("c",)), ("release", ("d",))]
        await until(lambda: standin.journal.kinds("ns/stays").count("ContainerStarted"), "view is back")
        assert standin.view("ns", "stays", "main").devices == ("/dev/gpu-0",)
        after = world.read("stays")["status"]
        assert (after["podIP"], after["containerStatuses"]) == (before["podIP"], before["containerStatuses"])


async def test_a_driver_that_restarts_serves_running_and_new_pods(world):
    one, two = an_uid(), an_uid()
    world.claim("c", one)
    world.claim("d", two, devices=("gpu-1",))
    async with playing(world, plugin=False) as standin:
        first = world.plugin()
        await first.start()
        world.pod("one", uid=one, claims=["c"])
        await world.running("one")
        await _stop(first)
        await until(lambda: standin.node("node-a").drivers == (), "deregistered")
        second = world.plugin()
        await second.start()
        world.pod("two", uid=two, claims=["d"])
        await world.running("two")
        world.delete("one")
        await world.gone("one")
        assert world.phase("two") == "Running"
        await _stop(second)


async def test_slices_go_at_start_and_after_a_driver_was_away_too_long(world):
    a_slice = {"spec": {"nodeName": "node-a", "driver": DRIVER}}
    foreign = {"metadata": {"name": "foreign"}, "spec": {"nodeName": "node-b", "driver": DRIVER}}
    network = {"metadata": {"name": "network"}, "spec": {"allNodes": True, "driver": DRIVER}}

    def names() -> set[str]:
        return {item["metadata"]["name"] for item in world.api.objects(RESOURCE_SLICES)}

    for item in ({"metadata": {"name": "stale"}, **a_slice}, foreign, network):
        world.api.put(RESOURCE_SLICES, item)
    async with playing(world, plugin=False) as standin:
        await until(lambda: names() == {"foreign", "network"}, "wiped at start")
        plugin = world.plugin()
        await plugin.start()
        await until(lambda: "DriverConnected" in standin.journal.kinds(DRIVER), "connected")
        world.api.put(RESOURCE_SLICES, {"metadata": {"name": "published"}, **a_slice})
        await _stop(plugin)
        await until(lambda: names() == {"foreign", "network"}, "wiped after the driver went")


async def test_an_api_server_that_fails_for_a_while_loses_nothing(world):
    uid = an_uid()
    world.claim("c", uid)
    async with playing(world):
        world.api.fail("PATCH", "/pods/p/status", 503, times=3)
        world.api.fail("GET", "/resourceclaims/c", 503, times=2)
        world.api.fail("DELETE", "/pods/p$", 503, times=2)
        world.pod("p", uid=uid, claims=["c"])
        await world.running("p")
        world.delete("p")
        await world.gone("p")


async def test_a_pod_over_the_nodes_capacity_is_rejected(world):
    async with playing(world, plugin=False):
        for index in range(5):
            world.pod(f"p{index}", uid=an_uid())
            await world.running(f"p{index}")
        world.pod("late", uid=an_uid())
        await until(lambda: world.phase("late") == "Failed", "rejected")
        assert world.read("late")["status"]["reason"] == "OutOfpods"


async def test_a_missing_cdi_device_keeps_the_container_from_being_created(world):
    uid = an_uid()
    world.claim("c", uid)
    world.driver.cdi = world.node.folder / "elsewhere"
    async with playing(world):
        world.pod("p", uid=uid, claims=["c"])
        await until(lambda: any("unresolvable CDI" in m for m in world.events("Failed")), "event")

        def reason() -> str | None:
            (status,) = world.read("p")["status"].get("containerStatuses") or [{"state": {}}]
            return status["state"].get("waiting", {}).get("reason")

        await until(lambda: reason() == "CreateContainerError", "status")
        world.delete("p")
        await world.gone("p")


async def test_device_health_shows_in_the_pods_status(world):
    uid = an_uid()
    world.claim("c", uid)

    def shown() -> str | None:
        (status,) = world.read("p")["status"]["containerStatuses"]
        entries = status.get("allocatedResourcesStatus")
        return entries and entries[0]["resources"][0]["health"]

    async with playing(world, health=True):
        world.pod("p", uid=uid, claims=["c"])
        await world.running("p")
        assert shown() == "Unknown"
        world.health.queue.put_nowait([DeviceHealth("node-a", "gpu-0", "Healthy")])
        await until(lambda: shown() == "Healthy", "healthy")
        world.health.queue.put_nowait([DeviceHealth("node-a", "gpu-0", "Unhealthy", "XID 79")])
        await until(lambda: shown() == "Unhealthy", "unhealthy")


async def test_a_program_in_a_container_sees_its_devices_and_a_library_that_is_inside(world):
    uid = an_uid()
    world.claim("c", uid)
    look = (
        "import os; r = os.environ['CLAIMWRIGHT_SANDBOX']; lib = r + '/usr/lib64/libfake.so';"
        "print(sorted(os.listdir(r + '/dev')), os.path.islink(lib), lib in [d + '/libfake.so' for d in"
        " os.environ['LD_LIBRARY_PATH'].split(':')], os.environ['GPU'])"
    )
    async with playing(world) as standin:
        world.pod("p", uid=uid, claims=["c"])
        await world.running("p")
        result = await standin.exec("ns", "p", "main", [sys.executable, "-I", "-c", look])
        assert (result.returncode, result.stdout, result.stderr) == (0, "['gpu-0'] False True gpu-0\n", "")
        sandboxes = world.node.folder / "sb"
        assert len(list(sandboxes.iterdir())) == 1
        world.delete("p")
        await world.gone("p")
        assert list(sandboxes.iterdir()) == []


async def test_many_nodes_in_one_process_share_one_watch(world, tmp_path):
    nodes = [StandInNode(f"n{index}", tmp_path / str(index)) for index in range(20)]
    async with StandInKubelet(world.kube, nodes, timings=FAST):
        for index in range(20):
            world.pod(f"p{index}", uid=an_uid(), nodeName=f"n{index}")
        await until(lambda: all(world.phase(f"p{i}") == "Running" for i in range(20)), "all run")
        targets = [target for method, target in world.api.requests if method == "GET"]
        watches = [target for target in targets if target.partition("?")[0] == "/api/v1/pods"]
        assert len(watches) == 2  # one list, one watch

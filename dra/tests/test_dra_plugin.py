from __future__ import annotations

import asyncio
import fnmatch
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from claimwright.dra import metadata
from claimwright.dra.cdi import load_specs
from claimwright.dra.claims import ClaimReference, reference_of
from claimwright.dra.kube import NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from claimwright.dra.kubelet import (
    CallFailed,
    InvalidReply,
    PluginClient,
    PluginWatcher,
    RegistrationFailed,
    choose_dra_version,
    choose_health_version,
    failures,
    find_plugins,
    find_sockets,
    get_info,
    register,
    wait_for_plugin,
)
from claimwright.dra.kubelet.client import _check_reply
from claimwright.dra.plugin import (
    DeviceHealth,
    Plugin,
    PluginFolders,
    PreparedDevice,
    SocketUnusable,
    dra_socket,
    registration_socket,
)
from claimwright.dra.slices import Device, Pool, Version
from claimwright.dra.testing import FakeApi, allocated_claim

DRIVER = "gpu.example.com"


class Driver:
    """Prepares what was allocated; misbehaves for claims by name."""

    def __init__(self):
        self.calls = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.running = 0
        self.most_running = 0

    async def prepare(self, claims):
        self.calls.append(("prepare", tuple(claim.reference.name for claim in claims)))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.entered.set()
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        if any(claim.reference.name == "raises" for claim in claims):
            raise RuntimeError("no such GPU")
        return {claim.uid: self.outcome(claim) for claim in claims if claim.reference.name != "forgotten"}

    def outcome(self, claim):
        if claim.reference.name == "fails":
            return ValueError("the GPU fell off the bus")
        return [
            PreparedDevice(
                (result.request,),
                result.pool,
                result.device,
                (f"{DRIVER}/gpu={result.device}",),
                share_id="share-1",
                attributes={"driverVersion": Version("1.2.3")},
            )
            for result in claim.results_of(DRIVER)
        ]

    async def release(self, claims):
        self.calls.append(("release", tuple(claim.name for claim in claims)))
        if any(claim.name == "raises" for claim in claims):
            raise RuntimeError("no such GPU")
        return {claim.uid: None for claim in claims if claim.name != "forgotten"}


class Rememberer(Driver):
    """Recalls what it prepared, claims by name; the one called `broken` cannot be recalled."""

    def __init__(self):
        super().__init__()
        self.prepared = {}

    def outcome(self, claim):
        self.prepared[claim.reference.name] = super().outcome(claim)
        return self.prepared[claim.reference.name]

    async def recall(self, claim):
        if claim.name == "broken":
            raise RuntimeError("no such GPU")
        return self.prepared.get(claim.name)


class Bench:
    def __init__(self, api, folder):
        self.api = api
        self.folders = PluginFolders(folder / "p", folder / "r", folder / "cdi")
        self.driver = Driver()
        api.put(NODES, {"metadata": {"name": "node-a"}})

    def plugin(self, **more):
        more = {"publish": Pool("node-a", (Device("gpu-0"),)), **more}
        return Plugin(DRIVER, "node-a", self.driver, kube=self.api.kube(), folders=self.folders, **more)

    def claim(self, name, *, devices=(("gpu/big", "node-a", "gpu-0"),), **more):
        return reference_of(self.api.put(RESOURCE_CLAIMS, allocated_claim(name, DRIVER, devices, **more)))

    async def client(self, plugin, version="v1"):
        return PluginClient(plugin.endpoint, version, registration_socket=Path(plugin.registration_path))


@pytest.fixture
async def bench(tmp_path_factory):
    with FakeApi() as api:
        yield Bench(api, tmp_path_factory.mktemp("b"))


async def test_a_plugin_registers_serves_both_versions_and_publishes(bench):
    async with bench.plugin() as plugin:
        info = await wait_for_plugin(bench.folders.registry_dir, DRIVER, timeout_seconds=10)
        assert info.supported_versions == ("v1.DRAPlugin", "v1beta1.DRAPlugin")
        assert info.endpoint == str(bench.folders.plugin_dir / "dra.sock")
        await asyncio.wait_for(plugin.registration.registered.wait(), 5)
        claim = bench.claim("c")
        async with PluginClient.of(info) as new, await bench.client(plugin, "v1beta1") as old:
            (device,) = (await new.prepare([claim]))[claim.uid]
            assert (device.requests, device.share_id) == (("gpu",), "share-1")
            (device,) = (await old.prepare([claim]))[claim.uid]
            assert (device.requests, device.share_id) == (("gpu",), None)
            assert await new.release([claim]) == await old.release([claim]) == {claim.uid: ""}
            assert await new.prepare([]) == {}
        await plugin.publisher.published(timeout_seconds=10)
        assert plugin.serving
    assert len(bench.api.objects(RESOURCE_SLICES)) == 1
    assert not plugin.serving
    assert list(bench.folders.registry_dir.iterdir()) == []


async def test_sockets_are_private_and_appear_only_when_they_answer(bench):
    plugin = bench.plugin()
    await plugin.start()
    for path in (plugin.endpoint, plugin.registration_path):
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert (await get_info(Path(plugin.registration_path), dial_seconds=5)).name == DRIVER
    await plugin.stop()
    await plugin.stop()


async def test_each_claim_has_its_own_answer_whatever_the_others_do(bench):
    good, fails, raises, forgotten = (bench.claim(name) for name in ("good", "fails", "raises", "forgotten"))
    gone = ClaimReference("default", "gone", "g")
    replaced = ClaimReference("default", "good", "older-uid")
    unallocated = bench.claim("unallocated")
    pending = allocated_claim("unallocated", DRIVER, [], uid=unallocated.uid)
    pending["status"] = {}
    bench.api.put(RESOURCE_CLAIMS, pending)
    asked = [good, fails, raises, forgotten, gone, replaced, unallocated]
    async with bench.plugin() as plugin, await bench.client(plugin) as client:
        outcomes = await client.prepare(asked)
        released = await client.release([good, raises, forgotten, gone])
    assert set(outcomes) == {claim.uid for claim in asked}
    assert outcomes[good.uid][0].device == "gpu-0"
    assert outcomes[fails.uid] == "ValueError: the GPU fell off the bus"
    assert outcomes[raises.uid] == "RuntimeError: no such GPU"
    assert "no answer" in outcomes[forgotten.uid]
    assert outcomes["g"] == "claim default/gone does not exist"
    assert (
        outcomes["older-uid"] == f"claim default/good got replaced: expected uid older-uid, found {good.uid}"
    )
    assert "not allocated" in outcomes[unallocated.uid]
    assert released[good.uid] == released["g"] == ""
    assert released[raises.uid] == "RuntimeError: no such GPU"
    assert failures("NodePrepareResources", [good, fails], outcomes) == [
        "NodePrepareResources failed for ResourceClaim fails: ValueError: the GPU fell off the bus"
    ]


async def test_what_the_driver_recalls_is_answered_without_the_api_server(bench):
    bench.driver = Rememberer()
    async with bench.plugin() as plugin, await bench.client(plugin) as client:
        await plugin.publisher.published(timeout_seconds=10)
        one, other, broken = (bench.claim(name) for name in ("one", "other", "broken"))
        first = await client.prepare([one])
        asked = len([path for _, path in bench.api.requests if "resourceclaims" in path])
        again = await client.prepare([one, other, broken])

    assert asked == 1
    assert again[one.uid] == first[one.uid]
    assert [device.device for device in again[other.uid]] == ["gpu-0"]
    assert again[broken.uid] == "RuntimeError: no such GPU"
    paths = [path.rpartition("/")[2] for _, path in bench.api.requests if "resourceclaims" in path]
    assert paths == ["one", "other"]
    assert bench.driver.calls == [("prepare", ("one",)), ("prepare", ("other",))]


async def test_an_unreachable_api_server_fails_the_claim_and_not_the_call(bench):
    claim = bench.claim("c")
    async with bench.plugin() as plugin, await bench.client(plugin) as client:
        bench.api.fail("GET", "/resourceclaims/c", 503)
        assert "injected" in (await client.prepare([claim]))[claim.uid]
        assert isinstance((await client.prepare([claim]))[claim.uid], tuple)


async def test_a_call_that_the_kubelet_gave_up_is_finished_before_the_next_one(bench):
    claim = bench.claim("c")
    bench.driver.gate.clear()
    async with bench.plugin(serialize=False) as plugin, await bench.client(plugin) as client:
        with pytest.raises(CallFailed) as caught:
            await client.prepare([claim], timeout_seconds=0.2)
        assert caught.value.code == "DEADLINE_EXCEEDED"
        again = asyncio.create_task(client.prepare([claim]))
        assert (len(bench.driver.calls), bench.driver.running) == (1, 1)
        bench.driver.gate.set()
        assert isinstance((await again)[claim.uid], tuple)
    assert bench.driver.most_running == 1


class Waiter(Driver):
    """Prepares when its gate opens, and is told for which claims to wait no longer."""

    def __init__(self):
        super().__init__()
        self.gate.clear()

    def stop_waiting(self, claims):
        self.calls.append(("stop waiting", tuple(claim.name for claim in claims)))
        self.gate.set()


async def test_a_driver_that_waits_is_told_of_a_release_before_that_waits_for_it(bench):
    claim = bench.claim("c")
    bench.driver = Waiter()
    async with bench.plugin(serialize=False) as plugin, await bench.client(plugin) as client:
        preparing = asyncio.create_task(client.prepare([claim]))
        await asyncio.wait_for(bench.driver.entered.wait(), 10)
        assert await client.release([claim], timeout_seconds=10) == {claim.uid: ""}
        await preparing
    assert bench.driver.calls == [("prepare", ("c",)), ("stop waiting", ("c",)), ("release", ("c",))]


@pytest.mark.parametrize(("serialize", "most"), [(True, 1), (False, 4)])
async def test_claims_run_together_only_where_the_driver_says_so(bench, serialize, most):
    claims = [bench.claim(f"c{index}") for index in range(4)]
    bench.driver.gate.clear()
    async with bench.plugin(serialize=serialize) as plugin, await bench.client(plugin) as client:
        calls = [asyncio.create_task(client.prepare([claim])) for claim in claims]
        async with asyncio.timeout(10):
            while bench.driver.running < most:
                await asyncio.sleep(0.01)
        bench.driver.gate.set()
        await asyncio.gather(*calls)
    assert bench.driver.most_running == most


async def test_a_stop_deregisters_first_and_lets_running_calls_finish(bench):
    claim = bench.claim("c")
    bench.driver.gate.clear()
    plugin = bench.plugin()
    await plugin.start()
    async with await bench.client(plugin) as client:
        call = asyncio.create_task(client.prepare([claim]))
        await asyncio.wait_for(bench.driver.entered.wait(), 10)
        stop = asyncio.create_task(plugin.stop(grace_seconds=10))
        async with asyncio.timeout(10):
            while find_sockets(bench.folders.registry_dir):
                await asyncio.sleep(0.01)
        assert not call.done()
        bench.driver.gate.set()
        assert isinstance((await call)[claim.uid], tuple)
        await stop


async def test_a_stale_socket_of_a_killed_plugin_is_replaced(bench):
    program = "import socket, sys\nfor path in sys.argv[1:]: socket.socket(socket.AF_UNIX).bind(path)"
    stale = (
        dra_socket(bench.folders.plugin_dir, None),
        registration_socket(bench.folders.registry_dir, DRIVER, None),
    )
    for path in stale:
        path.parent.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", program, *stale], check=True, timeout=30)
    async with bench.plugin():
        await wait_for_plugin(bench.folders.registry_dir, DRIVER, timeout_seconds=10)


async def test_a_plugin_never_removes_the_socket_of_its_successor(bench):
    first, second = bench.plugin(), bench.plugin()
    await first.start()
    await second.start()
    await first.stop()
    assert second.serving
    await second.stop()


async def test_two_instances_serve_side_by_side_and_slices_stay(bench):
    claim = bench.claim("c")
    old = bench.plugin(instance="uid-1")
    new = bench.plugin(instance="uid-2", publish=Pool("node-a", (Device("gpu-0"), Device("gpu-1"))))
    await old.start()
    await old.publisher.published(timeout_seconds=10)
    await new.start()
    await new.publisher.published(timeout_seconds=10)
    assert len(find_sockets(bench.folders.registry_dir)) == 2
    async with await bench.client(old) as first, await bench.client(new) as second:
        assert isinstance((await first.prepare([claim]))[claim.uid], tuple)
        assert (await second.release([claim]))[claim.uid] == ""
    writes = len(bench.api.writes())
    old.publisher._wake.set()
    await old.stop()
    assert len(bench.api.writes()) == writes
    (item,) = bench.api.objects(RESOURCE_SLICES)
    assert len(item["spec"]["devices"]) == 2
    await new.stop()


async def test_an_older_instance_publishes_again_when_the_newer_one_is_gone(bench):
    old = bench.plugin(instance="uid-1")
    new = bench.plugin(instance="uid-2", publish=Pool("node-a", (Device("bad"),)))
    await old.start()
    await old.publisher.published(timeout_seconds=10)
    await new.start()
    await new.publisher.published(timeout_seconds=10)
    await new.stop()
    async with asyncio.timeout(10):
        while bench.api.objects(RESOURCE_SLICES)[0]["spec"]["devices"] != [{"name": "gpu-0"}]:
            await asyncio.sleep(0.02)
    await old.stop()


def test_socket_names_of_instances_follow_the_length_limit():
    uid = "0b9a8e2e-6d0a-4a53-9d3e-0123456789ab"
    short = registration_socket(Path("/r"), DRIVER, uid)
    assert short.name == f"{DRIVER}-{uid}-reg.sock"
    middle = registration_socket(Path("/r"), "d" * 60 + ".com", uid)
    assert middle.name.startswith("d" * 60 + ".com-")
    assert len(str(middle)) <= 107
    longest = registration_socket(Path("/" + "r" * 50), "d" * 60 + ".com", uid)
    assert longest.name.startswith("dra-")
    with pytest.raises(SocketUnusable, match="at most 107 work: use a shorter folder"):
        registration_socket(Path("/" + "r" * 100), DRIVER, uid)
    assert dra_socket(Path("/p"), uid).name == f"dra-{uid}.sock"


async def test_a_folder_that_cannot_hold_sockets_is_a_fatal_error_that_leaves_nothing(bench):
    bench.folders.registry_dir.parent.joinpath("r").write_text("a file")
    with pytest.raises(SocketUnusable, match="cannot serve on") as caught:
        await bench.plugin().start()
    assert not caught.value.recoverable
    assert find_sockets(bench.folders.plugin_dir) == {}


async def test_metadata_of_claims_that_nobody_holds_is_swept(bench):
    kept, lost = bench.claim("kept"), bench.claim("lost")
    async with bench.plugin(metadata=True) as plugin, await bench.client(plugin) as client:
        await client.prepare([kept, lost])
        plugin.metadata_files.remove_orphans([kept.uid])
        plugin.metadata_files.remove_orphans([kept.uid])

    left = [
        path.relative_to(bench.folders.plugin_dir / "dra-device-metadata").parts[0]
        for path in bench.folders.plugin_dir.glob("dra-device-metadata/**/metadata.json")
    ]
    specs = [path.name for path in bench.folders.cdi_dir.glob("*_metadata_*")]
    assert left == ["default_kept"]
    assert specs == [f"{DRIVER}_metadata_{kept.uid}_gpu.json"]
    assert not (bench.folders.plugin_dir / "dra-device-metadata/default_lost").exists()


async def test_what_killed_writers_of_metadata_left_is_swept_and_goes_with_its_claim(bench):
    released, lost, kept = bench.claim("released"), bench.claim("lost"), bench.claim("kept")
    cdi, folder = bench.folders.cdi_dir, bench.folders.plugin_dir / "dra-device-metadata"
    async with bench.plugin(metadata=True) as plugin, await bench.client(plugin) as client:
        await client.prepare([released, kept])
        for claim in (released, lost, kept):
            (cdi / f".{DRIVER}_metadata_{claim.uid}_gpu.json.x1.tmp").write_text("{")
        for name in ("default_old", "default_new"):
            (folder / name / "gpu").mkdir(parents=True)
        (folder / "default_old/gpu/.metadata.json.x1.tmp").write_text("{")
        os.utime(folder / "default_old/gpu", (0, 0))
        await client.release([released])
        plugin.metadata_files.remove_orphans([kept.uid])

    assert [path.name for path in cdi.glob(".*.tmp")] == [f".{DRIVER}_metadata_{kept.uid}_gpu.json.x1.tmp"]
    assert sorted(path.name for path in folder.iterdir()) == ["default_kept", "default_new"]


@pytest.mark.parametrize("name", ["../../../etc", "a/b", "x" * 300, "", "a\x00b", 7])
async def test_a_pods_name_for_a_claim_that_is_none_harms_that_claim_only(bench, name):
    good, bad = bench.claim("good"), bench.claim("bad")
    (item,) = (each for each in bench.api.objects(RESOURCE_CLAIMS) if each["metadata"]["name"] == "bad")
    annotations = {"resource.kubernetes.io/pod-claim-name": name}
    bench.api.put(RESOURCE_CLAIMS, {**item, "metadata": {**item["metadata"], "annotations": annotations}})
    async with bench.plugin(metadata=True) as plugin, await bench.client(plugin) as client:
        outcomes = await client.prepare([bad, good])
        released = await client.release([bad, good])
    assert isinstance(outcomes[bad.uid], str)
    assert not isinstance(outcomes[good.uid], str)
    assert released == {bad.uid: "", good.uid: ""}


async def test_claims_leave_no_patterns_of_their_names_in_memory(bench, monkeypatch):
    compiled = []
    monkeypatch.setattr(fnmatch, "translate", lambda pattern: compiled.append(pattern) or "x")
    claim = bench.claim("c")
    async with bench.plugin(metadata=True) as plugin, await bench.client(plugin) as client:
        await client.prepare([claim])
        await client.release([claim])

    assert not [pattern for pattern in compiled if claim.uid in pattern]
    assert list(bench.folders.cdi_dir.glob("*")) == []


async def test_metadata_files_come_with_their_mounts_and_go_again(bench):
    claim = bench.claim("c", pod_claim_name="gpus")
    async with bench.plugin(metadata=True) as plugin, await bench.client(plugin) as client:
        first = (await client.prepare([claim]))[claim.uid]
        assert (await client.prepare([claim]))[claim.uid] == first
        cdi_id = f"{DRIVER}/metadata={claim.uid}_gpu"
        assert first[0].cdi_ids == (f"{DRIVER}/gpu=gpu-0", cdi_id)
        (mount,) = load_specs([bench.folders.cdi_dir]).resolve([cdi_id]).mounts
        root = "/var/run/kubernetes.io/dra-device-attributes/resourceclaimtemplates"
        assert (mount.container_path, mount.options) == (
            f"{root}/gpus/gpu/{DRIVER}-metadata.json",
            ("ro", "bind"),
        )
        path = Path(mount.host_path)
        assert path == bench.folders.plugin_dir / "dra-device-metadata/default_c/gpu/metadata.json"
        found = metadata.read(path)
        assert (found.uid, found.generation, found.requests[0].name) == (claim.uid, 1, "gpu/big")
        assert found.requests[0].devices[0].attributes == {"driverVersion": Version("1.2.3")}
        inode = path.stat().st_ino
        late = PreparedDevice(("gpu",), "node-a", "gpu-0", attributes={"mac": "00:11"})
        assert plugin.metadata_files.update(claim, "gpu", [late]).generation == 2
        await client.prepare([claim])
        assert (metadata.read(path).generation, path.stat().st_ino) == (2, inode)
        assert (await client.release([claim]))[claim.uid] == ""
        assert (await client.release([claim]))[claim.uid] == ""
        assert list(bench.folders.cdi_dir.iterdir()) == []
        assert not path.exists()
        with pytest.raises(FileNotFoundError):
            plugin.metadata_files.update(claim, "gpu", [late])


async def test_a_claim_name_never_leads_out_of_the_folder(bench):
    async with bench.plugin(metadata=True) as plugin, await bench.client(plugin) as client:
        evil = ClaimReference("default", "../../evil", "u")
        assert "cannot be part of a file's path" in (await client.release([evil]))["u"]


class Health:
    def __init__(self):
        self.lists = asyncio.Queue()

    async def watch(self):
        while (devices := await self.lists.get()) is not None:
            yield devices


@pytest.mark.parametrize("version", ["v1", "v1alpha1"])
async def test_health_is_told_at_once_on_change_and_again_in_time(bench, version):
    source = Health()
    healthy = (DeviceHealth("node-a", "gpu-0", "Healthy", timeout_seconds=3),)
    broken = (
        DeviceHealth("node-a", "gpu-0", "Unhealthy", "XID 79", timeout_seconds=3, updated_unix_seconds=5),
    )
    async with bench.plugin(health=source, health_resend_seconds=0.1) as plugin:
        info = await get_info(Path(plugin.registration_path))
        assert info.supported_versions[2:] == ("v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth")
        async with await bench.client(plugin) as client:
            source.lists.put_nowait(healthy)
            seen = []
            async for devices in client.watch_health(version, timeout_seconds=10):
                seen.append(devices)
                if len(seen) == 2:
                    source.lists.put_nowait(broken)
                if broken in seen:
                    break
    assert seen[:2] == [healthy, healthy]


async def test_a_stop_ends_health_streams_at_once(bench):
    source = Health()
    plugin = bench.plugin(health=source)
    await plugin.start()
    source.lists.put_nowait(())
    async with await bench.client(plugin) as client:
        stream = client.watch_health()
        assert await anext(stream) == ()
        async with asyncio.timeout(5):
            await plugin.stop(grace_seconds=30)
        assert [message async for message in stream] == []


def test_a_kubelet_walks_the_list_of_the_plugin():
    assert choose_dra_version(["v1.DRAPlugin", "v1beta1.DRAPlugin"]) == "v1"
    assert (
        choose_dra_version(["v1alpha1.DRAResourceHealth", "v1beta1.DRAPlugin", "v1.DRAPlugin"]) == "v1beta1"
    )
    assert choose_health_version(["v1alpha1.DRAResourceHealth", "v1.DRAResourceHealth"]) == "v1"
    assert choose_health_version(["v1.DRAPlugin"]) is None
    for advertised in ([], ["1.0.0"], ["v1.DRAResourceHealth"]):
        with pytest.raises(RegistrationFailed, match="invalid supported gRPC versions"):
            choose_dra_version(advertised)


async def test_a_plugin_that_fits_no_kubelet_is_told_so(bench):
    plugin = bench.plugin(versions=())
    await plugin.start()
    with pytest.raises(RegistrationFailed, match="invalid supported gRPC versions"):
        await register(Path(plugin.registration_path))
    assert "invalid supported gRPC versions" in plugin.registration.error
    assert await find_plugins(bench.folders.registry_dir) == ()
    await plugin.stop()


async def test_a_watcher_tells_plugins_that_come_go_and_come_back(bench):
    told = asyncio.Queue()

    async def came(info):
        told.put_nowait(("came", info.name))

    async def went(info):
        told.put_nowait(("went", info.name))

    bench.folders.registry_dir.mkdir(parents=True)
    async with PluginWatcher(bench.folders.registry_dir, came, went) as watcher, asyncio.timeout(20):
        for _ in range(2):
            plugin = bench.plugin()
            await plugin.start()
            assert await told.get() == ("came", DRIVER)
            assert [info.name for info in watcher.plugins] == [DRIVER]
            await plugin.stop()
            assert await told.get() == ("went", DRIVER)


async def test_a_socket_that_never_answers_is_named_at_the_deadline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("r")
    program = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(folder / "x-reg.sock")], check=True, timeout=30)
    with pytest.raises(
        RegistrationFailed, match=r"failed to dial socket .*x-reg\.sock: no connection within 0\.2 s"
    ):
        await register(folder / "x-reg.sock", dial_seconds=0.2)
    with pytest.raises(RegistrationFailed, match=r"driver 'd' did not register .* no registration socket"):
        await wait_for_plugin(tmp_path_factory.mktemp("empty"), "d", timeout_seconds=0.1)


def test_replies_are_checked_in_the_words_of_the_kubelet():
    claims = [ClaimReference("ns", "a", "1"), ClaimReference("ns", "b", "2")]
    with pytest.raises(InvalidReply, match="NodePrepareResources returned result for unknown claim UID 3"):
        _check_reply("NodePrepareResources", claims, {"1": None, "2": None, "3": None})
    with pytest.raises(InvalidReply, match="NodePrepareResources skipped 1 ResourceClaims"):
        _check_reply("NodePrepareResources", claims, {"1": None})


async def test_a_plugin_that_is_gone_fails_the_call_with_its_code(tmp_path_factory):
    async with PluginClient(tmp_path_factory.mktemp("p") / "dra.sock") as client:
        with pytest.raises(CallFailed, match="NodePrepareResources: rpc error: code = UNAVAILABLE") as caught:
            await client.prepare([ClaimReference("a", "b", "c")], timeout_seconds=5)
    assert caught.value.code == "UNAVAILABLE"

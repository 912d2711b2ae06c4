"""MPS: limits as the daemon takes them, its life on the node, and what is left after a death at any call."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimwright.dra.claims import Claim, ClaimUid
from claimwright.dra.testing import FakeApi
from claimwright.driver.configs.sharing import MpsConfig
from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.edits.mps_client import MpsClient, mps_client
from claimwright.driver.entries import Entry
from claimwright.driver.errors import ClaimRefused, StepFailed
from claimwright.driver.mps.daemon import MpsDaemons
from claimwright.driver.mps.limits import described, group_id, pinned_limits
from claimwright.driver.mps.place import MARK, Place
from claimwright.driver.mps.supervising import MpsSupervisor
from claimwright.driver.ports import Finished, View
from claimwright.driver.steps import Probe, Step
from claimwright.driver.testing import (
    GpuPrograms,
    HandClock,
    MemoryHost,
    MemoryMounts,
    MemoryPartitions,
    allocated_gpus,
    gpu_reading,
    wait_until,
)
from claimwright.driver.testing.memory_node import NODE, MemoryNode
from claimwright.driver.tools.compute_mode import ComputeModeTool, exclusive_process
from claimwright.driver.tools.mps_daemon import MpsDaemonTool, mps_daemon
from claimwright.driver.tools.nvidia_smi import NvidiaSmi

API = "resource.nvidia.com/v1beta1"
UUIDS = [gpu_reading(n).uuid for n in range(3)]


def sharing(**config: Any) -> dict[str, Any]:
    return {"strategy": "MPS", "mpsConfig": config}


def config_of(body: Mapping[str, Any], kind: str = "GpuConfig") -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "sharing": body}


def config_entry(body: Mapping[str, Any], kind: str = "GpuConfig") -> dict[str, Any]:
    return {
        "source": "FromClaim",
        "opaque": {"driver": "gpu.nvidia.com", "parameters": config_of(body, kind)},
    }


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as api:
        yield api


@pytest.fixture
def node(tmp_path: Path, api: FakeApi) -> Iterator[MemoryNode]:
    with closing(MemoryNode(tmp_path, api)) as node:
        yield node


def programs(node: MemoryNode) -> GpuPrograms:
    found = node.doors.processes
    assert isinstance(found, GpuPrograms)
    return found


def claim(name: str, devices: Sequence[str], body: Mapping[str, Any], kind: str = "GpuConfig") -> Claim:
    """Give a claim several devices that share one config."""
    found = allocated_gpus(name, devices, pool=NODE, config=[config_entry(body, kind)])
    found["metadata"]["uid"] = f"uid-{name}"
    return Claim.from_object(found)


async def prepared(node: MemoryNode, wanted: Claim) -> tuple[Any, Entry]:
    started = await node.start()
    entry = await started.machine.prepare(started.planner.plan(wanted))
    return started, entry


@pytest.mark.capability("004-05")
@pytest.mark.parametrize(
    ("limit", "mebibytes"), [("10M", 9), ("1G", 953), ("2Gi", 2048), ("1Mi", 1), ("1.5Gi", 1536)]
)
def test_memory_limits_are_whole_mebibytes_rounded_down(limit: str, mebibytes: int) -> None:
    asked = described(MpsConfig.model_validate({"defaultPinnedDeviceMemoryLimit": limit}))

    assert pinned_limits(asked, UUIDS) == dict.fromkeys(UUIDS, mebibytes)


def limits(per_device: Mapping[str, int], everyone: int | None = None) -> dict[str, Any]:
    return {"percentage": None, "pinned": everyone, "pinned_per_device": per_device, "many_users": False}


def test_a_devices_own_limit_goes_over_that_of_all() -> None:
    found = pinned_limits(limits({"0": 1, UUIDS[2]: 3}, 7), list(reversed(UUIDS)))

    assert found == {UUIDS[0]: 1, UUIDS[1]: 7, UUIDS[2]: 3}


@pytest.mark.parametrize("device", ["3", "-1", "GPU-else", "", "²", "0x0"])
def test_a_device_that_the_group_lacks_is_refused_by_name(device: str) -> None:
    with pytest.raises(ClaimRefused, match=r"invalid device .*expected 0 to 2"):
        pinned_limits(limits({device: 1}), UUIDS)


def test_the_daemons_name_is_the_community_drivers() -> None:
    digest = hashlib.sha256(b"GPU-a,GPU-b").hexdigest()

    assert group_id(ClaimUid("uid"), ["GPU-b", "GPU-a"]) == f"uid-{digest[:5]}"


@pytest.mark.capability("004-04")
@pytest.mark.capability("004-08")
async def test_a_claim_has_one_daemon_with_its_limits_and_the_gpus_to_itself(node: MemoryNode) -> None:
    body = sharing(defaultActiveThreadPercentage=50, defaultPerDevicePinnedMemoryLimit={"1": "1Gi"})
    started, entry = await prepared(node, claim("a", ["gpu-0", "gpu-1"], body))
    world = programs(node)
    ((daemon, told),) = world.limits.items()
    environment = world.living[daemon]
    modes = dict(world.compute_modes)

    await started.machine.release(entry.uid)

    uuids = sorted(gpu_reading(n).uuid for n in (0, 1))
    assert told == [
        f"set_default_device_pinned_mem_limit {uuids[1]} 1024M",
        "set_default_active_thread_percentage 50",
    ]
    assert environment["CUDA_VISIBLE_DEVICES"].split(",") == uuids
    assert modes == dict.fromkeys(uuids, "EXCLUSIVE_PROCESS")
    assert (world.living, world.compute_modes) == ({}, {})
    assert not node.settings.mps_dir.exists()


async def test_two_configs_in_one_claim_have_a_daemon_each(node: MemoryNode) -> None:
    entries = [
        {
            "source": "FromClaim",
            "requests": [f"gpu-{n}"],
            "opaque": {
                "driver": "gpu.nvidia.com",
                "parameters": config_of(sharing(defaultActiveThreadPercentage=10 * (n + 1))),
            },
        }
        for n in range(2)
    ]
    item = allocated_gpus("two", ["gpu-0", "gpu-1"], pool=NODE, config=entries)
    await prepared(node, Claim.from_object(item))

    assert sorted(programs(node).limits.values()) == [
        ["set_default_active_thread_percentage 10"],
        ["set_default_active_thread_percentage 20"],
    ]


@pytest.mark.parametrize(
    "device", ["gpu-0-mig-1g10gb-19-0", "gpu-2-mig-3g40gb-9-4"], ids=["dynamic", "static"]
)
async def test_a_partition_gets_a_daemon_that_sees_the_partition(node: MemoryNode, device: str) -> None:
    body = sharing(defaultPerDevicePinnedMemoryLimit={"0": "1Gi"})
    await prepared(node, claim("a", [device], body, "MigDeviceConfig"))
    world = programs(node)
    ((daemon, told),) = world.limits.items()
    uuid = world.living[daemon]["CUDA_VISIBLE_DEVICES"]

    assert uuid.startswith("MIG-")
    assert told == [f"set_default_device_pinned_mem_limit {uuid} 1024M"]
    assert world.compute_modes == {}


async def test_containers_get_the_pipe_and_the_shared_memory_of_their_daemon(node: MemoryNode) -> None:
    await prepared(node, claim("a", ["gpu-0"], sharing()))
    (folder,) = node.settings.mps_dir.iterdir()

    edits = MpsClient(node.settings.mps_dir)(mps_client(folder.name))

    assert edits.env == ("CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps",)
    assert {mount.container_path: mount.host_path for mount in edits.mounts} == {
        "/dev/shm": str(folder / "shm"),
        "/tmp/nvidia-mps": str(folder / "pipe"),
    }
    assert "CUDA_MPS_PIPE_DIRECTORY=/tmp/nvidia-mps" in next(node.cdi.iterdir()).read_text()


async def test_mps_beside_consumable_shares_is_refused(tmp_path: Path, api: FakeApi) -> None:
    node = MemoryNode(tmp_path, api)
    node.settings = replace(node.settings, consumable_shares="4")
    started = await node.start()

    for device, kind in (("gpu-0", "GpuConfig"), ("gpu-0-mig-1g10gb-19-0", "MigDeviceConfig")):
        with pytest.raises(
            ClaimRefused, match="MPS sharing is not supported when consumable shares is enabled"
        ):
            started.planner.plan(claim("a", [device], sharing(), kind))


async def test_many_users_need_a_gpu_that_knows_them(node: MemoryNode) -> None:
    nvml: Any = node.doors.nvml
    nvml.gpus = tuple(replace(gpu, compute_capability=(6, 1)) for gpu in nvml.gpus)
    started = await node.start()

    with pytest.raises(
        ClaimRefused, match=r"multiUser needs compute capability 7\.0 or newer: gpu-0 has 6\.1"
    ):
        started.planner.plan(claim("a", ["gpu-0"], sharing(multiUser=True)))


async def test_many_users_are_told_to_the_daemon(node: MemoryNode) -> None:
    await prepared(node, claim("a", ["gpu-0"], sharing(multiUser=True)))

    assert ("nvidia-cuda-mps-control", "-d", "-M") in programs(node).commands


async def test_a_wrong_device_is_refused_before_anything_is_touched(node: MemoryNode) -> None:
    started = await node.start()
    before = node.world()

    with pytest.raises(ClaimRefused, match="invalid device '1'"):
        started.planner.plan(claim("a", ["gpu-0"], sharing(defaultPerDevicePinnedMemoryLimit={"1": "1Gi"})))

    assert node.world() == before


async def test_a_daemon_that_does_not_start_leaves_nothing_and_says_why(node: MemoryNode) -> None:
    programs(node).answers["nvidia-cuda-mps-control"] = Finished(
        1, "An instance of this daemon is already running"
    )
    started = await node.start()

    with pytest.raises(StepFailed, match=r"-d ended with status 1: An instance of this daemon"):
        await started.machine.prepare(started.planner.plan(claim("a", ["gpu-0"], sharing())))

    assert programs(node).compute_modes == {}
    assert not node.settings.mps_dir.exists()
    assert started.machine.entries == ()


async def test_a_daemon_that_never_listens_is_ended(node: MemoryNode) -> None:
    programs(node).silent = True
    started = await node.start()

    with pytest.raises(StepFailed, match="does not answer: its socket did not appear"):
        await started.machine.prepare(started.planner.plan(claim("a", ["gpu-0"], sharing())))

    assert programs(node).living == {}
    assert not node.settings.mps_dir.exists()


async def test_what_survives_its_end_keeps_the_claim_until_it_is_gone(
    node: MemoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claimwright.driver.mps.daemon._ANSWER_SECONDS", 0.01)
    started, entry = await prepared(node, claim("a", ["gpu-0"], sharing()))
    world = programs(node)
    server = world.begin(dict(next(iter(world.living.values()))))
    world.stubborn.add(server)

    with pytest.raises(StepFailed, match=f"processes {server.pid} of .* survive"):
        await started.machine.release(entry.uid)
    world.stubborn.clear()
    await started.machine.release(entry.uid)

    assert world.living == {}
    assert not node.settings.mps_dir.exists()


class Dead(BaseException):
    """The driver's process ended here."""


class Mortal(GpuPrograms):
    """Programs under which the driver dies at its call number `dies_at`, before or after the program acted."""

    def __init__(self, dies_at: int, *, before: bool) -> None:
        super().__init__()
        self.dies_at, self.before, self.calls = dies_at, before, 0

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        timeout_seconds: float,
        text: str = "",
        view: View | None = None,
        stays: bool = False,
    ) -> Finished:
        self.calls += 1
        if self.calls == self.dies_at and self.before:
            raise Dead
        said = super().run(
            command,
            environment=environment,
            timeout_seconds=timeout_seconds,
            text=text,
            view=view,
            stays=stays,
        )
        if self.calls == self.dies_at:
            raise Dead
        return said


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, 9))
def test_a_driver_that_dies_at_any_call_of_a_program_leaves_the_claim_prepared_or_nothing(
    tmp_path: Path, api: FakeApi, dies_at: int, before: bool
) -> None:
    node = MemoryNode(tmp_path, api)
    mortal = Mortal(dies_at, before=before)
    object.__setattr__(node.doors, "processes", mortal)
    wanted = claim("a", ["gpu-0"], sharing(defaultActiveThreadPercentage=50))

    async def live() -> None:
        started = await node.start()
        try:
            entry = await started.machine.prepare(started.planner.plan(wanted))
            await started.machine.release(entry.uid)
        finally:
            await asyncio.to_thread(started.journal.close)

    async def again() -> Entry | None:
        started = await node.start()
        await started.machine.recover()
        found = started.machine.entry(wanted.uid)
        await started.machine.stop(timeout_seconds=5)
        return found

    with contextlib.suppress(Dead):
        asyncio.run(live())
    mortal.dies_at = 0
    entry = asyncio.run(again())

    if entry is None:
        assert (mortal.living, mortal.compute_modes) == ({}, {})
        assert not node.settings.mps_dir.exists()
    else:
        assert list(mortal.limits.values()) == [["set_default_active_thread_percentage 50"]]


def driver_root(folder: Path) -> DriverRoot:
    for path in ("usr/lib64/libnvidia-ml.so.1", "usr/bin/nvidia-cuda-mps-control", "usr/bin/nvidia-smi"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return DriverRoot(folder, PurePosixPath(folder))


def tool(folder: Path, world: GpuPrograms, mounts: MemoryMounts | None = None) -> MpsDaemonTool:
    mounts = mounts or MemoryMounts()
    daemons = MpsDaemons(driver_root(folder / "root"), world, mounts)
    host = MemoryHost(files={"/proc/meminfo": "MemTotal:       1000 kB\n"})
    return MpsDaemonTool(folder / "mps", daemons, mounts, host, MemoryPartitions())


def a_step(group: str = "g") -> Step:
    return mps_daemon(group, [{"gpu": UUIDS[0]}], limits({}, 5))


def test_a_dead_daemon_is_told_from_a_living_and_from_none(tmp_path: Path) -> None:
    world = GpuPrograms()
    found, step = tool(tmp_path, world), a_step()

    seen = [found.probe(step)]
    found.do(step)
    seen.append(found.probe(step))
    world.end(next(iter(world.living)))
    seen.append(found.probe(step))
    found.do(step)
    seen.append(found.probe(step))

    assert seen == [Probe.NOT_DONE, Probe.DONE, Probe.PARTLY, Probe.DONE]


def test_a_process_that_got_the_dead_daemons_pid_is_not_taken_for_it(tmp_path: Path) -> None:
    world = GpuPrograms()
    found, step = tool(tmp_path, world), a_step()
    found.do(step)
    (daemon,) = world.living
    world.end(daemon)
    others = [world.begin({}) for _ in range(3)]
    assert daemon.pid in {other.pid for other in others}

    probed = found.probe(step)
    found.undo(step)

    assert probed is Probe.PARTLY
    assert set(world.living) == set(others)


def test_the_shared_memory_is_half_of_the_nodes(tmp_path: Path) -> None:
    mounts = MemoryMounts()
    found = tool(tmp_path, GpuPrograms(), mounts)
    found.do(a_step())

    assert mounts.mounted == {tmp_path / "mps/g/shm": 500}
    found.undo(a_step())
    assert mounts.mounted == {}


def test_groups_of_nobody_are_swept_and_others_kept(tmp_path: Path) -> None:
    world = GpuPrograms()
    found = tool(tmp_path, world)
    for group in ("kept", "lost"):
        found.do(a_step(group))
    (tmp_path / "mps/the-community-drivers/pipe").mkdir(parents=True)

    found.sweep({"kept"})

    assert {path.name for path in (tmp_path / "mps").iterdir()} == {"kept", "the-community-drivers"}
    assert [each[MARK] for each in world.living.values()] == [str(tmp_path / "mps/kept")]


def test_the_compute_mode_of_before_comes_back(tmp_path: Path) -> None:
    world = GpuPrograms()
    tool(tmp_path, world)
    root = DriverRoot(tmp_path / "root", PurePosixPath(tmp_path / "root"))
    found, step = ComputeModeTool(NvidiaSmi(root, world)), exclusive_process(UUIDS[0])
    world.compute_modes[UUIDS[0]] = "PROHIBITED"

    step = Step(step.tool, {**step.arguments, **found.found(step)})
    found.do(step)
    during = dict(world.compute_modes)
    found.undo(step)
    found.undo(step)

    assert during == {UUIDS[0]: "EXCLUSIVE_PROCESS"}
    assert world.compute_modes == {UUIDS[0]: "PROHIBITED"}


async def test_a_daemon_that_dies_is_started_again_with_its_limits(node: MemoryNode) -> None:
    started, _ = await prepared(node, claim("a", ["gpu-0"], sharing(defaultActiveThreadPercentage=50)))
    world = programs(node)
    supervisor = MpsSupervisor(node.settings.mps_dir, world, started.machine.repair, HandClock())
    supervisor.watch(started.machine.entries)
    (first,) = world.living

    world.end(first)
    await wait_until(lambda: world.living and first not in world.living)
    (second,) = world.living

    assert world.limits[second] == ["set_default_active_thread_percentage 50"]
    supervisor.stop()
    assert second in world.living


class HastyClock(HandClock):
    """Whoever sleeps wakes at once, that much later."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


async def test_one_that_dies_again_and_again_is_started_less_and_less_often(node: MemoryNode) -> None:
    started, _ = await prepared(node, claim("a", ["gpu-0"], sharing()))
    world, clock = programs(node), HastyClock()
    supervisor = MpsSupervisor(node.settings.mps_dir, world, started.machine.repair, clock)
    supervisor.watch(started.machine.entries)

    async def die() -> None:
        (before,) = world.living
        world.end(before)
        await wait_until(lambda: world.living and before not in world.living and world.watched)

    for _ in range(9):
        await die()
    pauses = list(clock.slept)
    clock.advance(3600)
    await die()
    supervisor.stop()

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60], "the first death is none of its fault"
    assert clock.slept == pauses, "one that lived long is started at once"


async def test_one_that_cannot_be_started_again_is_trouble_of_its_claim_until_it_can(
    node: MemoryNode,
) -> None:
    started, entry = await prepared(node, claim("a", ["gpu-0"], sharing()))
    world, clock, told = programs(node), HastyClock(), []
    supervisor = MpsSupervisor(
        node.settings.mps_dir, world, started.machine.repair, clock, lambda *words: told.append(words)
    )
    supervisor.watch(started.machine.entries)
    (first,) = world.living
    world.answers["nvidia-cuda-mps-control"] = Finished(1, "no memory is left")

    world.end(first)
    await wait_until(lambda: told)
    del world.answers["nvidia-cuda-mps-control"]
    await wait_until(lambda: world.living)
    await wait_until(lambda: told[-1][1] == "")
    supervisor.stop()

    assert {uid for uid, _ in told} == {entry.uid}
    assert "cannot be started again" in told[0][1]
    assert "no memory is left" in told[0][1]


async def test_a_daemon_whose_claim_is_released_stays_dead(node: MemoryNode) -> None:
    started, entry = await prepared(node, claim("a", ["gpu-0"], sharing()))
    world = programs(node)
    supervisor = MpsSupervisor(node.settings.mps_dir, world, started.machine.repair, HandClock())
    supervisor.watch(started.machine.entries)

    await started.machine.release(entry.uid)
    supervisor.watch(started.machine.entries)
    await asyncio.sleep(0)

    assert world.living == {}
    assert Place(node.settings.mps_dir, "g").remembered() is None
    supervisor.stop()


@pytest.mark.parametrize("body", [sharing(), {"strategy": "TimeSlicing"}], ids=["MPS", "time-slicing"])
async def test_admin_access_looks_at_a_gpu_and_does_nothing_to_it(
    node: MemoryNode, body: dict[str, Any]
) -> None:
    item = allocated_gpus("admin", ["gpu-0"], pool=NODE, config=[config_entry(body)], adminAccess=True)
    item["metadata"]["uid"] = "uid-admin"
    started, _ = await prepared(node, claim("owner", ["gpu-0"], sharing(defaultActiveThreadPercentage=50)))
    before = node.world()

    entry = await started.machine.prepare(started.planner.plan(Claim.from_object(item)))
    cdi = (node.cdi / "k8s.gpu.nvidia.com-claim_uid-admin.json").read_text()
    await started.machine.release(entry.uid)

    assert [step.tool for step in entry.steps] == ["claim-spec"]
    assert "/dev/nvidia0" in cdi
    assert "CUDA_MPS" not in cdi
    assert node.world() == before


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "defaultActiveThreadPercentage": st.integers(-1, 101),
        "defaultPinnedDeviceMemoryLimit": st.sampled_from(
            ["0", "1Ki", "1Mi", "10M", "2Gi", "9E", "-1", "1m"]
        ),
        "defaultPerDevicePinnedMemoryLimit": st.dictionaries(
            st.sampled_from(["0", "1", "2", "", "x", UUIDS[0], UUIDS[1]]),
            st.sampled_from(["1Mi", "2Gi", "1"]),
        ),
        "multiUser": st.booleans(),
    },
)


@settings(max_examples=60, deadline=None)
@given(body=LIMITS, count=st.integers(1, 2))
def test_any_limits_are_refused_as_a_whole_or_set_on_devices_of_the_group(
    tmp_path_factory: pytest.TempPathFactory, body: dict[str, Any], count: int
) -> None:
    with FakeApi() as api, closing(MemoryNode(tmp_path_factory.mktemp("node"), api)) as node:
        devices = [f"gpu-{number}" for number in range(count)]
        before = node.world()
        try:
            started, entry = asyncio.run(prepared(node, claim("a", devices, sharing(**body))))
        except ClaimRefused:
            assert node.world() == before
            return
        (told,) = programs(node).limits.values()
        asyncio.run(started.machine.release(entry.uid))

    words = [line.split() for line in told]
    limited = [word[1] for word in words if word[0] == "set_default_device_pinned_mem_limit"]
    assert set(limited) <= set(UUIDS[:count])
    assert len(limited) == len(set(limited))
    assert all(int(word[2].removesuffix("M")) > 0 for word in words if len(word) == 3)
    assert programs(node).living == {}

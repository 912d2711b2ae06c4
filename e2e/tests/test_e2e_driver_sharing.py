"""Sharing GPUs through the driver: a real process, real control daemons, an emulated board."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from claimwright.dra.prepared import PreparedDevice
from claimwright.e2e.deadlines import wait_until
from claimwright.e2e.driven_node import DrivenNode

pytestmark = pytest.mark.e2e
API = "resource.nvidia.com/v1beta1"
GATES = "MPSSupport=true,DynamicMIG=true,TimeSlicingSettings=true"
SHARES = "ConsumableShares=true,TimeSlicingSettings=true,DynamicMIG=true"
EXCLUSIVE, DEFAULT = "Exclusive_Process", "Default"


@pytest.fixture
def node() -> Iterator[DrivenNode]:
    with DrivenNode("hgx-h100") as node:
        yield node


def mps(kind: str = "GpuConfig", **config: Any) -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "sharing": {"strategy": "MPS", "mpsConfig": config}}


def slicing(interval: str) -> dict[str, Any]:
    sharing = {"strategy": "TimeSlicing", "timeSlicingConfig": {"interval": interval}}
    return {"apiVersion": API, "kind": "GpuConfig", "sharing": sharing}


def smi(node: DrivenNode, *arguments: str) -> list[str]:
    program = node.node.driver_root / "usr/bin/nvidia-smi"
    done = subprocess.run(
        [program, *arguments],
        env=node.node.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.splitlines()


def compute_modes(node: DrivenNode) -> list[str]:
    return smi(node, "--query-gpu=compute_mode", "--format=csv,noheader")


def pipe_of(node: DrivenNode, devices: Sequence[PreparedDevice]) -> str:
    mounts = {mount.container_path: mount.host_path for mount in node.edits(devices).mounts}
    return mounts["/tmp/nvidia-mps"]


def ask(node: DrivenNode, pipe: str, *commands: str) -> list[str]:
    """Ask a daemon as a container would: by its pipe folder."""
    done = subprocess.run(
        [node.node.driver_root / "usr/bin/nvidia-cuda-mps-control"],
        env={**os.environ, "CUDA_MPS_PIPE_DIRECTORY": pipe},
        input="".join(f"{each}\n" for each in commands),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return (done.stdout + done.stderr).splitlines()


def daemon(pipe: str) -> int:
    return int((Path(pipe) / "nvidia-cuda-mps-control.pid").read_text())


def daemons_of(node: DrivenNode) -> list[int]:
    """Find what runs for this node's daemons by its environment, without asking the driver."""
    found = []
    for process in psutil.process_iter():
        try:
            environment: Mapping[str, str] = process.environ()
        except psutil.Error:
            continue
        if environment.get("CLAIMWRIGHT_MPS_GROUP", "").startswith(str(node.plugins)):
            found.append(process.pid)
    return found


def nothing_left(node: DrivenNode) -> bool:
    clean = not (node.plugins / "gpu.nvidia.com/mps").exists() and not daemons_of(node)
    return clean and str(node.plugins) not in Path("/proc/mounts").read_text()


@pytest.mark.capability("004-08")
@pytest.mark.capability("004-04")
@pytest.mark.capability("004-05")
def test_two_claims_have_a_daemon_each_with_their_own_limits(node: DrivenNode) -> None:
    node.start(GATES)
    one = node.claim("one", ["gpu-0"], configs=[mps(defaultActiveThreadPercentage=50)])
    other = node.claim(
        "other",
        ["gpu-1"],
        configs=[mps(defaultActiveThreadPercentage=30, defaultPinnedDeviceMemoryLimit="2Gi")],
    )

    pipes = [pipe_of(node, node.prepared(claim)) for claim in (one, other)]
    said = [
        ask(node, pipe, "get_default_active_thread_percentage", "get_default_device_pinned_mem_limit 0")
        for pipe in pipes
    ]
    during = compute_modes(node)
    node.released(one)
    half = compute_modes(node)
    still = ask(node, pipes[1], "get_default_active_thread_percentage")
    node.released(other)

    assert said == [["50.0", "No limit set"], ["30.0", "2048M"]]
    assert during == [EXCLUSIVE, EXCLUSIVE, *[DEFAULT] * 6]
    assert half == [DEFAULT, EXCLUSIVE, *[DEFAULT] * 6]
    assert still == ["30.0"]
    assert compute_modes(node) == [DEFAULT] * 8
    assert nothing_left(node)


def test_a_client_gets_a_server_that_goes_with_the_claim(node: DrivenNode) -> None:
    node.start(GATES)
    claim = node.claim("a", ["gpu-0"], configs=[mps()])
    pipe = pipe_of(node, node.prepared(claim))
    ask(node, pipe, "start_server -uid 0")
    wait_until("the server", lambda: bool(ask(node, pipe, "get_server_list")), seconds=20)
    running = len(daemons_of(node))

    node.released(claim)

    assert running == 2
    assert nothing_left(node)


def test_a_killed_driver_finds_its_daemons_again_and_leaves_them_alone(node: DrivenNode) -> None:
    node.start(GATES)
    claim = node.claim("a", ["gpu-0"], configs=[mps(defaultActiveThreadPercentage=40)])
    first = node.prepared(claim)
    pipe = pipe_of(node, first)
    before = daemon(pipe)
    node.kill()
    alone = ask(node, pipe, "get_default_active_thread_percentage")

    node.start(GATES)
    second = node.prepared(claim)
    after = daemon(pipe)
    node.released(claim)

    assert alone == ["40.0"], "the daemon outlives its driver"
    assert (second, after) == (first, before)
    assert nothing_left(node)


def test_a_killed_daemon_is_started_again_with_its_limits(node: DrivenNode) -> None:
    node.start(GATES)
    claim = node.claim("a", ["gpu-0", "gpu-1"], configs=[mps(defaultActiveThreadPercentage=40)])
    pipe = pipe_of(node, node.prepared(claim))
    killed = daemon(pipe)

    os.kill(killed, signal.SIGKILL)

    wait_until(
        "the daemon's return",
        lambda: (
            ask(node, pipe, "get_default_active_thread_percentage") == ["40.0"] and daemon(pipe) != killed
        ),
        seconds=30,
        seen=node.log_end,
    )
    node.released(claim)
    assert nothing_left(node)


def test_a_daemon_that_died_with_its_driver_is_started_again(node: DrivenNode) -> None:
    node.start(GATES)
    claim = node.claim("a", ["gpu-0"], configs=[mps(defaultActiveThreadPercentage=40)])
    pipe = pipe_of(node, node.prepared(claim))
    node.kill()
    os.kill(daemon(pipe), signal.SIGKILL)

    node.start(GATES)

    assert ask(node, pipe, "get_default_active_thread_percentage") == ["40.0"]
    node.released(claim)
    assert nothing_left(node)


def test_a_driver_killed_while_it_starts_a_daemon_leaves_it_whole_or_not_at_all(node: DrivenNode) -> None:
    node.start(GATES)
    for number in range(4):
        claim = node.claim(f"cut-off-{number}", ["gpu-0"], configs=[mps(defaultActiveThreadPercentage=40)])
        folder = node.plugins / "gpu.nvidia.com/mps"
        driver = node.process
        assert driver is not None
        killer = subprocess.Popen(
            ["python3", "-c", KILLER, str(folder), str(driver.pid), str(number * 0.03)],
            stdin=subprocess.DEVNULL,
        )
        with contextlib.suppress(Exception):  # the call dies with the driver
            node.prepare(claim)
        killer.wait(timeout=30)
        node.kill()

        node.start(GATES)
        node.released(claim)

        wait_until("nothing to be left", lambda: nothing_left(node), seconds=10, seen=node.log_end)
        assert compute_modes(node) == [DEFAULT] * 8


KILLER = """
import os, signal, sys, time
folder, pid, after = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
deadline = time.monotonic() + 20
while not os.path.exists(folder) and time.monotonic() < deadline:
    time.sleep(0.001)
time.sleep(after)
os.kill(pid, signal.SIGKILL)
"""


def test_a_partition_made_for_the_claim_has_its_daemon(node: DrivenNode) -> None:
    node.start(GATES)
    claim = node.claim(
        "a",
        ["gpu-0-mig-2g20gb-14-0"],
        configs=[mps("MigDeviceConfig", defaultPerDevicePinnedMemoryLimit={"0": "1Gi"})],
    )

    pipe = pipe_of(node, node.prepared(claim))
    said = ask(node, pipe, "get_default_device_pinned_mem_limit 0")
    modes = compute_modes(node)
    node.released(claim)

    assert said == ["1024M"]
    assert modes == [DEFAULT] * 8, "the compute mode is the whole GPU's, which has other partitions"
    assert nothing_left(node)


def test_four_claims_share_one_gpu_and_its_time_slice_goes_with_the_last(node: DrivenNode) -> None:
    node.start(SHARES, "--consumable-shares=4")
    published = node.wait_devices(lambda found: "gpu-0" in found)["gpu-0"]
    claims = [
        node.claim(f"share-{number}", ["gpu-0"], configs=[slicing("Long")], shareID=f"id-{number}")
        for number in range(4)
    ]

    answers = [node.prepared(claim) for claim in claims]
    names = [name for (device,) in answers for name in device.cdi_ids]
    other = node.claim("short", ["gpu-0"], configs=[slicing("Short")], shareID="id-9")
    (refused,) = node.prepare(other)
    intervals = []
    for claim in claims:
        intervals.append(time_slice(node))
        node.released(claim)

    assert published.allow_multiple_allocations
    assert [device.share_id for (device,) in answers] == [f"id-{number}" for number in range(4)]
    assert len(set(names)) == 4
    assert "already allocated to different claim" in refused.error
    assert "another config" in refused.error
    assert intervals == [intervals[0]] * 4
    assert time_slice(node) != intervals[0]


def time_slice(node: DrivenNode) -> str:
    return "\n".join(smi(node, "compute-policy", "-i", "0", "-l"))


def test_a_partition_for_two_shares_is_cut_once_and_goes_with_the_last(node: DrivenNode) -> None:
    node.start(SHARES, "--consumable-shares=unlimited")
    device = "gpu-0-mig-1g10gb-19-0"
    claims = [node.claim(name, [device], shareID=f"id-{name}") for name in "ab"]
    cut = []
    for claim in claims:
        node.prepared(claim)
        cut.append(partitions(node))
    node.kill()
    node.start(SHARES, "--consumable-shares=unlimited")
    for claim in claims:
        node.released(claim)
        cut.append(partitions(node))

    assert cut[0] == cut[1] == cut[2]
    assert len(cut[0]) == 1
    assert cut[3] == []


def partitions(node: DrivenNode) -> list[str]:
    return [line for line in smi(node, "-L") if "MIG-" in line]


@pytest.mark.parametrize("config", [slicing("Long"), mps()], ids=["time-slicing", "MPS"])
def test_a_claim_whose_gpu_fell_off_the_bus_can_be_released(node: DrivenNode, config: dict[str, Any]) -> None:
    node.start(GATES)
    claim = node.claim("a", ["gpu-0"], configs=[config])
    node.prepared(claim)

    node.node.call("lose", gpu=0)

    node.released(claim)
    assert nothing_left(node)


def test_a_daemon_goes_over_to_the_next_instance_of_the_driver(node: DrivenNode) -> None:
    """As in a rolling update, with both instances alive."""
    old, new = f"{uuid.UUID(int=1)}", f"{uuid.UUID(int=2)}"
    node.instance(old, GATES)
    node.serves(old)
    claim = node.claim("a", ["gpu-0"], configs=[mps(defaultActiveThreadPercentage=40)])
    (before,) = node.prepare(claim, at=old)
    pipe = pipe_of(node, before.devices)
    first = daemon(pipe)

    node.instance(new, GATES)
    node.serves(new)
    (after,) = node.prepare(claim, at=new)
    kept = daemon(pipe)
    os.kill(kept, signal.SIGKILL)
    wait_until(
        "one daemon again",
        lambda: (
            ask(node, pipe, "get_default_active_thread_percentage") == ["40.0"] and len(daemons_of(node)) == 1
        ),
        seconds=30,
    )

    assert (after, kept) == (before, first)
    assert node.release(claim, at=new) == [""]
    assert nothing_left(node)

"""A whole NVL72 on this machine: eighteen live trays with library, FUSE and nvidia-imex, seen from outside only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from claimwright.emulator import running
from claimwright.emulator.rack import Rack, down, repair, up
from claimwright.emulator.rack.domain import wait_for_domain

pytestmark = pytest.mark.e2e
_TRAYS, _GPUS = 18, 4

# Every version of the fabric info of every GPU: [cluster uuid, clique, state, status] each, with the health of v2, v3.
_PROBE = """
import json, pynvml
pynvml.nvmlInit()
def said(info):
    return [bytes(bytearray(info.clusterUuid)).hex(), info.cliqueId, info.state, info.status]
def newer(kind):
    info = kind()
    pynvml.nvmlDeviceGetGpuFabricInfoV(gpu, pynvml.byref(info))
    return said(info) + [info.healthMask] + [info.healthSummary for _ in "3" if hasattr(info, "healthSummary")]
found = []
for index in range(pynvml.nvmlDeviceGetCount()):
    gpu, first = pynvml.nvmlDeviceGetHandleByIndex(index), pynvml.c_nvmlGpuFabricInfo_t()
    pynvml.nvmlDeviceGetGpuFabricInfo(gpu, pynvml.byref(first))
    found.append([said(first), newer(pynvml.c_nvmlGpuFabricInfo_v2_t), newer(pynvml.c_nvmlGpuFabricInfo_v3_t)])
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Trays:
    """The rack, and what a shell on one of its trays is told."""

    rack: Rack

    def node(self, tray: int) -> running.RunningNode:
        return running.load(self.rack.trays[tray].node)

    def run(self, tray: int, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.node(tray).environment}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def table(self, tray: int) -> dict[str, Any]:
        """Return `nvidia-imex-ctl -N -j` of a tray."""
        said = self.run(tray, "nvidia-imex-ctl", "-N", "-j")
        assert said.returncode == 0, said.stderr
        parsed: dict[str, Any] = json.loads(said.stdout)
        return parsed

    def statuses(self, tray: int) -> list[str]:
        nodes = self.table(tray)["nodes"]
        return [nodes[str(at)]["status"] for at in range(len(nodes))]

    def links(self, tray: int) -> list[str]:
        """Return what a tray says of its own connections, by the nodes file's order."""
        connections = self.table(tray)["nodes"][str(tray)]["connections"]
        return [connections[str(at)]["status"] for at in range(len(connections))]

    def daemon(self, tray: int) -> psutil.Process:
        children = psutil.Process(self.node(tray).pid).children()
        return next(each for each in children if each.name() == "nvidia-imex")

    def wait(self, what: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.table(0)
            time.sleep(0.05)


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trays]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("nvl72")))
        made = up("gb200-nvl72", name="nvl72", trays=_TRAYS, files="fuse")
        yield Trays(made)
        down("nvl72")
        assert running.known_names() == []


@pytest.fixture
def trays(booted: Trays) -> Trays:
    repair("nvl72")  # whatever a test before this one left broken
    return booted


@pytest.mark.capability("002-25")
def test_every_gpu_of_every_tray_is_in_the_clique_in_all_versions_of_the_fabric_info(trays: Trays) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda tray: trays.run(tray, sys.executable, "-c", _PROBE), range(_TRAYS)))

    cluster = trays.rack.cluster_uuid.replace("-", "")
    place = [cluster, trays.rack.clique_id, 3, 0]
    for tray, answer in enumerate(answers):
        assert answer.returncode == 0, answer.stderr
        snapshot = trays.node(tray).call("snapshot")
        masks = [gpu["fabric"]["health_mask"] for gpu in snapshot["gpus"]]
        assert json.loads(answer.stdout) == [[place, [*place, mask], [*place, mask, 1]] for mask in masks]
    assert len(answers) * _GPUS == 72


@pytest.mark.capability("002-27")
def test_a_lost_daemon_is_seen_by_all_others_and_the_domain_recovers(trays: Trays) -> None:
    assert trays.statuses(0) == trays.statuses(17) == ["READY"] * _TRAYS
    assert trays.links(0) == ["CONNECTED"] * _TRAYS
    assert "Domain State: UP\n" in trays.run(5, "nvidia-imex-ctl", "-N").stdout

    trays.daemon(11).kill()

    wait_for_domain(trays.rack, "DEGRADED")
    for tray in (0, 10, 17):
        assert trays.table(tray)["status"] == "DEGRADED"
        assert trays.statuses(tray) == ["READY"] * 11 + ["UNAVAILABLE"] + ["READY"] * 6
        assert trays.links(tray) == ["CONNECTED"] * 11 + ["RECOVERING"] + ["CONNECTED"] * 6
        assert trays.run(tray, "nvidia-imex-ctl", "-q").stdout == "READY\n"
    silent = trays.run(11, "nvidia-imex-ctl", "-q")
    assert (silent.returncode, silent.stdout) == (1, "")
    trays.node(11).call("start_imex")
    wait_for_domain(trays.rack, "UP")
    assert trays.statuses(0) == trays.statuses(11) == ["READY"] * _TRAYS


def test_a_tray_that_is_gone_comes_back_by_a_repair(trays: Trays) -> None:
    daemon = trays.daemon(3)
    os.kill(trays.node(3).pid, signal.SIGKILL)
    daemon.wait(timeout=20)
    wait_for_domain(trays.rack, "DEGRADED")
    assert trays.statuses(0)[3] == "UNAVAILABLE"

    repair("nvl72")

    assert trays.statuses(3) == ["READY"] * _TRAYS
    assert trays.links(0) == ["CONNECTED"] * _TRAYS


def test_a_change_of_the_nodes_file_restarts_the_daemons_into_another_domain(trays: Trays) -> None:
    daemons = [trays.daemon(tray).pid for tray in range(_TRAYS - 1)]
    fewer = trays.rack.addresses[:-1]

    def list_nodes(addresses: Sequence[str]) -> None:
        for tray in range(_TRAYS - 1):
            trays.node(tray).call("configure_imex", nodes=addresses, address=trays.rack.addresses[tray])

    def agreed(size: int) -> bool:
        said = [trays.run(tray, "nvidia-imex-ctl", "-N", "-j") for tray in (0, 8, 16)]
        if any(each.returncode for each in said):  # a daemon that restarts answers nobody
            return False
        tables = [json.loads(each.stdout) for each in said]
        return all(len(each["nodes"]) == size and each["status"] == "UP" for each in tables)

    list_nodes(fewer)
    trays.wait(lambda: agreed(17))
    trays.wait(lambda: set(trays.links(17)[:17]) == {"NODE_MAP_MISMATCH"})  # it has another list

    list_nodes(trays.rack.addresses)

    trays.wait(lambda: agreed(18))
    wait_for_domain(trays.rack, "UP")
    assert not {trays.daemon(tray).pid for tray in range(_TRAYS - 1)} & set(daemons)

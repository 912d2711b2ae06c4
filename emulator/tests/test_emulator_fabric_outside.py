"""The fabric of a running node as programs see it: device nodes, NVSwitches, links and partitions tell one story."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE, S_ISCHR
from typing import Any

import pytest

from claimwright.emulator import running
from claimwright.emulator.errors import OperationRefused

_PARTITIONS = {
    1: (1, 2, 3, 4),
    5: (5, 7),
    6: (6, 8),
    9: (3,),
}  # id → module ids, as nv-fabricmanager lists them

# [active links, the PCI addresses at their other ends, fabric state] of each GPU, in NVML's order.
_LINKS = """
import json, pynvml as nvml
nvml.nvmlInit()
found = []
for index in range(nvml.nvmlDeviceGetCount()):
    gpu, info = nvml.nvmlDeviceGetHandleByIndex(index), nvml.c_nvmlGpuFabricInfo_t()
    active = [link for link in range(18) if nvml.nvmlDeviceGetNvLinkState(gpu, link)]
    ends = {nvml.nvmlDeviceGetNvLinkRemotePciInfo(gpu, link).busId for link in active}
    nvml.nvmlDeviceGetGpuFabricInfo(gpu, nvml.byref(info))
    found.append([len(active), sorted(end if isinstance(end, str) else end.decode() for end in ends), info.state])
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Seen:
    """A node by its files, its tools and its NVML; nothing of the model."""

    node: running.RunningNode

    def run(self, *command: str) -> str:
        environment = {**os.environ, **self.node.environment}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def links(self) -> list[tuple[int, list[str], int]]:
        return [tuple(each) for each in json.loads(self.run(sys.executable, "-c", _LINKS))]

    def topology(self) -> list[list[bool]]:
        """Return between which GPUs `nvidia-smi topo -m` shows NVLinks."""
        rows = [line.split() for line in self.run("nvidia-smi", "topo", "-m").splitlines()]
        gpus = [row[1:9] for row in rows if row and re.fullmatch(r"GPU\d", row[0]) and row[1] != "GPU1"]
        return [[cell.startswith("NV") for cell in row] for row in gpus]

    def inspected(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads(
            self.run(
                sys.executable, "-m", "claimwright.cli.main", "node", "inspect", self.node.name, "--json"
            )
        )
        return described

    def major(self, name: str) -> int:
        lines = (self.node.host_root / "proc/devices").read_text().splitlines()
        return next(int(line.split()[0]) for line in lines if line.split()[1:] == [name])


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield lambda board, files: Seen(running.up(board, name="n", files=files))
    if "n" in running.known_names():
        running.down("n")


@pytest.mark.e2e
@pytest.mark.parametrize("channel", [0, 7, 2047])
def test_a_channel_is_a_device_of_the_major_that_proc_devices_names(boot: Any, channel: int) -> None:
    seen = boot("gb200-tray", "fuse")
    path = seen.node.host_root / f"dev/nvidia-caps-imex-channels/channel{channel}"
    assert not path.exists()

    seen.node.call("create_imex_channel", channel=channel)
    seen.node.call("create_imex_channel", channel=channel)  # nvidia-modprobe is called by every pod

    found = path.stat()
    assert S_ISCHR(found.st_mode)
    assert S_IMODE(found.st_mode) == 0o666
    major = seen.major("nvidia-caps-imex-channels")
    assert (os.major(found.st_rdev), os.minor(found.st_rdev)) == (major, channel)
    assert list(path.parent.iterdir()) == [path]
    assert (seen.node.driver_root / f"dev/nvidia-caps-imex-channels/channel{channel}").exists()
    with pytest.raises(OperationRefused, match=r"expected 0\.\.2047"):
        seen.node.call("create_imex_channel", channel=2048)
    assert seen.inspected()["imex_channels"]["nodes"] == [channel]


@pytest.mark.slow
def test_switches_are_one_set_in_proc_sys_dev_and_at_the_ends_of_links(boot: Any) -> None:
    seen = boot("hgx-h100", "plain")
    root = seen.node.host_root

    listed = sorted(each.name for each in (root / "proc/driver/nvidia-nvswitch/devices").iterdir())

    assert len(listed) == 4
    assert {address: (root / f"sys/bus/pci/devices/{address}/class").read_text() for address in listed} == (
        dict.fromkeys(listed, "0x068000\n")
    )
    devices = [each for each in (root / "dev").iterdir() if re.fullmatch(r"nvidia-nvswitch\d+", each.name)]
    assert len(devices) == len(listed)
    assert seen.major("nvidia-nvswitch")
    for active, ends, state in seen.links():
        assert (active, state) == (18, 3)
        assert [end[-12:].lower() for end in ends] == listed


@pytest.mark.slow
@pytest.mark.capability("004-06")
def test_a_partition_routes_the_same_on_every_face(boot: Any) -> None:
    seen = boot("hgx-h100", "plain")
    seen.node.call("start_fabric_manager", mode="shared_nvswitch")
    modules = [gpu["module_id"] for gpu in seen.inspected()["gpus"]]
    agree(seen, modules, set())

    for active in ({1}, {1, 5}, {1, 5, 6}, {5, 6}, {5, 6, 9}, set()):
        before = {each["id"] for each in seen.inspected()["fabric_manager"]["partitions"] if each["active"]}
        for number in sorted(before - active):
            seen.run("fmpm", "-d", str(number))
        for number in sorted(active - before):
            seen.run("fmpm", "-a", str(number))
        agree(seen, modules, active)


def agree(seen: Seen, modules: list[int], active: set[int]) -> None:
    """Hold every face against sets of module ids, which is all that this oracle knows."""
    groups = [set(_PARTITIONS[number]) for number in active]
    joined = [
        [here != there and any({here, there} <= group for group in groups) for there in modules]
        for here in modules
    ]
    assert seen.topology() == joined
    assert [[bool(count) for count in row] for row in seen.inspected()["nvlink_matrix"]] == joined
    for module, row, (links, _, state) in zip(modules, joined, seen.links(), strict=True):
        assert links == (18 if any(row) else 0)
        assert state == (3 if any(module in group for group in groups) else 2)
    said = json.loads(seen.run("fmpm", "-l"))["partitionInfo"]
    assert {each["partitionId"] for each in said if each["isActive"]} == active

"""The driver's own passthrough step on the kernel that this runs on; prints what it saw as one JSON object.

    claimwright kernel-lab run -- python -m claimwright.e2e.kernel_lab.passthrough

The devices are the lab's. They are no GPUs: NVIDIA's driver is played by `pci-pf-stub`, NVML by nobody. The kernel, its
buses, drivers, IOMMU groups and VFIO nodes are real.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from claimwright.driver.adapters import ChildProcesses, HostTree
from claimwright.driver.edits.vfio_node import VfioNode, vfio_node
from claimwright.driver.errors import StepFailed
from claimwright.driver.inventory import PCI_DEVICES, driver_of, read_function
from claimwright.driver.ports import Usage
from claimwright.driver.steps import Step
from claimwright.driver.testing import MemoryUsage
from claimwright.driver.tools.device_users import DeviceUsers
from claimwright.driver.tools.pci_drivers import PciDrivers
from claimwright.driver.tools.vfio_bind import VfioBindTool, vfio_bind
from claimwright.driver.tools.vfio_modules import VfioModules


class Died(BaseException):
    """The driver's process ends here."""


class MortalHost(HostTree):
    """The real files; after so many moments, one before and one after each write, nothing is written any more."""

    moments: int | None = None

    def write_text(self, path: PurePosixPath, text: str) -> None:
        """Write, or die before it or after it."""
        self._pass()
        super().write_text(path, text)
        self._pass()

    def _pass(self) -> None:
        if self.moments is None:
            return
        if self.moments == 0:
            raise Died
        self.moments -= 1


class Bench:
    """One device and the driver's step over it."""

    def __init__(self, address: str, home: str) -> None:
        self.address = address
        self.home = home
        self.host = MortalHost(Path("/"))
        self.step = vfio_bind(address)
        self.tool = self.start()

    def start(self) -> VfioBindTool:
        """Return the tool of a new process."""
        self.host.moments = None
        usage: Usage = MemoryUsage()
        return VfioBindTool(
            self.host,
            PciDrivers(self.host),
            VfioModules(self.host, ChildProcesses(), Path("/")),
            DeviceUsers(self.host, usage),
            native=(self.home,),
            patience_seconds=0.0,
        )

    def begun(self) -> Step:
        """Return the step with what it found, as the journal keeps it."""
        return Step(self.step.tool, {**self.step.arguments, **self.tool.found(self.step)})

    def state(self) -> dict[str, list[str | None]]:
        """Return driver and override of the device and of its group."""
        function = read_function(self.host, self.address)
        assert function is not None
        members = sorted([self.address, *(mate.address for mate in function.mates if not mate.is_bridge)])
        return {
            each: [driver_of(self.host, each), self.host.read_text(PCI_DEVICES / each / "driver_override")]
            for each in members
        }

    def nodes(self, *, iommufd: bool) -> list[str]:
        """Return the nodes that a virtual machine would get, each opened once."""
        edits = VfioNode(self.host)(vfio_node(self.address, prefer_iommufd=iommufd, api_device=True))
        for node in edits.device_nodes:
            os.close(os.open(node.path, os.O_RDWR))
        return [node.path for node in edits.device_nodes]


def there_and_back(bench: Bench) -> Mapping[str, Any]:
    """Bind, look at the nodes, and free."""
    before, step = bench.state(), bench.begun()
    bench.tool.do(step)
    away, probe = bench.state(), bench.tool.probe(step).value
    nodes = {name: bench.nodes(iommufd=name == "iommufd") for name in ("legacy", "iommufd")}
    bench.tool.undo(step)
    return {"before": before, "away": away, "probe": probe, "nodes": nodes, "after": bench.state()}


def dying(bench: Bench) -> Mapping[str, Any]:
    """Die at each moment of both ways, and go on from there in a new process: forward, and back."""
    wrong, moments = [], 0
    for way in ("do", "undo"):
        for finish in ("do", "undo"):
            for moment in range(100):
                before, step = bench.state(), bench.begun()
                if way == "undo":
                    bench.tool.do(step)
                bench.host.moments = moment
                died = _dies(bench, way, step)
                bench.tool = bench.start()
                if finish == "do":
                    bench.tool.do(step)
                    wrong += [] if bench.tool.probe(step).value == "done" else [f"{way} {moment}: not bound"]
                bench.tool.undo(step)
                wrong += [] if bench.state() == before else [f"{way} {moment} {finish}: {bench.state()}"]
                if not died:
                    break
                moments += 1
    return {"moments": moments, "wrong": wrong}


def _dies(bench: Bench, way: str, step: Step) -> bool:
    try:
        getattr(bench.tool, way)(step)
    except (Died, StepFailed):
        return True  # a write in another thread dies there, and the caller hears of it
    return False


def in_use(bench: Bench) -> Mapping[str, Any]:
    """Have a process hold the group's node open, as a virtual machine does, and try to free the device."""
    step = bench.begun()
    bench.tool.do(step)
    function = read_function(bench.host, bench.address)
    assert function is not None
    node = os.open(f"/dev/vfio/{function.iommu_group}", os.O_RDWR | os.O_CLOEXEC)
    with subprocess.Popen(["/bin/sleep", "600"], stdin=node) as machine:
        os.close(node)
        try:
            bench.tool.undo(step)
        except StepFailed as error:
            told = str(error)
        else:
            told = "nothing"
        held = bench.state()
        machine.kill()
    bench.tool.undo(step)
    return {"told": told, "pid": machine.pid, "held": held, "after": bench.state()}


def virtual_functions(bench: Bench) -> Mapping[str, Any]:
    """Enable two virtual functions and try to take their physical one."""
    count = PCI_DEVICES / bench.address / "sriov_numvfs"
    bench.host.write_text(count, "2")
    try:
        bench.tool.do(bench.begun())
    except StepFailed as error:
        told = str(error)
    else:
        told = "nothing"
    finally:
        bench.host.write_text(count, "0")
    return {"told": told, "state": bench.state()}


def main() -> None:
    """Try everything, and tell."""
    devices = json.loads(os.environ["CLAIMWRIGHT_KERNEL_LAB"])
    alone, pair, pf = (Bench(devices[name], devices["gpu_driver"]) for name in ("gpu", "pair0", "pf"))
    told = {
        "alone": there_and_back(alone),
        "pair": there_and_back(pair),
        "dying alone": dying(alone),
        "dying in a pair": dying(pair),
        "in use": in_use(alone),
    }
    pf.home = str(driver_of(pf.host, pf.address))
    pf.tool = pf.start()
    told["virtual functions"] = virtual_functions(pf)
    json.dump({**told, "devices": devices}, sys.stdout)


if __name__ == "__main__":
    main()

"""A whole node in memory, with one GPU for every mode, on which the driver's own composition runs.

The hardware (doors, CDI folder, journal's disk) outlives the machines that are started over it, as it outlives a
killed driver. Steps and recipes are those of `gpu_plugin`, so what is new there is on this node as well.
"""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from claimwright.dra.claims import Claim
from claimwright.dra.kube import DEPLOYMENTS
from claimwright.dra.testing import FakeApi
from claimwright.driver.checkpoints import GpuTakeOver
from claimwright.driver.commands.gpu_plugin import gpu_plugin as command
from claimwright.driver.commands.gpu_plugin import settings_of
from claimwright.driver.doors import Doors
from claimwright.driver.driver_root import DriverRoot
from claimwright.driver.free_functions import FreeFunctions
from claimwright.driver.holdings import Holdings
from claimwright.driver.inventory import Inventory, IsOwn, IsOwnVgpu, pci_address
from claimwright.driver.journal import DiskFile, Journal, JournalFile
from claimwright.driver.machine import Machine
from claimwright.driver.node_reader import discover_node
from claimwright.driver.ownership import is_own, is_own_vgpu
from claimwright.driver.planning import Planner
from claimwright.driver.ports import (
    ComputeInstance,
    FabricPartition,
    GpuReading,
    MigReading,
    Partition,
    Placement,
)
from claimwright.driver.repertoire import recipes, toolbox
from claimwright.driver.restoring import Restorer
from claimwright.driver.settings import GPU_DRIVER
from claimwright.driver.steps import Tool, Toolbox
from claimwright.driver.stock import Stock
from claimwright.driver.sweeping import Sweeper
from claimwright.driver.testing.claims import allocated_gpus
from claimwright.driver.testing.clock import HandClock
from claimwright.driver.testing.events import MemoryEvents
from claimwright.driver.testing.fabric_manager import MemoryFabricManager
from claimwright.driver.testing.gpu_programs import GpuPrograms
from claimwright.driver.testing.mounts import MemoryMounts
from claimwright.driver.testing.nvml import MemoryNvml, gpu_reading, hgx_h100_host
from claimwright.driver.testing.partitions import MemoryPartitions, h100_profiles
from claimwright.driver.testing.pci_bus import MemoryPciBus
from claimwright.driver.testing.usage import MemoryUsage
from claimwright.driver.testing.vgpus import MemoryVgpus, vgpu_types

NODE: Final = "node-a"
BOOT: Final = "6a1f0c5e-0000-4000-8000-000000000001"
# GPU 2 was cut by an administrator, GPU 3 cannot be cut; GPU 4 hosts vGPUs on mediated devices, GPU 5 on functions.
CUTTABLE, CUT, PLAIN, MEDIATED, VIRTUAL = (0, 1), 2, 3, 4, 5
_VGPUS: Final = {
    MEDIATED: replace(vgpu_types(), on_functions=False),
    VIRTUAL: vgpu_types(mixed=True, first=400),
}
_CAPABILITY: Final = re.compile(r"/proc/driver/nvidia/capabilities/gpu(\d+)/mig/gi(\d+)(?:/ci(\d+))?/access")
_ADMINS: Final = Partition(90, 9, Placement(4, 4), (ComputeInstance(0, "MIG-00000090"),))


class CutHost(MemoryPciBus):
    """Files of a node whose partitions have capabilities as long as they exist, and whose GPUs change drivers."""

    def __init__(self, partitions: MemoryPartitions) -> None:
        super().__init__()
        self._partitions = partitions

    def read_text(self, path: PurePosixPath) -> str | None:
        """Return the stripped content of a file."""
        found = _CAPABILITY.fullmatch(str(path))
        if found is None:
            return super().read_text(path)
        mig = self._partitions.read(gpu_reading(int(found[1])).uuid)
        instances = {each.gpu_instance for each in mig.partitions} if mig is not None else set()
        minor = int(found[2]) * 2 + (found[3] is not None)
        return f"DeviceFileMinor: {minor}\nDeviceFileMode: 292" if int(found[2]) in instances else None


@dataclass(frozen=True)
class Started:
    """One life of the driver over the node."""

    machine: Machine
    planner: Planner
    toolbox: Toolbox
    journal: Journal
    problem: str | None = None


class MemoryNode:
    """The node; `with FakeApi() as api, closing(MemoryNode(folder, api)) as node:`."""

    def __init__(self, folder: Path, api: FakeApi, *, gates: str = "AllAlpha=true") -> None:
        self.api = api
        self.cdi = folder / "cdi"
        self.cdi.mkdir()
        self.settings = settings_of(
            command.make_context("gpu-plugin", [*_flags(folder), "--feature-gates", gates]).params
        )
        self.settings.plugin_dir.mkdir(parents=True)
        smi = GpuPrograms()
        self.programs = smi
        self.time_slices = smi.time_slices
        doors = _doors(folder, api, smi)
        joins = self.settings.feature_gates["FabricManagerPartitioning"]
        self.doors = doors if joins else replace(doors, fabric=None)
        self._journals: list[Journal] = []

    async def start(
        self,
        *,
        wrap: Callable[[Tool], Tool] = lambda tool: tool,
        file: Callable[[Path], JournalFile] = DiskFile,
    ) -> Started:
        """Start the driver without recovering: as a process that has just read its journal."""
        holdings = Holdings()
        planner = self._planner(lambda _gpu, _partition: True, lambda _carrier: True, holdings)
        able = toolbox(self.settings, self.doors, planner.stock.inventory)
        remembered = await self._restorer(planner, able).remember()
        entries = tuple(remembered.entries.values())
        planner = self._planner(is_own(entries), is_own_vgpu(entries), holdings)
        journal = Journal(file(self.settings.journal), driver=GPU_DRIVER, boot_id=BOOT, entries=entries)
        self._journals.append(journal)
        tools = toolbox(self.settings, self.doors, planner.stock.inventory, holdings)
        wrapped = Toolbox(*map(wrap, tools))
        machine = Machine(journal, wrapped, remembered.entries, on_change=holdings.changed)
        holdings.entries = lambda: machine.entries
        return Started(machine, planner, wrapped, journal, remembered.problem)

    def close(self) -> None:
        """End all lives: each has a file open, and a thread."""
        while self._journals:
            self._journals.pop().close()

    def sweep(self, started: Started) -> None:
        """Remove what no claim owns, as each start does."""
        Sweeper(started.machine, self.doors.kube, self.cdi, self.doors.clock).remove_orphans()

    def claim(self, name: str, device: str, parameters: Mapping[str, Any] | None = None) -> Claim:
        """Give a claim one device, with opaque parameters for it; its uid follows from the name."""
        config = {"source": "FromClaim", "opaque": {"driver": GPU_DRIVER, "parameters": parameters}}
        item = allocated_gpus(name, [device], pool=NODE, config=[config] if parameters else ())
        item["metadata"]["uid"] = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        return Claim.from_object(item)

    def world(self) -> Mapping[str, Any]:
        """Return all that a step can have changed, to compare: the public state of every door, and CDI files."""
        doors = {each.name: getattr(self.doors, each.name) for each in fields(self.doors)}
        memory = {
            f"{name}.{key}": copy.deepcopy(value)
            for name, door in doors.items()
            if type(door).__module__.startswith(("claimwright.driver.testing.", "__main__"))
            for key, value in vars(door).items()
            if not key.startswith("_") and key != "commands"
        }
        single = {
            f"{key}[{part}]": each
            for key, value in memory.items()
            for part, each in (value.items() if isinstance(value, dict) else [("", value)])
        }
        return {
            **single,
            "cdi": sorted(path.name for path in self.cdi.iterdir()),
            "mps": sorted(
                str(path.relative_to(self.settings.plugin_dir)) for path in self.settings.mps_dir.glob("**")
            ),
            "deployments": [item["metadata"]["name"] for item in self.api.objects(DEPLOYMENTS)],
        }

    def _planner(self, partition: IsOwn, vgpu: IsOwnVgpu, holdings: Holdings) -> Planner:
        inventory: Inventory = discover_node(self.doors, partition, vgpu)
        functions = FreeFunctions(self.doors.host, self.doors.clock, holdings)
        stock = Stock(recipes(self.settings.feature_gates, self.settings.shares, functions), inventory)
        return Planner(GPU_DRIVER, NODE, stock, self.settings.feature_gates)

    def _restorer(self, planner: Planner, able: Toolbox) -> Restorer:
        take_over = GpuTakeOver(planner, self.cdi, able.before)
        return Restorer(
            self.settings.journal, self.cdi, BOOT, planner, self.doors.kube, self.doors.clock, take_over
        )


def _doors(folder: Path, api: FakeApi, smi: GpuPrograms) -> Doors:
    gpus = [
        gpu_reading(minor, vgpus=_VGPUS.get(minor), module_id=minor + 1)
        for minor in (*CUTTABLE, CUT, PLAIN, *_VGPUS)
    ]
    partitions = MemoryPartitions({gpus[n].uuid: MigReading(False, False, h100_profiles()) for n in CUTTABLE})
    partitions.gpus[gpus[CUT].uuid] = MigReading(True, True, h100_profiles(), (_ADMINS,))
    host = _host(partitions, gpus)
    vgpus = MemoryVgpus(host)
    vgpus.host_mdevs(_address(MEDIATED), _VGPUS[MEDIATED])
    vgpus.host_functions(_address(VIRTUAL), _VGPUS[VIRTUAL])
    return Doors(
        nvml=MemoryNvml(
            gpus, partitions=partitions, sees=lambda gpu: host.driver(pci_address(gpu.pci_bus_id)) == "nvidia"
        ),
        events=MemoryEvents(),
        partitions=partitions,
        usage=MemoryUsage({pci_address(gpu.pci_bus_id): True for gpu in gpus}),
        vgpus=vgpus,
        fabric=MemoryFabricManager(_joinable(gpus)),
        host=host,
        root=_driver_root(folder / "driver"),
        kube=api.kube(),
        processes=smi,
        mounts=MemoryMounts(),
        clock=HandClock(),
    )


def _joinable(gpus: Sequence[GpuReading]) -> Iterator[FabricPartition]:
    """Return a partition for each GPU, and one for those that can be cut."""
    modules = [int(gpu.module_id or 0) for gpu in gpus]
    places = [pci_address(gpu.pci_bus_id) for gpu in gpus]
    for number, (module, place) in enumerate(zip(modules, places, strict=True)):
        yield FabricPartition(number, (module,), (place,))
    both = slice(len(CUTTABLE))
    yield FabricPartition(len(modules), tuple(modules[both]), tuple(places[both]))


def _address(minor: int) -> str:
    return pci_address(gpu_reading(minor).pci_bus_id)


def _host(partitions: MemoryPartitions, gpus: Sequence[GpuReading]) -> CutHost:
    board = hgx_h100_host()
    host = CutHost(partitions)
    for group, gpu in enumerate(gpus, 1):
        host.add(pci_address(gpu.pci_bus_id), group=group)
    host.files |= board.files
    host.links |= board.links
    host.devices |= board.devices
    host.files[PurePosixPath("/proc/devices")] = (
        "Character devices:\n195 nvidia\n236 nvidia-caps\n\nBlock devices:"
    )
    return host


def _driver_root(folder: Path) -> DriverRoot:
    for path in ("usr/lib64/libnvidia-ml.so.1", "usr/bin/nvidia-smi", "usr/bin/nvidia-cuda-mps-control"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return DriverRoot(folder, PurePosixPath(folder))


def _flags(folder: Path) -> list[str]:
    values = {
        "node-name": NODE,
        "cdi-root": folder / "cdi",
        "host-root": folder,
        "kubelet-plugins-directory-path": folder / "plugins",
        "kubelet-registrar-directory-path": folder / "registry",
    }
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]

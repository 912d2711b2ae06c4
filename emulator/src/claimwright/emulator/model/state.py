"""The state of a node as one frozen value: what every face of the emulator reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from claimwright.emulator.model.board import Board
from claimwright.emulator.model.bus.mediated import MediatedDevice
from claimwright.emulator.model.bus.values import Bus
from claimwright.emulator.model.fabric import Fabric, FabricManager, ImexChannels, ImexService, Tray
from claimwright.emulator.model.health import Health
from claimwright.emulator.model.mig.instances import Mig
from claimwright.emulator.model.node_profile import Machine, NumaNode
from claimwright.emulator.model.pci import FunctionKind, PciAddress, PciFunction
from claimwright.emulator.model.settings import NodeSettings, Settings
from claimwright.emulator.model.vgpu.state import VGPU_VERSIONS, Vgpu, VgpuSettings

if TYPE_CHECKING:
    from claimwright.emulator.model.faults.fault import ActiveFault

NVIDIA_DRIVER = "nvidia"


class ComputeMode(IntEnum):
    """`nvmlComputeMode_t`; EXCLUSIVE_THREAD (1) is gone from drivers and answers NOT_SUPPORTED."""

    DEFAULT = 0
    PROHIBITED = 2
    EXCLUSIVE_PROCESS = 3


class TimeSlice(IntEnum):
    """The argument of `nvidia-smi compute-policy --set-timeslice`."""

    DEFAULT = 0
    SHORT = 1
    MEDIUM = 2
    LONG = 3


class ProcessKind(StrEnum):
    """On which of NVML's process lists a process appears."""

    COMPUTE = "compute"
    GRAPHICS = "graphics"


class DriverCondition(StrEnum):
    """The kernel driver of the node: UNLOADED while it is being loaded anew, MISMATCHED after half an update."""

    LOADED = "loaded"
    UNLOADED = "unloaded"
    MISMATCHED = "mismatched"


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds a context on a GPU; with MIG on, in a compute instance of a GPU instance."""

    pid: int
    name: str
    memory_bytes: int
    kind: ProcessKind = ProcessKind.COMPUTE
    gpu_instance: int | None = None
    compute_instance: int | None = None


@dataclass(frozen=True, slots=True)
class Utilization:
    """Percent of time busy."""

    gpu: int = 0
    memory: int = 0
    encoder: int = 0
    decoder: int = 0
    jpeg: int = 0
    optical_flow: int = 0


@dataclass(frozen=True, slots=True)
class Temperatures:
    """Degrees Celsius; `memory` is None on boards that do not report it.

    Sensors give whole degrees; what they leave out is kept aside, or slow warming would never show.
    """

    gpu: int
    memory: int | None
    gpu_rest: float = 0.0
    memory_rest: float = 0.0


@dataclass(frozen=True, slots=True)
class PowerReading:
    """Milliwatts: drawn now, and the limit that is set."""

    usage_milliwatts: int
    limit_milliwatts: int


@dataclass(frozen=True, slots=True)
class ClockReading:
    """MHz at this moment."""

    graphics: int
    sm: int
    memory: int
    video: int


@dataclass(frozen=True, slots=True)
class ClockLock:
    """The range, MHz, that `nvmlDeviceSetGpuLockedClocks` holds the graphics clock in."""

    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class EccErrors:
    """Counts of one lifetime (volatile: since driver load; aggregate: since manufacture)."""

    corrected: int = 0
    uncorrected: int = 0


@dataclass(frozen=True, slots=True)
class Ecc:
    """ECC mode and counts; a pending mode becomes current at the next reset."""

    current: bool
    pending: bool
    volatile: EccErrors = EccErrors()
    aggregate: EccErrors = EccErrors()


@dataclass(frozen=True, slots=True)
class NvLinkErrors:
    """Counts of `nvmlNvLinkErrorCounter_t`, in its order."""

    replay: int = 0
    recovery: int = 0
    crc_flit: int = 0
    crc_data: int = 0
    ecc_data: int = 0


@dataclass(frozen=True, slots=True)
class NvLink:
    """One link of a GPU; the far end is an NVSwitch or None when nothing is wired."""

    index: int
    active: bool
    remote: PciAddress | None
    remote_kind: FunctionKind | None
    remote_link: int
    errors: NvLinkErrors = NvLinkErrors()


@dataclass(frozen=True, slots=True)
class GpuState:
    """One GPU: `index` counts all GPUs in PCI order and never changes, `minor` names /dev/nvidia<minor>.

    `nvml_visible` says that the NVIDIA driver holds the function (a lost GPU is still listed); the bus keeps it true.

    NVML's index is the position in `NodeState.nvml_gpus`, which leaves out GPUs on another driver.
    """

    index: int
    minor: int
    uuid: str
    serial: str
    board: Board
    pci: PciAddress
    numa_node: int
    module_id: int
    power: PowerReading
    clocks: ClockReading
    temperature: Temperatures
    performance_state: int
    ecc: Ecc | None
    nvml_visible: bool = True
    lost: bool = False
    link_generation: int = 0  # what the link trained to: both ends can do it
    link_width: int = 0
    memory_node: int | None = None  # the NUMA node that its memory is, on coherent boards
    persistence_mode: bool = False
    compute_mode: ComputeMode = ComputeMode.DEFAULT
    time_slice: TimeSlice = TimeSlice.DEFAULT
    clock_lock: ClockLock | None = None
    utilization: Utilization = Utilization()
    processes: tuple[GpuProcess, ...] = ()
    nvlinks: tuple[NvLink, ...] = ()
    fabric: Fabric | None = None
    mig: Mig | None = None
    vgpu: VgpuSettings = field(default_factory=VgpuSettings)
    health: Health = field(default_factory=Health)
    settings: Settings = field(default_factory=Settings)

    @property
    def memory_used_bytes(self) -> int:
        """What processes have allocated (NVML's v1 `used` adds the board's reserved bytes)."""
        return sum(process.memory_bytes for process in self.processes)

    @property
    def memory_free_bytes(self) -> int:
        """What can still be allocated."""
        return self.board.memory.usable_bytes - self.memory_used_bytes

    def instance_memory_used_bytes(self, gpu_instance: int) -> int:
        """What processes inside a GPU instance have allocated."""
        inside = (each for each in self.processes if each.gpu_instance == gpu_instance)
        return sum(process.memory_bytes for process in inside)

    def instance_memory_free_bytes(self, gpu_instance: int) -> int:
        """What can still be allocated inside a GPU instance; KeyError when there is none of this id."""
        held = self.mig and self.mig.gpu_instance(gpu_instance)
        if not held or self.board.mig is None:
            raise KeyError(f"GPU {self.index} has no GPU instance {gpu_instance}")
        size = self.board.mig.by_id[held.profile].memory_mib << 20
        return size - self.instance_memory_used_bytes(gpu_instance)

    @property
    def board_id(self) -> int:
        """NVML's board id: 0x5300 for a board at 0000:53:00.0, 0x1e for one at 0000:00:1e.0 (seen in captures)."""
        return self.pci.domain << 16 | self.pci.bus << 8 | self.pci.device


@dataclass(frozen=True, slots=True)
class NvSwitch:
    """An NVSwitch chip: instance number (/dev/nvidia-nvswitch<N>), address and identity."""

    index: int
    uuid: str
    pci: PciAddress
    physical_id: int


@dataclass(frozen=True, slots=True)
class Nic:
    """A network port with its RDMA device `name`, such as `mlx5_0`; `guid` as the kernel prints it."""

    name: str
    model: str
    pci: PciAddress
    numa_node: int
    link_layer: str
    guid: str
    manages_nvlink: bool = False


@dataclass(frozen=True, slots=True)
class NodeState:
    """Everything about a node at one moment; `revision` grows by one with each change.

    `functions` is the hardware that is plugged in, virtual functions included; `bus` knows which of it the kernel has.
    `hugepages` counts the pages reserved, by NUMA node and size in KiB.
    """

    name: str
    profile: str
    title: str
    driver_version: str
    cuda_driver_version: int
    machine: Machine
    boot_id: str
    numa: tuple[NumaNode, ...]
    functions: tuple[PciFunction, ...]
    gpus: tuple[GpuState, ...]
    bus: Bus = field(default_factory=Bus)
    mediated: tuple[MediatedDevice, ...] = ()
    hugepages: Mapping[tuple[int, int], int] = field(default_factory=dict)
    nvswitches: tuple[NvSwitch, ...] = ()
    nics: tuple[Nic, ...] = ()
    vgpu_manager: bool = False  # the host's driver is the one that makes vGPUs
    vgpus: tuple[Vgpu, ...] = ()
    vgpu_versions: tuple[int, int] = VGPU_VERSIONS
    fabric_manager: FabricManager | None = None
    imex_channels: ImexChannels = field(default_factory=ImexChannels)
    imex: ImexService | None = None
    tray: Tray | None = None
    driver_condition: DriverCondition = DriverCondition.LOADED
    faults: tuple[ActiveFault, ...] = ()
    faults_injected: int = 0
    settings: NodeSettings = field(default_factory=NodeSettings)
    revision: int = 0
    unverified: tuple[str, ...] = field(default=())

    @property
    def nvml_gpus(self) -> tuple[GpuState, ...]:
        """The GPUs that NVML lists, in its index order."""
        return tuple(gpu for gpu in self.gpus if gpu.nvml_visible)

    @property
    def present_functions(self) -> tuple[PciFunction, ...]:
        """The functions that the kernel has found and not removed, by address."""
        return tuple(each for each in self.functions if each.address in self.bus.functions)

    def function(self, address: PciAddress) -> PciFunction:
        """Return the PCI function at an address; KeyError when the node has none there."""
        for function in self.functions:
            if function.address == address:
                return function
        raise KeyError(str(address))

"""The virtual GPUs of a node as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

VGPU_VERSIONS = (0x70001, 0x150001)  # major << 16 | minor: the guests that the host's driver can serve


class SchedulerPolicy(IntEnum):
    """NVML_VGPU_SCHEDULER_POLICY_* (nvml.h 13.5)."""

    BEST_EFFORT = 1
    EQUAL_SHARE = 2
    FIXED_SHARE = 3


@dataclass(frozen=True, slots=True)
class Scheduler:
    """How vGPUs of one GPU take turns; `adaptive` is adaptive round robin, whose two settings follow."""

    policy: SchedulerPolicy = SchedulerPolicy.BEST_EFFORT
    adaptive: bool = True
    average_factor: int = 33
    frequency_hertz: int = 60
    time_slice_nanoseconds: int = 2_000_000


@dataclass(frozen=True, slots=True)
class VgpuSettings:
    """What one GPU's vGPUs share."""

    mixed_sizes: bool = False
    capabilities: frozenset[int] = frozenset()  # those of nvmlDeviceVgpuCapability_t that were turned on
    scheduler: Scheduler = field(default_factory=Scheduler)


@dataclass(frozen=True, slots=True)
class GuestProcess:
    """A process inside a virtual machine, as the host's counters see it; percent of time busy."""

    pid: int
    name: str
    memory_bytes: int = 0
    gpu_percent: int = 0
    memory_percent: int = 0


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """The machine that has a vGPU open; `pid` is the emulator's process on the host."""

    uuid: str
    pid: int
    driver_version: str | None = None  # None until the guest has loaded its driver
    licensed: bool = False
    processes: tuple[GuestProcess, ...] = ()
    accounting: bool = False
    finished: tuple[GuestProcess, ...] = ()


@dataclass(frozen=True, slots=True)
class Vgpu:
    """One vGPU: `carrier` is the mediated device's UUID, or the address of the virtual function that it is on.

    It exists from its creation, but NVML lists it (as an active instance) only while a virtual machine runs on it.
    """

    id: int
    gpu: int
    type_id: int
    carrier: str
    uuid: str
    placement: int
    gpu_instance: int | None = None
    vm: VirtualMachine | None = None
    encoder_capacity: int = 100
    frame_rate_limit: int = 0

    @property
    def is_mediated(self) -> bool:
        """True when a mediated device carries it."""
        return len(self.carrier) == 36

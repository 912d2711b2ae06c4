"""An NVML in memory, and the board that most tests want."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from claimwright.driver.errors import NodeUnusable
from claimwright.driver.ports import GpuReading, NodeReading, UnreadableGpu
from claimwright.driver.testing.host import MemoryHost
from claimwright.driver.testing.partitions import MemoryPartitions

# HGX H100: bus numbers and NUMA nodes of its eight GPUs, each below its own root port.
_HGX_H100 = (
    ("1b", "15", 0),
    ("43", "37", 0),
    ("52", "48", 0),
    ("61", "59", 0),
    ("9d", "97", 1),
    ("c3", "b7", 1),
    ("d1", "c7", 1),
    ("df", "d7", 1),
)


class MemoryNvml:
    """Answers what it was told; `broken` makes every read fail with that text.

    With `partitions` the GPUs are cut as those say; `sees` leaves out GPUs that another driver holds.
    """

    def __init__(
        self,
        gpus: Sequence[GpuReading | UnreadableGpu],
        *,
        driver_version: str = "580.126.20",
        cuda_driver_version: int = 13000,
        partitions: MemoryPartitions | None = None,
        sees: Callable[[GpuReading], bool] = lambda _: True,
    ) -> None:
        self.gpus = tuple(gpus)
        self._partitions = partitions
        self._sees = sees
        self.driver_version = driver_version
        self.cuda_driver_version = cuda_driver_version
        self.broken: str | None = None

    def read(self) -> NodeReading:
        """Read driver and GPUs."""
        if self.broken is not None:
            raise NodeUnusable(self.broken)
        gpus = (gpu for gpu in self.gpus if isinstance(gpu, UnreadableGpu) or self._sees(gpu))
        return NodeReading(self.driver_version, self.cuda_driver_version, tuple(map(self._cut, gpus)))

    def _cut(self, gpu: GpuReading | UnreadableGpu) -> GpuReading | UnreadableGpu:
        if self._partitions is None or isinstance(gpu, UnreadableGpu):
            return gpu
        return replace(gpu, mig=self._partitions.gpus.get(gpu.uuid, gpu.mig))


def gpu_reading(minor: int, **changes: Any) -> GpuReading:  # noqa: ANN401  any field of GpuReading
    """Return an H100 as NVML describes it, with fields changed."""
    reading: dict[str, Any] = {
        "minor": minor,
        "uuid": f"GPU-00000000-0000-4000-8000-{minor:012x}",
        "name": "NVIDIA H100 80GB HBM3",
        "brand": 14,
        "architecture": 9,
        "compute_capability": (9, 0),
        "pci_bus_id": f"00000000:{_HGX_H100[minor % 8][0].upper()}:00.0",
        "memory_bytes": 85520809984,
        "addressing_mode": 1,
    }
    return GpuReading(**{**reading, **changes})


def hgx_h100_nvml() -> MemoryNvml:
    """Return the NVML of an eight-GPU HGX H100 board."""
    return MemoryNvml([gpu_reading(minor) for minor in range(8)])


def hgx_h100_host() -> MemoryHost:
    """Return the files of that board's node: sysfs, device nodes, boot id."""
    files = {"/proc/sys/kernel/random/boot_id": "6a1f0c5e-0000-4000-8000-000000000001\n"}
    links, devices = {}, {}
    for minor, (bus, root, numa_node) in enumerate(_HGX_H100):
        device = f"/sys/bus/pci/devices/0000:{bus}:00.0"
        files[f"{device}/numa_node"] = f"{numa_node}\n"
        links[device] = f"../../../devices/pci0000:{root}/0000:{root}:01.0/0000:{bus}:00.0"
        links[f"{device}/driver"] = "../../../../bus/pci/drivers/nvidia"
        devices[f"/dev/nvidia{minor}"] = (195, minor)
    devices |= {"/dev/nvidiactl": (195, 255), "/dev/nvidia-uvm": (510, 0), "/dev/nvidia-uvm-tools": (510, 1)}
    return MemoryHost(files=files, links=links, devices=devices)

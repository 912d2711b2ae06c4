"""Reading the node: NVML says what the GPUs are, sysfs where they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import TypeAlias

from claimwright.driver.inventory.gpus import Gpu, Inventory, LeftOut
from claimwright.driver.inventory.spellings import (
    ADDRESSING_MODES,
    ARCHITECTURES,
    BRANDS,
    pci_address,
    semantic_version,
)
from claimwright.driver.ports import GpuReading, Host, NodeReading, Nvml, Partition, UnreadableGpu

PCI_DEVICES = PurePosixPath("/sys/bus/pci/devices")
# A DGX Station drives its screen with a GPU that takes no compute work.
_DISPLAY_ADAPTERS = ("DGX Display", "NVIDIA DGX Display")


IsOwn: TypeAlias = Callable[[str, Partition], bool]


def discover(nvml: Nvml, host: Host, is_own: IsOwn = lambda _gpu, _partition: False) -> Inventory:
    """Read the node once; NodeUnusable when NVML is unusable or names an impossible PCI address.

    `is_own` tells, by the uuid of the GPU, whether a partition that exists was made by this driver.
    """
    reading = nvml.read()
    offered = [gpu for gpu in reading.gpus if isinstance(gpu, GpuReading) and _why_not(gpu) is None]
    return Inventory(
        driver_version=reading.driver_version,
        cuda_driver_version=_cuda_version(reading.cuda_driver_version),
        gpus=tuple(_place(gpu, host, is_own) for gpu in sorted(offered, key=lambda gpu: gpu.minor)),
        left_out=_left_out(reading),
    )


def _place(gpu: GpuReading, host: Host, is_own: IsOwn) -> Gpu:
    address = pci_address(gpu.pci_bus_id)
    mode = gpu.addressing_mode
    partitions = gpu.mig.partitions if gpu.mig is not None else ()
    return Gpu(
        minor=gpu.minor,
        uuid=gpu.uuid,
        product_name=gpu.name,
        brand=BRANDS.get(gpu.brand, "Unknown"),
        architecture=ARCHITECTURES.get(gpu.architecture, "Unknown"),
        cuda_compute_capability=semantic_version("{}.{}".format(*gpu.compute_capability)),
        pci_bus_id=address,
        memory_bytes=gpu.memory_bytes,
        pcie_root=_pcie_root(host.read_link(PCI_DEVICES / address)),
        numa_node=_numa_node(host.read_text(PCI_DEVICES / address / "numa_node")),
        addressing_mode=None if mode is None else ADDRESSING_MODES.get(mode),
        mig=gpu.mig,
        foreign=tuple(partition for partition in partitions if not is_own(gpu.uuid, partition)),
    )


def _pcie_root(link: str | None) -> str | None:
    """`../../../devices/pci0000:64/0000:64:01.0/0000:65:00.0` names its root after `devices/`."""
    found = re.search(r"(?:^|/)devices/(pci[0-9a-f]{4}:[0-9a-f]{2})(?:/|$)", link or "")
    return found.group(1) if found else None


def _numa_node(text: str | None) -> int | None:
    """-1 is the kernel's word for "no node", and such a device has no attribute."""
    return int(text) if text is not None and text.isdecimal() else None


def _cuda_version(number: int) -> str:
    return semantic_version(f"{number // 1000}.{number % 1000 // 10}")


def _left_out(reading: NodeReading) -> tuple[LeftOut, ...]:
    return tuple(
        LeftOut(f"GPU {gpu.index}", gpu.reason)
        if isinstance(gpu, UnreadableGpu)
        else LeftOut(f"gpu-{gpu.minor} ({gpu.name})", _why_not(gpu) or "")
        for gpu in reading.gpus
        if isinstance(gpu, UnreadableGpu) or _why_not(gpu)
    )


def _why_not(gpu: GpuReading) -> str | None:
    if gpu.name in _DISPLAY_ADAPTERS:
        return "it drives a display"
    return None

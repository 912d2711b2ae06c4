"""Reading the node: NVML says what the GPUs are, sysfs where they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from claimwright.driver.inventory.functions import (
    PCI_DEVICES,
    gpu_functions,
    numa_node_of,
    pcie_root_of,
    read_iommu,
)
from claimwright.driver.inventory.gpus import Gpu, Inventory, LeftOut
from claimwright.driver.inventory.spellings import (
    ADDRESSING_MODES,
    ARCHITECTURES,
    BRANDS,
    pci_address,
    semantic_version,
)
from claimwright.driver.inventory.topology import nearest_nic, network_cards
from claimwright.driver.inventory.vgpus import IsOwnVgpu, vgpu_host
from claimwright.driver.ports import GpuReading, Host, NodeReading, Nvml, Partition, UnreadableGpu

# A DGX Station drives its screen with a GPU that takes no compute work.
_DISPLAY_ADAPTERS = ("DGX Display", "NVIDIA DGX Display")


IsOwn: TypeAlias = Callable[[str, Partition], bool]


def discover(
    nvml: Nvml,
    host: Host,
    is_own: IsOwn = lambda _gpu, _partition: False,
    is_own_vgpu: IsOwnVgpu | None = None,
) -> Inventory:
    """Read the node once; NodeUnusable when NVML is unusable or names an impossible PCI address.

    `is_own` tells, by the uuid of the GPU, whether a partition that exists was made by this driver; `is_own_vgpu` does
    so for a vGPU, by the uuid of its mediated device or the address of its virtual function; without it nobody looks
    for vGPUs.
    """
    reading = nvml.read()
    offered = [gpu for gpu in reading.gpus if isinstance(gpu, GpuReading) and _why_not(gpu) is None]
    nics = network_cards(host)
    return Inventory(
        driver_version=reading.driver_version,
        cuda_driver_version=_cuda_version(reading.cuda_driver_version),
        gpus=tuple(
            _place(gpu, host, is_own, is_own_vgpu, nics) for gpu in sorted(offered, key=lambda gpu: gpu.minor)
        ),
        left_out=_left_out(reading),
        functions=gpu_functions(host),
        iommu=read_iommu(host),
        unreadable=tuple(gpu for gpu in reading.gpus if isinstance(gpu, UnreadableGpu)),
    )


def _place(
    gpu: GpuReading, host: Host, is_own: IsOwn, is_own_vgpu: IsOwnVgpu | None, nics: Mapping[str, str]
) -> Gpu:
    address = pci_address(gpu.pci_bus_id)
    link = host.read_link(PCI_DEVICES / address)
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
        pcie_root=pcie_root_of(link),
        numa_node=numa_node_of(host.read_text(PCI_DEVICES / address / "numa_node")),
        addressing_mode=None if mode is None else ADDRESSING_MODES.get(mode),
        module_id=gpu.module_id,
        mig=gpu.mig,
        foreign=tuple(partition for partition in partitions if not is_own(gpu.uuid, partition)),
        vgpus=vgpu_host(host, address, gpu, is_own_vgpu),
        fabric=gpu.fabric,
        nvlink_group=min((address, *map(pci_address, gpu.nvlink_peers))) if gpu.nvlink_peers else None,
        nearest_nic=nearest_nic(link, nics),
        condition=gpu.condition,
    )


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

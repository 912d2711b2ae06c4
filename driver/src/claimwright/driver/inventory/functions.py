"""NVIDIA's GPUs as the PCI bus has them, whichever driver holds them: sysfs knows a GPU that NVML does not see."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from claimwright.driver.inventory.pci_names import product_name
from claimwright.driver.inventory.spellings import number_of
from claimwright.driver.inventory.vfio_drivers import GENERIC, cannot_load
from claimwright.driver.ports import Host

PCI_DEVICES: Final = PurePosixPath("/sys/bus/pci/devices")
NVIDIA: Final = 0x10DE
GPU_CLASSES: Final = (0x030000, 0x030200)  # VGA and 3D controllers
_BRIDGE: Final = 0x06
_ADDRESS: Final = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
# include/linux/ioport.h; a 64-bit BAR takes two of the six lines, of which the second is zero.
_MEMORY_64: Final = 0x00100000
_BARS: Final = 6


@dataclass(frozen=True)
class PciFunction:
    """One function of the bus; None where there is none. `iommu_group` is the group's number, as text.

    `bars` are the sizes in bytes of the memory regions with 64-bit addresses. `mates` are the other functions of
    the IOMMU group, which user space gets with this one or not at all; `product` is what pci.ids calls a GPU.
    """

    address: str
    vendor: int
    device: int
    class_code: int
    driver: str | None = None
    modalias: str = ""
    product: str | None = None
    iommu_group: str | None = None
    numa_node: int | None = None
    pcie_root: str | None = None
    bars: tuple[int, ...] = ()
    virtual_functions: int = 0
    mates: tuple[PciFunction, ...] = ()

    @property
    def is_bridge(self) -> bool:
        """Whether it only leads to others; a bridge does not keep its group from user space."""
        return self.class_code >> 16 == _BRIDGE

    @property
    def slot(self) -> str:
        """The address without the function number: what is one card."""
        return self.address.rpartition(".")[0]


@dataclass(frozen=True)
class Iommu:
    """What the kernel offers to those who hand devices to virtual machines; `vfio` is whether it has VFIO's module."""

    enabled: bool = False
    iommufd: bool = False
    vfio: bool = True


def read_iommu(host: Host) -> Iommu:
    """Look for IOMMU groups, and for the newer interface beside them."""
    return Iommu(
        enabled=bool(host.entries(PurePosixPath("/sys/kernel/iommu_groups"))),
        iommufd=host.kind(PurePosixPath("/dev/iommu")) is not None,
        vfio=not cannot_load(host, GENERIC),
    )


def gpu_functions(host: Host) -> tuple[PciFunction, ...]:
    """Return NVIDIA's GPUs by address, without their virtual functions."""
    return tuple(_gpu_functions(host))


def read_function(host: Host, address: str) -> PciFunction | None:
    """Read one function with its group; None when it is not on the bus."""
    alone = _alone(host, address)
    if alone is None or alone.iommu_group is None:
        return alone
    members = host.entries(PurePosixPath("/sys/kernel/iommu_groups") / alone.iommu_group / "devices")
    mates = (_alone(host, member) for member in members if member != address)
    return replace(alone, mates=tuple(mate for mate in mates if mate is not None))


def driver_of(host: Host, address: str) -> str | None:
    """Return the driver that holds a function now."""
    return _last(host.read_link(PCI_DEVICES / address / "driver"))


def pcie_root_of(link: str | None) -> str | None:
    """`../../../devices/pci0000:64/0000:64:01.0/0000:65:00.0` names its root after `devices/`."""
    found = re.search(r"(?:^|/)devices/(pci[0-9a-f]{4}:[0-9a-f]{2})(?:/|$)", link or "")
    return found.group(1) if found else None


def numa_node_of(text: str | None) -> int | None:
    """-1 is the kernel's word for "no node", and such a device has no attribute."""
    return int(text) if text is not None and text.isdecimal() else None


def _gpu_functions(host: Host) -> Iterator[PciFunction]:
    for address in host.entries(PCI_DEVICES):
        folder = PCI_DEVICES / address
        if not _ADDRESS.fullmatch(address) or number_of(host.read_text(folder / "vendor")) != NVIDIA:
            continue
        is_gpu = number_of(host.read_text(folder / "class")) in GPU_CLASSES
        if is_gpu and host.read_link(folder / "physfn") is None:
            found = read_function(host, address)
            if found is not None:
                yield replace(found, product=product_name(host, found.device))


def _alone(host: Host, address: str) -> PciFunction | None:
    folder = PCI_DEVICES / address
    vendor, device, class_code = (
        number_of(host.read_text(folder / name)) for name in ("vendor", "device", "class")
    )
    if vendor is None or device is None or class_code is None:
        return None
    return PciFunction(
        address=address,
        vendor=vendor,
        device=device,
        class_code=class_code,
        driver=driver_of(host, address),
        modalias=host.read_text(folder / "modalias") or "",
        iommu_group=_last(host.read_link(folder / "iommu_group")),
        numa_node=numa_node_of(host.read_text(folder / "numa_node")),
        pcie_root=pcie_root_of(host.read_link(folder)),
        bars=_bars(host.read_text(folder / "resource") or ""),
        virtual_functions=number_of(host.read_text(folder / "sriov_numvfs")) or 0,
    )


def _bars(resource: str) -> tuple[int, ...]:
    lines = (line.split() for line in resource.splitlines()[:_BARS])
    regions = [tuple(number_of(word) or 0 for word in words) for words in lines if len(words) == 3]
    return tuple(end - start + 1 for start, end, flags in regions if flags & _MEMORY_64 and end > start)


def _last(link: str | None) -> str | None:
    return link.rpartition("/")[2] if link else None

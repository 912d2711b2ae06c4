"""Whether a GPU can be handed to a virtual machine at all: IOMMU, its group, and the kernel's modules."""

from __future__ import annotations

from typing import Final

from claimwright.driver.inventory.functions import Iommu, PciFunction
from claimwright.driver.inventory.vfio_drivers import is_vfio

# Kernel drivers that leave the DMA of their device to its group's user (driver_managed_dma).
_HARMLESS: Final = ("pci-stub", "pcieport")


def companions(function: PciFunction) -> tuple[PciFunction, ...]:
    """Return what of the same card is in the GPU's group, sound and USB: it goes where the GPU goes."""
    return tuple(
        mate
        for mate in function.mates
        if mate.slot == function.slot and not mate.is_bridge and not _is_gpu(mate)
    )


def obstacle(function: PciFunction, iommu: Iommu) -> str | None:
    """Say why the GPU cannot be passed through on this node, None when it can."""
    if not iommu.enabled:
        return (
            "the IOMMU is not enabled in the kernel (no /sys/kernel/iommu_groups): enable it in the firmware and "
            "boot with intel_iommu=on or amd_iommu=on"
        )
    if not iommu.vfio:
        return "the kernel has no module vfio_pci: install the package with all modules of the running kernel"
    if function.iommu_group is None:
        return "it is in no IOMMU group"
    strangers = [mate for mate in function.mates if mate not in companions(function) and _is_in_the_way(mate)]
    if strangers:
        named = ", ".join(f"{mate.address} (driver {mate.driver or 'none'})" for mate in strangers)
        return (
            f"its IOMMU group {function.iommu_group} is not viable: {named} would go to the virtual machine with it; "
            "move one of them to another slot, or bind what is no GPU to vfio-pci"
        )
    return None


def _is_in_the_way(mate: PciFunction) -> bool:
    """The group has one user: a second GPU is in the way on whichever driver, others on drivers that do DMA."""
    if mate.is_bridge:
        return False
    return _is_gpu(mate) or not (mate.driver is None or mate.driver in _HARMLESS or is_vfio(mate.driver))


def _is_gpu(mate: PciFunction) -> bool:
    return mate.class_code >> 16 == 0x03

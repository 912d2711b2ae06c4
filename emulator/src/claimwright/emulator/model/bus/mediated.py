"""Mediated devices as values: what the kernel knows of one, beside the vGPU that it carries."""

from __future__ import annotations

from dataclasses import dataclass

from claimwright.emulator.model.pci import PciAddress


@dataclass(frozen=True, slots=True)
class MediatedDevice:
    """One mdev: made by writing its UUID to `create` of a type of its parent; a group of its own."""

    uuid: str
    parent: PciAddress
    type_id: int
    iommu_group: int | None
    vfio_device: int | None = None

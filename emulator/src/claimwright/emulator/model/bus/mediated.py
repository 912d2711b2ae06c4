"""Mediated devices as values: what the kernel knows of one, beside the vGPU that it carries."""

from __future__ import annotations

from dataclasses import dataclass

from claimwright.emulator.model.bus.values import Leaving
from claimwright.emulator.model.pci import PciAddress


@dataclass(frozen=True, slots=True)
class MediatedDevice:
    """One mdev: made by writing its UUID to `create` of a type of its parent; a group of its own while it has a driver.

    With `leaving` its driver or its removal waits for its users.
    """

    uuid: str
    parent: PciAddress
    type_id: int
    iommu_group: int | None
    vfio_device: int | None = None
    leaving: Leaving | None = None

    @property
    def bound(self) -> bool:
        """Whether its driver holds it."""
        return self.vfio_device is not None

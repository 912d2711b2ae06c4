"""What the kernel knows about the bus beyond the registers of its functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from claimwright.emulator.model.bus.drivers import PciId
from claimwright.emulator.model.pci import PciAddress


class Leaving(StrEnum):
    """What waits for the last user of a device: a driver's remove() blocks until then."""

    UNBIND = "unbind"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class BusFunction:
    """One present function: its driver, what was written to its files, and its VFIO device number."""

    numa_node: int
    iommu_group: int | None
    driver: str | None = None
    driver_override: str | None = None
    leaving: Leaving | None = None
    unbind_locked: bool = False
    enable_count: int = 0
    vfio_device: int | None = None
    virtual_functions: int = 0
    virtual_autoprobe: bool = True
    reset_methods: tuple[str, ...] = ("flr", "bus")
    resets: int = 0
    d3cold_allowed: bool = True
    broken_parity: bool = False
    msi_allowed: bool = True


@dataclass(frozen=True)
class Bus:
    """Present functions by address, loaded modules in load order, and what is open.

    `parameters` holds module parameters that were changed, by (module, name). `holders` says which process has a
    device open: GPUs as `gpu/<address>`, VFIO nodes as `model.bus.vfio` says.
    """

    functions: Mapping[PciAddress, BusFunction] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    dynamic_ids: Mapping[str, tuple[PciId, ...]] = field(default_factory=dict)
    parameters: Mapping[tuple[str, str], str] = field(default_factory=dict)
    holders: Mapping[str, frozenset[int]] = field(default_factory=dict)
    autoprobe: bool = True
    first_iommu_group: int = 0

    @cached_property
    def leaving(self) -> tuple[PciAddress, ...]:
        """What waits for its last user to go: asked after every change, most of which leave the bus alone."""
        return tuple(each for each, present in self.functions.items() if present.leaving is not None)

    def driver_of(self, address: PciAddress) -> str | None:
        """Return the driver of a function; None when it has none or is not there."""
        present = self.functions.get(address)
        return None if present is None else present.driver

    def bound_to(self, driver: str) -> tuple[PciAddress, ...]:
        """Return what a driver holds, by address."""
        return tuple(sorted(each for each, present in self.functions.items() if present.driver == driver))

    def group_members(self, group: int) -> tuple[PciAddress, ...]:
        """Return the functions of an IOMMU group, by address."""
        return tuple(sorted(each for each, present in self.functions.items() if present.iommu_group == group))

"""What sits at each address of a node: the profile's trees, read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimwright.emulator.model.pci import PciAddress

if TYPE_CHECKING:
    from claimwright.emulator.model.node_profile.profile import NodeProfile


@dataclass(frozen=True, slots=True)
class GpuSlot:
    """A GPU of the board with that key."""

    at: str
    board: str
    module_id: int | None = None
    carrier: int | None = None
    link_width: int | None = None
    board_part: str | None = None


@dataclass(frozen=True, slots=True)
class NvSwitchSlot:
    """An NVSwitch chip."""

    at: str
    device: int
    physical_id: int


@dataclass(frozen=True, slots=True)
class NicSlot:
    """A network adapter port with its RDMA device."""

    at: str
    name: str
    model: str
    link_layer: str
    vendor: int
    device: int
    subsystem_device: int
    link_generation: int
    manages_nvlink: bool = False


@dataclass(frozen=True, slots=True)
class AudioSlot:
    """The sound function of the GPU at the same address, function 0; both are one IOMMU group."""

    at: str
    device: int


@dataclass(frozen=True, slots=True)
class BridgeSlot:
    """A root port or a switch port, with what is behind it, all on one bus: the secondary bus."""

    at: str
    vendor: int
    device: int
    link_generation: int
    behind: tuple[Slot, ...]


Endpoint = GpuSlot | NvSwitchSlot | NicSlot | AudioSlot
Slot = BridgeSlot | Endpoint


@dataclass(frozen=True, slots=True)
class Root:
    """A root complex, `pciDDDD:BB` below `/sys/devices`, with its ports."""

    root: str
    numa: int
    ports: tuple[Slot, ...]


def endpoints(profile: NodeProfile) -> Iterator[Endpoint]:
    """Yield every endpoint of the tree, in PCI order."""
    found = [slot for root in profile.roots for slot in under(root.ports)]
    yield from sorted(found, key=lambda slot: PciAddress.parse(slot.at))


def under(slots: Iterable[Slot]) -> Iterator[Endpoint]:
    """Yield the endpoints at and below some slots, in the order of the tree."""
    for slot in slots:
        if isinstance(slot, BridgeSlot):
            yield from under(slot.behind)
        else:
            yield slot

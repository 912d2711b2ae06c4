"""What a node is before it boots: NUMA, PCI tree, NVLink and fabric. Text profiles live in `nodes/`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from claimwright.emulator.model.board import Id16
from claimwright.emulator.model.cpus import parse_cpu_list
from claimwright.emulator.model.fabric.profile import (
    FabricManagerSetup,
    FabricMembership,
    ImexSetup,
    TrayPlace,
)
from claimwright.emulator.model.pci import PciAddress
from claimwright.emulator.model.profile_text import Place, Profile

RootName = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}$")]
AddressText = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$")]
CpuList = Annotated[str, Field(pattern=r"^(\d+(-\d+)?(,\d+(-\d+)?)*)?$")]


class NumaNode(Profile):
    """One NUMA node; a node without processors has the empty list."""

    id: NonNegativeInt
    socket: NonNegativeInt
    cpus: CpuList
    memory_mib: PositiveInt
    distances: tuple[Annotated[int, Field(ge=10, le=255)], ...]


class GpuSlot(Profile):
    """A GPU in the tree; `module_id` is its place on the baseboard (NVML's order is by address)."""

    kind: Literal["gpu"]
    at: AddressText
    board: str
    module_id: NonNegativeInt | None = None


class NvSwitchSlot(Profile):
    """An NVSwitch chip."""

    kind: Literal["nvswitch"]
    at: AddressText
    device: Id16
    physical_id: NonNegativeInt


class NicSlot(Profile):
    """A network adapter port with its RDMA device."""

    kind: Literal["nic"]
    at: AddressText
    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    model: str
    link_layer: Literal["infiniband", "ethernet"]
    vendor: Id16
    device: Id16
    subsystem_device: Id16
    link_generation: Annotated[int, Field(ge=1, le=7)]


class BridgeSlot(Profile):
    """A root port or a switch port, with what is behind it, all on one bus: the secondary bus."""

    kind: Literal["bridge"]
    at: AddressText
    vendor: Id16
    device: Id16
    link_generation: Annotated[int, Field(ge=1, le=7)]
    behind: tuple[Slot, ...] = Field(min_length=1)


Slot = Annotated[BridgeSlot | GpuSlot | NvSwitchSlot | NicSlot, Field(discriminator="kind")]
Endpoint = GpuSlot | NvSwitchSlot | NicSlot


class PcieRoot(Profile):
    """A root complex, `pciDDDD:BB` below `/sys/devices`."""

    root: RootName
    numa: int
    ports: tuple[Slot, ...] = Field(min_length=1)


class NvLinkWiring(Profile):
    """How many links of each GPU go to each NVSwitch, in the order of the switches' addresses.

    `elsewhere` counts links to switches that are no PCI function of this node: switch trays of a rack, and the
    NVLink 5 chips of a baseboard.
    """

    links_per_switch: tuple[NonNegativeInt, ...] = ()
    elsewhere: NonNegativeInt = 0


class Machine(Profile):
    """What DMI says."""

    vendor: str
    product: str


class NodeProfile(Profile):
    """One kind of node."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    driver_version: Annotated[str, Field(pattern=r"^\d{3}\.\d{2,3}(\.\d{2})?$")]
    cuda_driver_version: Annotated[int, Field(ge=11000, lt=20000)]
    machine: Machine
    iommu: bool
    vgpu_manager: bool = False
    numa: tuple[NumaNode, ...] = Field(min_length=1)
    pcie: tuple[PcieRoot, ...] = Field(min_length=1)
    nvlink: NvLinkWiring | None = None
    fabric: FabricMembership | None = None
    fabric_manager: FabricManagerSetup | None = None
    imex: ImexSetup = ImexSetup()
    tray: TrayPlace | None = None
    unverified: tuple[str, ...] = ()

    def contradictions(self) -> Iterator[tuple[Place, str]]:
        """Yield what the profile says against itself; boards are looked at when the node is built."""
        yield from _numa_faults(self)
        yield from _tree_faults(self)
        yield from _nvlink_faults(self)


def _numa_faults(profile: NodeProfile) -> Iterator[tuple[Place, str]]:
    owner: dict[int, int] = {}
    for index, node in enumerate(profile.numa):
        if node.id != index:
            yield ("numa", index, "id"), f"expected {index}: nodes are listed in order, without holes"
        if len(node.distances) != len(profile.numa):
            yield (
                ("numa", index, "distances"),
                f"{len(node.distances)} distances for {len(profile.numa)} nodes",
            )
        elif node.distances[index] != 10:
            yield (
                ("numa", index, "distances"),
                f"the distance to itself is 10, not {node.distances[index]} (ACPI SLIT)",
            )
        for cpu in parse_cpu_list(node.cpus):
            if owner.setdefault(cpu, index) != index:
                yield ("numa", index, "cpus"), f"CPU {cpu} belongs to node {owner[cpu]} already"
                break


def _tree_faults(profile: NodeProfile) -> Iterator[tuple[Place, str]]:
    seen: set[str] = set()
    buses = {root.root for root in profile.pcie}
    if len(buses) != len(profile.pcie):
        yield ("pcie",), "two roots have the same bus"
    for index, root in enumerate(profile.pcie):
        if root.numa not in range(-1, len(profile.numa)):
            yield ("pcie", index, "numa"), f"there is no NUMA node {root.numa}"
        yield from _slot_faults(root.ports, root.root, ("pcie", index, "ports"), seen, buses)


def _slot_faults(
    slots: tuple[BridgeSlot | Endpoint, ...], bus: str, place: Place, seen: set[str], buses: set[str]
) -> Iterator[tuple[Place, str]]:
    """Check one bus: every address is on it and new, and each bridge opens a new, higher bus."""
    for index, slot in enumerate(slots):
        here = (*place, index)
        if slot.at[:7] != bus:
            yield (*here, "at"), f"{slot.at} is not on bus {bus}, where this slot is"
        if slot.at in seen:
            yield (*here, "at"), f"{slot.at} is taken twice"
        seen.add(slot.at)
        if isinstance(slot, BridgeSlot):
            behind = slot.behind[0].at[:7]
            if behind in buses or behind <= bus:
                yield (*here, "behind"), f"bus {behind} must be new and above {bus}"
            buses.add(behind)
            yield from _slot_faults(slot.behind, behind, (*here, "behind"), seen, buses)


def _nvlink_faults(profile: NodeProfile) -> Iterator[tuple[Place, str]]:
    slots = list(endpoints(profile))
    switches = sum(isinstance(slot, NvSwitchSlot) for slot in slots)
    if profile.nvlink and len(profile.nvlink.links_per_switch) != switches:
        wired = len(profile.nvlink.links_per_switch)
        yield ("nvlink", "links_per_switch"), f"{wired} entries for {switches} nvswitch slots"
    if not any(isinstance(slot, GpuSlot) for slot in slots):
        yield ("pcie",), "a node without a gpu slot is no GPU node"
    modules = [slot.module_id for slot in slots if isinstance(slot, GpuSlot) and slot.module_id is not None]
    for twice in sorted({module for module in modules if modules.count(module) > 1}):
        yield ("pcie",), f"module_id {twice} is given to two gpu slots"


def endpoints(profile: NodeProfile) -> Iterator[Endpoint]:
    """Yield every endpoint of the tree, in PCI order."""
    found: list[Endpoint] = []
    pending: list[BridgeSlot | Endpoint] = [slot for root in profile.pcie for slot in root.ports]
    while pending:
        slot = pending.pop()
        if isinstance(slot, BridgeSlot):
            pending.extend(slot.behind)
        else:
            found.append(slot)
    yield from sorted(found, key=lambda slot: PciAddress.parse(slot.at))

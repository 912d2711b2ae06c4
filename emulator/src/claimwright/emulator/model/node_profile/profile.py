"""One kind of node as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from functools import cached_property
from typing import Annotated, Self

from claimwright.emulator.errors import ProfileError
from claimwright.emulator.model.fabric.profile import (
    FabricManagerSetup,
    FabricMembership,
    ImexSetup,
    TrayPlace,
)
from claimwright.emulator.model.node_profile.contradictions import contradictions_of
from claimwright.emulator.model.node_profile.devices import Device
from claimwright.emulator.model.node_profile.sections import (
    BoardVariant,
    GpuMemoryNodes,
    Machine,
    NumaNode,
    NvLinkWiring,
    PcieRoot,
)
from claimwright.emulator.model.node_profile.slots import Root
from claimwright.emulator.model.node_profile.tree import TreeReader
from claimwright.emulator.model.profile_text import Place, Profile
from claimwright.emulator.model.rules import Field


class NodeProfile(Profile):
    """One kind of node; `boards` holds boards of its own, which come before those of the catalogue."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str
    driver_version: Annotated[str, Field(pattern=r"^\d{3}\.\d{2,3}(\.\d{2})?$")]
    cuda_driver_version: Annotated[int, Field(ge=11000, lt=20000)]
    machine: Machine
    iommu: bool
    persistence_mode: bool = False
    numa: Annotated[tuple[NumaNode, ...], Field(min_length=1)]
    gpu_memory_nodes: GpuMemoryNodes | None = None
    devices: dict[str, Device] = field(default_factory=dict)
    pcie: Annotated[tuple[PcieRoot, ...], Field(min_length=1)]
    nvlink: NvLinkWiring | None = None
    fabric: FabricMembership | None = None
    fabric_manager: FabricManagerSetup | None = None
    imex: ImexSetup = ImexSetup()
    tray: TrayPlace | None = None
    vgpu_manager: bool = False  # whether the host's driver is the one that makes vGPUs
    boards: tuple[BoardVariant, ...] = ()
    unverified: tuple[str, ...] = ()

    @cached_property
    def _reading(self) -> tuple[tuple[Root, ...], TreeReader]:
        reader = TreeReader(self.devices)
        for index, each in enumerate(self.pcie):
            reader.claim_bus(each.root, ("pcie", index, "root"))
        roots = tuple(
            Root(each.root, each.numa, reader.read(each.tree, each.root, ("pcie", index, "tree")))
            for index, each in enumerate(self.pcie)
        )
        return roots, reader

    @property
    def roots(self) -> tuple[Root, ...]:
        """The PCI trees, read."""
        return self._reading[0]

    @property
    def tree_faults(self) -> list[tuple[Place, str]]:
        """What is wrong with the PCI trees."""
        return self._reading[1].faults

    def contradictions(self) -> Iterator[tuple[Place, str]]:
        """Yield what the profile says against itself; boards are looked at when the node is built."""
        yield from contradictions_of(self)

    def in_rack(self, *, cluster_uuid: str, clique_id: int, chassis_serial: str, tray: int) -> Self:
        """Return this node as one tray of a rack: NVML tells the rack by cluster uuid, clique and place.

        `tray` counts compute trays from 0. ProfileError when this node has no fabric that leaves it.
        """
        if self.fabric is None or self.nvlink is None or not self.nvlink.elsewhere:
            raise ProfileError(
                f"node profile {self.key!r} has no NVLink that leaves it, so it is no part of a rack"
            )
        fabric = {**self.fabric.model_dump(), "cluster_uuid": cluster_uuid, "clique_id": clique_id}
        place = TrayPlace(chassis_serial=chassis_serial, slot=_slot_of(tray), index=tray)
        return self.model_copy(update={"fabric": FabricMembership.model_validate(fabric), "tray": place})


def _slot_of(tray: int) -> int:
    """Return the slot of a compute tray, as the captured racks number them (tray 4 in slot 14, 15 in 25)."""
    return tray + 10

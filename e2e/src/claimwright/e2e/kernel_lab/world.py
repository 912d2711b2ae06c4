"""A world: a door, what its host offers, and what the table's symbols mean there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from claimwright.e2e.kernel_lab.door import FileDoor

OFFERS = frozenset(
    {
        "pair",  # two functions in one IOMMU group: $pair0, $pair1
        "cdev",  # VFIO device nodes and /dev/iommu
        "open",  # device nodes can be opened
        "ioctl",  # and asked
        "stat-device",  # stat tells device nodes from files
        "hotplug",  # remove and rescan
        "reset",
        "sriov",  # $pf
        "mdev",  # $mdev_parent
        "numa",  # $numa_gpu
        "hugepages",
        "nvidia",  # NVIDIA's own driver: only an emulated world has it
    }
)

EMULATED_ONLY = frozenset({"nvidia"})


@dataclass(frozen=True, slots=True)
class World:
    """One host to run the table on.

    `symbols` that every world has: `gpu` (a PCI address, alone in its IOMMU group), `gpu_id` (its `vvvv dddd`),
    `gpu_driver` (holds it at the start and matches it without an override), `other_driver` (registered, does not match
    it), `absent` (an address without a device). With `pair`: `pair0`, `pair1`, `pair_driver` (one that lets the kernel
    map the device's DMA, so that it spoils its group for VFIO). With `sriov`: `pf`, `pf_driver` (takes its virtual
    functions as well), `total_vfs`, `beyond_total_vfs`. With `mdev`: `mdev_parent` (the folder that holds
    `mdev_supported_types`), `mdev_parent_name`, `mdev_type`, `mdev_free`, `mdev_free_after_one`, `mdev_driver`. With
    `numa`: `numa_gpu`, `numa_node`.
    `homes` says which driver holds which function at the start.
    """

    name: str
    door: FileDoor
    symbols: Mapping[str, str]
    homes: Mapping[str, str]
    offers: frozenset[str] = field(default=frozenset())

    def __post_init__(self) -> None:
        """Refuse a world that offers what no case can need."""
        if unknown := self.offers - OFFERS:
            raise ValueError(f"world {self.name!r} offers {sorted(unknown)}; known: {sorted(OFFERS)}")

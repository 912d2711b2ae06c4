"""What a real machine has itself, where a node is attached to it: it must never mix with what is emulated."""

from __future__ import annotations

from pathlib import Path

from claimwright.emulator.files.majors import Majors, free_majors
from claimwright.emulator.files.procfs import MachineListings
from claimwright.emulator.model.bus import DRIVERS, MODULES

_NODES = ("sys/devices/system/node", "sys/kernel/mm/hugepages")
_CLASSES = ("sys/class/vfio", "sys/class/vfio-dev", "sys/class/mdev_bus", "sys/devices/virtual/vfio")


def majors() -> Majors:
    """Return majors that are free on this machine; MountRefused when it runs a real NVIDIA driver."""
    return free_majors(listings().devices)


def listings() -> MachineListings:
    """Return its /proc/devices and /proc/modules; a kernel without loadable modules has none of the latter."""
    modules = Path("/proc/modules")
    return MachineListings(
        Path("/proc/devices").read_text(), modules.read_text() if modules.exists() else None
    )


def online_cpus() -> str:
    """Return the list of its processors that are online."""
    return Path("/sys/devices/system/cpu/online").read_text().strip()


def first_free_iommu_group() -> int:
    """Return the group number after its last one."""
    groups = Path("/sys/kernel/iommu_groups")
    numbers = (
        [int(group.name) for group in groups.iterdir() if group.name.isdigit()] if groups.is_dir() else []
    )
    return max(numbers, default=-1) + 1


def hidden() -> frozenset[str]:
    """Return the folders of which an attached namespace shows only the node's own, be there any or not.

    They are named by what an emulated node may have at some time: a driver that it loads later must not find the
    machine's files in its place.
    """
    return frozenset(
        {
            *_NODES,
            *_CLASSES,
            "sys/bus/mdev",
            *(f"sys/module/{name}" for name in MODULES),
            *(f"sys/bus/pci/drivers/{name}" for name in DRIVERS),
        }
    )

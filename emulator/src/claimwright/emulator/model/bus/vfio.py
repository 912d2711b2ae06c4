"""Opening VFIO groups and devices, as a virtual machine does (drivers/vfio/group.c, device_cdev.c)."""

from __future__ import annotations

import errno
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model.bus import groups
from claimwright.emulator.model.state import NodeState


def group_opened(state: NodeState, group: int, pid: int) -> NodeState:
    """Open /dev/vfio/<group>: one opener at a time, and none while a device of it is open by its own node.

    EBUSY when it is open already, EPERM when the group is not viable (said by VFIO_GROUP_SET_CONTAINER; the open
    itself succeeds on hardware), ENOENT when no member is on a VFIO driver.
    """
    devices = group_devices(state, group)
    if not devices:
        raise KernelRefused(
            errno.ENOENT, f"/dev/vfio/{group}: no device of IOMMU group {group} is on a VFIO driver"
        )
    if owners := groups.owners(state, group):
        raise KernelRefused(errno.EBUSY, f"/dev/vfio/{group} is held by process {min(owners)}")
    if not groups.is_viable(state.bus, group):
        raise KernelRefused(
            errno.EPERM, f"IOMMU group {group} is not viable: a member has a driver that is not for VFIO"
        )
    return _held(state, f"group/{group}", pid)


def device_opened(state: NodeState, number: int, pid: int) -> NodeState:
    """Open and bind /dev/vfio/devices/vfio<N>: EBUSY while its group or itself is held, ENOENT when there is none."""
    group = next(
        (each.iommu_group for each in state.bus.functions.values() if each.vfio_device == number), None
    )
    if group is None:
        raise KernelRefused(errno.ENOENT, f"/dev/vfio/devices/vfio{number} does not exist")
    opened = state.bus.holders
    taken = opened.get(f"device/{number}", frozenset()) | opened.get(f"group/{group}", frozenset())
    if taken:
        raise KernelRefused(
            errno.EBUSY,
            f"/dev/vfio/devices/vfio{number} is held by process {min(taken)}, alone or by its group",
        )
    if not groups.is_viable(state.bus, group):
        raise KernelRefused(errno.EPERM, f"IOMMU group {group} of vfio{number} is not viable")
    return _held(state, f"device/{number}", pid)


def closed(state: NodeState, pid: int) -> NodeState:
    """Close everything that a process has open, VFIO and GPU nodes alike; nothing open is no error."""
    left = {key: pids - {pid} for key, pids in state.bus.holders.items()}
    kept = {key: pids for key, pids in left.items() if pids}
    return state if kept == state.bus.holders else replace(state, bus=replace(state.bus, holders=kept))


def group_devices(state: NodeState, group: int) -> tuple[int, ...]:
    """Return the VFIO device numbers of a group's members."""
    members = (state.bus.functions[each].vfio_device for each in state.bus.group_members(group))
    return tuple(number for number in members if number is not None)


def _held(state: NodeState, key: str, pid: int) -> NodeState:
    pids = state.bus.holders.get(key, frozenset()) | {pid}
    return replace(state, bus=replace(state.bus, holders={**state.bus.holders, key: pids}))

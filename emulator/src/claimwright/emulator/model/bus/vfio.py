"""Who has VFIO nodes open, and what that forbids others (drivers/vfio/group.c, device_cdev.c, iommu.c).

Holders are kept by key: `group/<N>` while a group's node is open, `container/<N>` while user space owns the group's
DMA, `device/<N>` while a device is open through its group, `node/<N>` while its own node is, `iommufd/<N>` while it is
bound to an IOMMUFD, and `domain/<group>/<IOMMUFD>` for which one. A holder is a process id, or any other number that
its caller gives for one open file.
"""

from __future__ import annotations

import errno
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model.bus import groups
from claimwright.emulator.model.state import NodeState


def group_opened(state: NodeState, group: int, holder: int) -> NodeState:
    """Open /dev/vfio/<group>: EBUSY while it is open, or a device of it bound to an IOMMUFD; ENOENT without a node."""
    numbers = group_devices(state, group)
    if not numbers:
        raise KernelRefused(
            errno.ENOENT, f"/dev/vfio/{group}: no device of group {group} is on a VFIO driver"
        )
    keys = (f"group/{group}", *(f"iommufd/{number}" for number in numbers))
    _check_free(state, keys, f"/dev/vfio/{group}")
    return held(state, f"group/{group}", holder)


def container_set(state: NodeState, group: int, holder: int) -> NodeState:
    """Take over the DMA of an open group: EPERM when a member has a driver that does DMA by itself."""
    if not groups.is_viable(state.bus, group):
        raise KernelRefused(errno.EPERM, f"IOMMU group {group} is not viable: a member has another driver")
    return held(state, f"container/{group}", holder)


def device_opened(state: NodeState, number: int, holder: int) -> NodeState:
    """Open a device through its group (VFIO_GROUP_GET_DEVICE_FD)."""
    return held(state, f"device/{number}", holder)


def node_opened(state: NodeState, number: int, holder: int) -> NodeState:
    """Open /dev/vfio/devices/vfio<N>, which holds the device before it is bound to anything."""
    group_of(state, number)
    return held(state, f"node/{number}", holder)


def device_bound(state: NodeState, number: int, holder: int, iommufd: int | None = None) -> NodeState:
    """Bind /dev/vfio/devices/vfio<N> to an IOMMUFD, by default one that nobody shares.

    EINVAL when it is bound, EBUSY with its group open, EPERM when that is not viable or another IOMMUFD's.
    """
    group = group_of(state, number)
    if state.bus.holders.get(f"iommufd/{number}"):
        raise KernelRefused(errno.EINVAL, f"vfio{number} is bound to an IOMMUFD already")
    _check_free(state, (f"group/{group}",), f"/dev/vfio/devices/vfio{number}")
    if group is not None and not groups.is_viable(state.bus, group):
        raise KernelRefused(errno.EPERM, f"IOMMU group {group} of vfio{number} is not viable")
    domain = f"domain/{group}/{holder if iommufd is None else iommufd}"
    if others := [key for key in state.bus.holders if key.startswith(f"domain/{group}/") and key != domain]:
        raise KernelRefused(errno.EPERM, f"IOMMU group {group} of vfio{number} is held as {others[0]}")
    return held(held(state, f"iommufd/{number}", holder), domain, holder)


def group_of(state: NodeState, number: int) -> int | None:
    """Return the IOMMU group of a VFIO device; KernelRefused ENOENT when there is no such device."""
    for present in state.bus.functions.values():
        if present.vfio_device == number:
            return present.iommu_group
    for mediated in state.mediated:
        if mediated.vfio_device == number:
            return mediated.iommu_group
    raise KernelRefused(errno.ENOENT, f"/dev/vfio/devices/vfio{number} does not exist")


def group_devices(state: NodeState, group: int) -> tuple[int, ...]:
    """Return the VFIO device numbers of a group's members, mediated ones included."""
    members = (state.bus.functions[each].vfio_device for each in state.bus.group_members(group))
    mediated = (each.vfio_device for each in state.mediated if each.iommu_group == group)
    return tuple(number for number in (*members, *mediated) if number is not None)


def abandoned(state: NodeState, group: int | None, number: int | None) -> NodeState:
    """Forget who held a device that is gone, and its group when that was the last: their open files are dead."""
    dead = {f"{kind}/{number}" for kind in ("device", "node", "iommufd")} if number is not None else set()
    if group is not None and not group_devices(state, group):
        dead |= {f"group/{group}", f"container/{group}"}
        dead |= {key for key in state.bus.holders if key.startswith(f"domain/{group}/")}
    kept = {key: holders for key, holders in state.bus.holders.items() if key not in dead}
    return (
        state if len(kept) == len(state.bus.holders) else replace(state, bus=replace(state.bus, holders=kept))
    )


def users(state: NodeState, number: int) -> tuple[tuple[str, int], ...]:
    """Return who keeps a VFIO device from being taken away, as (key, holder)."""
    keys = (f"device/{number}", f"node/{number}", f"iommufd/{number}")
    return tuple((key, holder) for key in keys for holder in sorted(state.bus.holders.get(key, ())))


def device_named(state: NodeState, name: str, group: int) -> int | None:
    """Return the VFIO device of a group that is called so, an address or a UUID; None when it is leaving or not one."""
    for address, present in state.bus.functions.items():
        if str(address) == name and present.iommu_group == group and present.leaving is None:
            return present.vfio_device
    for mediated in state.mediated:
        if mediated.uuid == name and mediated.iommu_group == group and not mediated.leaving:
            return mediated.vfio_device
    return None


def held(state: NodeState, key: str, holder: int) -> NodeState:
    """Add a holder."""
    holders = state.bus.holders.get(key, frozenset()) | {holder}
    return replace(state, bus=replace(state.bus, holders={**state.bus.holders, key: holders}))


def released(state: NodeState, holder: int, key: str | None = None) -> NodeState:
    """Let one holder go of one key, or of all; holding nothing is no error."""
    left = {
        each: holders - {holder} if key in (None, each) else holders
        for each, holders in state.bus.holders.items()
    }
    kept = {each: holders for each, holders in left.items() if holders}
    return state if kept == state.bus.holders else replace(state, bus=replace(state.bus, holders=kept))


def _check_free(state: NodeState, keys: tuple[str, ...], what: str) -> None:
    for key in keys:
        if holders := state.bus.holders.get(key):
            raise KernelRefused(errno.EBUSY, f"{what} is held: {key} by {min(holders)}")

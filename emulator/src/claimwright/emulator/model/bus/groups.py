"""IOMMU groups and the numbers of VFIO devices: who shares, who may drive a member, what is free."""

from __future__ import annotations

import errno
from collections.abc import Container
from itertools import count

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model.bus.drivers import DRIVERS, DriverSpec
from claimwright.emulator.model.bus.values import Bus
from claimwright.emulator.model.pci import PciAddress, PciFunction
from claimwright.emulator.model.state import NodeState


def lowest_free_device(state: NodeState) -> int:
    """Return the number that the next VFIO device gets (vfio_main.c: an IDA, from 0)."""
    used = {present.vfio_device for present in state.bus.functions.values()}
    return _lowest(used | {each.vfio_device for each in state.mediated}, 0)


def group_for(state: NodeState, function: PciFunction) -> int | None:
    """Return the group that a newly found function joins: that of its isolation, or the lowest free number."""
    if function.isolation is None:
        return None
    isolation = {each.address: each.isolation for each in state.functions}
    for address, present in state.bus.functions.items():
        if isolation.get(address) == function.isolation and present.iommu_group is not None:
            return present.iommu_group
    return free_group(state)


def free_group(state: NodeState) -> int:
    """Return the lowest group number that nothing has (iommu.c: an IDA)."""
    used = {present.iommu_group for present in state.bus.functions.values()}
    return _lowest(used | {each.iommu_group for each in state.mediated}, state.bus.first_iommu_group)


def check_may_join(state: NodeState, address: PciAddress, spec: DriverSpec) -> None:
    """Refuse a driver that would do DMA in a group that user space owns (iommu_device_use_default_domain)."""
    group = state.bus.functions[address].iommu_group
    if group is not None and not spec.managed_dma and owners(state, group):
        raise KernelRefused(
            errno.EBUSY, f"IOMMU group {group} of {address} is held by a VFIO user; {spec.name} cannot probe"
        )


def owners(state: NodeState, group: int) -> frozenset[int]:
    """Return who owns a group's DMA, by a container or by an IOMMUFD of a device of it."""
    opened = state.bus.holders
    devices = (state.bus.functions[each].vfio_device for each in state.bus.group_members(group))
    return opened.get(f"container/{group}", frozenset()).union(
        *(opened.get(f"iommufd/{number}", frozenset()) for number in devices if number is not None)
    )


def is_viable(bus: Bus, group: int) -> bool:
    """Tell whether user space can own a group: no member has a driver that does DMA by itself."""
    members = [bus.functions[each] for each in bus.group_members(group)]
    return all(
        each.driver is None or each.vfio_device is not None or DRIVERS[each.driver].managed_dma
        for each in members
    )


def _lowest(used: Container[int | None], first: int) -> int:
    return next(number for number in count(first) if number not in used)

"""Whether a mediated device has its driver, and how long it stays: who takes it away waits for its users."""

from __future__ import annotations

import errno
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model.bus import mediating, vfio
from claimwright.emulator.model.bus.mediated import MediatedDevice
from claimwright.emulator.model.bus.values import Leaving
from claimwright.emulator.model.state import NodeState


def removed(state: NodeState, uuid: str) -> NodeState:
    """Remove a mediated device, when its last user has gone; ENODEV without one."""
    return _left(state, _required(state, uuid), Leaving.REMOVE)


def unbound(state: NodeState, uuid: str) -> NodeState:
    """Take a mediated device from its driver, when its last user has gone: no group and no node; ENODEV without one."""
    device = _required(state, uuid)
    if not device.bound:
        raise KernelRefused(errno.ENODEV, f"mediated device {uuid} has no driver")
    return _left(state, device, Leaving.UNBIND)


def settled(state: NodeState) -> NodeState:
    """Complete what waited for a last user that is gone now."""
    for device in state.mediated:
        if device.leaving is not None and not _in_use(state, device):
            state = _left(state, device, device.leaving)
    return state


def matched(state: NodeState) -> NodeState:
    """Keep exactly one mediated device per vGPU that is on one, however either came or went.

    A vGPU goes when its GPU leaves the driver, which unregisters the parent; whoever had the device open has lost it.
    """
    carried = {each.carrier: each for each in state.vgpus if each.is_mediated}
    known = {each.uuid for each in state.mediated}
    if carried.keys() == known:
        return state
    gone = [each for each in state.mediated if each.uuid not in carried]
    state = replace(state, mediated=tuple(each for each in state.mediated if each.uuid in carried))
    for device in gone:
        state = vfio.abandoned(state, device.iommu_group, device.vfio_device)
    for uuid, each in carried.items():
        if uuid not in known:
            state = mediating.with_device(state, state.gpus[each.gpu].pci, each.type_id, uuid)
    return state


def find(state: NodeState, uuid: str) -> MediatedDevice | None:
    """Return the mediated device of this name."""
    return next((each for each in state.mediated if each.uuid == uuid), None)


def _left(state: NodeState, device: MediatedDevice, leaving: Leaving) -> NodeState:
    if _in_use(state, device):
        return _replaced(state, replace(device, leaving=leaving))
    if leaving is Leaving.UNBIND:
        free = replace(device, leaving=None, iommu_group=None, vfio_device=None)
        return vfio.abandoned(_replaced(state, free), device.iommu_group, device.vfio_device)
    left = tuple(each for each in state.mediated if each.uuid != device.uuid)
    state = replace(mediating.without_vgpu(state, device.uuid), mediated=left)
    return vfio.abandoned(state, device.iommu_group, device.vfio_device)


def _in_use(state: NodeState, device: MediatedDevice) -> bool:
    return device.vfio_device is not None and bool(vfio.users(state, device.vfio_device))


def _required(state: NodeState, uuid: str) -> MediatedDevice:
    device = find(state, uuid)
    if device is None:
        raise KernelRefused(errno.ENODEV, f"no mediated device {uuid}")
    return device


def _replaced(state: NodeState, device: MediatedDevice) -> NodeState:
    changed = tuple(device if each.uuid == device.uuid else each for each in state.mediated)
    return replace(state, mediated=changed)

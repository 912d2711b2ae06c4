"""One write to a file is one store: find it, read the text as the kernel would, change the model."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.files.acting import drivers, functions, mediated, system
from claimwright.emulator.files.acting.stores import PAGE_BYTES, Store, Waits
from claimwright.emulator.files.tree import Acts
from claimwright.emulator.model import NodeState
from claimwright.emulator.model.bus import mdev_life
from claimwright.emulator.model.bus.binding import holders
from claimwright.emulator.model.bus.values import Leaving
from claimwright.emulator.model.change import Change
from claimwright.emulator.model.pci import PciAddress

STORES: Mapping[str, Store] = {
    **functions.STORES,
    **drivers.STORES,
    **mediated.STORES,
    **system.STORES,
}

__all__ = ["PAGE_BYTES", "STORES", "Waits", "write"]


def write(state: NodeState, acts: Acts, data: bytes, *, may_wait: bool = True) -> Change[Waits]:
    """Store what was written to a file; the value says for whom the writer waits now, None when it is done.

    A driver's remove() waits for its users. With `may_wait` the function is left `leaving`, and done when it is no
    longer so; without it the write is refused with EAGAIN, and nothing has changed.
    """
    text = data[:PAGE_BYTES].split(b"\0")[0].decode("latin-1")
    changed = STORES[acts.store](state, acts.subject, text)
    waiting = _newly_leaving(state, changed)
    if waiting is not None and not may_wait:
        users = () if isinstance(waiting, str) else holders(changed, waiting)
        by = ", ".join(users) or "a virtual machine or what is behind it"
        raise KernelRefused(errno.EAGAIN, f"{waiting} is in use by {by}: its driver would wait for that")
    return Change(changed, waiting)


def _newly_leaving(before: NodeState, after: NodeState) -> Waits:
    """Return the device whose leaving this store has begun, or asked for again; the last to go of several."""
    for device in after.mediated:
        if device.leaving is not None and device not in before.mediated:
            return device.uuid
    if after.bus is before.bus:
        return None
    for address, present in after.bus.functions.items():
        known = before.bus.functions.get(address)
        if present.leaving is not None and known is not None and present is not known:
            return address
    return None


def is_waiting(state: NodeState, device: PciAddress | str) -> bool:
    """Tell whether a writer still waits for a device's users."""
    if isinstance(device, str):
        mediated = mdev_life.find(state, device)
        return mediated is not None and mediated.leaving is not None
    present = state.bus.functions.get(device)
    return present is not None and present.leaving in (Leaving.UNBIND, Leaving.REMOVE)

"""What can be done to the PCI bus: the kernel's own interfaces, by the names of the files that offer them.

Functions are named as the kernel spells them (`0000:53:00.0`). Refusals are KernelRefused: `errno` is what a write to
the file fails with. The value of an operation on a function is its BusFunction, None once it is gone; one whose
`leaving` is set waits for its users (see model.bus.binding).
"""

from __future__ import annotations

import errno
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model.bus import binding, loading, presence, vfio, virtual_functions
from claimwright.emulator.model.bus.drivers import DRIVERS, DriverSpec, PciId
from claimwright.emulator.model.bus.values import BusFunction, Leaving
from claimwright.emulator.model.change import Change
from claimwright.emulator.model.pci import PciAddress
from claimwright.emulator.model.state import NodeState


def set_driver_override(state: NodeState, function: str, driver: str | None) -> Change[BusFunction]:
    """Say which driver alone may match a function from now on; None or "" takes that back. Binds nothing."""
    address = presence.require(state, function)
    changed = replace(state.bus.functions[address], driver_override=driver or None)
    return Change(binding.with_function(state, address, changed), changed)


def bind(state: NodeState, function: str, driver: str) -> Change[BusFunction | None]:
    """Bind a function to a driver that matches it: ENODEV when it does not, EBUSY when it has a driver already."""
    spec = loaded_driver(state, driver)
    address = presence.require(state, function)
    if not binding.matches(state, address, spec):
        override = state.bus.functions[address].driver_override
        raise KernelRefused(
            errno.ENODEV, f"{driver} does not match {function} (driver_override {override or '(null)'})"
        )
    return _with(binding.attach(state, address, spec), address)


def unbind(state: NodeState, function: str, driver: str | None = None) -> Change[BusFunction | None]:
    """Take a function from its driver (from `driver`, if given): ENODEV when it has none, or another.

    With users the function stays bound with `leaving` set, and is unbound when the last of them is gone.
    """
    address = presence.require(state, function)
    present = state.bus.functions[address]
    if present.driver is None or driver not in (None, present.driver):
        raise KernelRefused(errno.ENODEV, f"{function} is bound to {present.driver}, not to {driver}")
    if present.driver == "vfio-pci":  # vfio_pci_core_unregister_device unmakes them first
        state = virtual_functions.disabled(state, address)
        present = state.bus.functions[address]
    if binding.holders(state, address):
        leaving = replace(present, leaving=Leaving.UNBIND)
        return _with(binding.with_function(state, address, leaving), address)
    return _with(binding.detach(state, address), address)


def move_to_driver(state: NodeState, function: str, driver: str | None) -> Change[BusFunction | None]:
    """Do what `driverctl set-override` does: override, unbind, bind; None gives the function back to its own.

    EBUSY, and nothing changed, while somebody uses it.
    """
    address = presence.require(state, function)
    if users := binding.holders(state, address):
        raise KernelRefused(errno.EBUSY, f"{function} is in use by {', '.join(users)}")
    if driver is not None:
        loaded_driver(state, driver)
    free = set_driver_override(binding.detach(state, address), function, driver).state
    return _with(binding.attach_by_match(free, address), address)


def probe(state: NodeState, function: str) -> Change[BusFunction | None]:
    """Offer an unbound function to the loaded drivers (`drivers_probe`); none that takes it is no error."""
    address = presence.require(state, function)
    return _with(binding.attach_by_match(state, address), address)


def remove(state: NodeState, function: str) -> Change[BusFunction | None]:
    """Take a function, and all behind it, off the bus; with users it waits for them, as `unbind` does."""
    address = presence.require(state, function)
    return _with(presence.removed(state, address), address)


def pull(state: NodeState, function: str) -> Change[None]:
    """Pull a card: the function is gone at once, and its users have lost it."""
    return Change(presence.pulled(state, presence.require(state, function)), None)


def rescan(state: NodeState, below: str | None = None) -> Change[tuple[str, ...]]:
    """Find functions again that were removed (behind the bridge `below`); the value names them."""
    found = presence.rescanned(state, below)
    new = sorted(set(found.bus.functions) - set(state.bus.functions))
    return Change(found, tuple(str(each) for each in new))


def reset(state: NodeState, function: str) -> Change[BusFunction]:
    """Reset a function (FLR); ENOTTY when every reset method was disabled."""
    address = presence.require(state, function)
    present = state.bus.functions[address]
    if not present.reset_methods:
        raise KernelRefused(errno.ENOTTY, f"{function} has no reset method")
    changed = replace(present, resets=present.resets + 1)
    return Change(binding.with_function(state, address, changed), changed)


def set_numa_node(state: NodeState, function: str, node: int) -> Change[BusFunction]:
    """Say which NUMA node a function is near to; -1 for none."""
    address = presence.require(state, function)
    if node != -1 and node not in {each.id for each in state.numa}:
        raise KernelRefused(
            errno.EINVAL, f"NUMA node {node} is not online; expected -1..{len(state.numa) - 1}"
        )
    changed = replace(state.bus.functions[address], numa_node=node)
    return Change(binding.with_function(state, address, changed), changed)


def set_virtual_functions(state: NodeState, function: str, number: int) -> Change[tuple[str, ...]]:
    """Set how many virtual functions a physical one has (`sriov_numvfs`); the value names them."""
    address = presence.require(state, function)
    changed = virtual_functions.with_count(state, address, number)
    return Change(changed, tuple(map(str, virtual_functions.virtual_functions_of(changed, address))))


def set_virtual_autoprobe(state: NodeState, function: str, *, enabled: bool) -> Change[BusFunction]:
    """Say whether new virtual functions are offered to drivers (`sriov_drivers_autoprobe`)."""
    address = presence.require(state, function)
    virtual_functions.capability(state.function(address))
    changed = replace(state.bus.functions[address], virtual_autoprobe=enabled)
    return Change(binding.with_function(state, address, changed), changed)


def set_autoprobe(state: NodeState, *, enabled: bool) -> Change[None]:
    """Say whether found functions are offered to drivers by themselves (`drivers_autoprobe` of the bus)."""
    if enabled == state.bus.autoprobe:
        return Change(state, None)
    return Change(replace(state, bus=replace(state.bus, autoprobe=enabled)), None)


def add_dynamic_id(state: NodeState, driver: str, identity: PciId) -> Change[None]:
    """Let a driver match more ids (`new_id`) and probe what is unbound: EEXIST when it matches them already."""
    spec = loaded_driver(state, driver)
    known = state.bus.dynamic_ids.get(driver, ())
    if identity in known or (not spec.override_only and identity in spec.ids):
        raise KernelRefused(
            errno.EEXIST, f"{driver} knows {identity.vendor:04x} {identity.device:04x} already"
        )
    ids = {**state.bus.dynamic_ids, driver: (*known, identity)}
    state = replace(state, bus=replace(state.bus, dynamic_ids=ids))
    for address in sorted(state.bus.functions):
        if state.bus.driver_of(address) is None and binding.matches(state, address, spec):
            state = _attached_if_possible(state, address, spec)
    return Change(state, None)


def remove_dynamic_id(state: NodeState, driver: str, identity: PciId) -> Change[None]:
    """Take back ids given by `add_dynamic_id` (`remove_id`): ENODEV when there are none such."""
    loaded_driver(state, driver)
    known = state.bus.dynamic_ids.get(driver, ())
    gone = next((each for each in known if _same_ids(identity, each)), None)
    if gone is None:
        raise KernelRefused(
            errno.ENODEV, f"{driver} has no dynamic id {identity.vendor:04x} {identity.device:04x}"
        )
    ids = {**state.bus.dynamic_ids, driver: tuple(each for each in known if each is not gone)}
    return Change(replace(state, bus=replace(state.bus, dynamic_ids=ids)), None)


def load_module(state: NodeState, module: str) -> Change[tuple[str, ...]]:
    """Load a kernel module and what it needs, as modprobe does; the value lists all loaded ones."""
    changed = loading.loaded(state, module)
    return Change(changed, changed.bus.modules)


def unload_module(state: NodeState, module: str) -> Change[tuple[str, ...]]:
    """Unload a kernel module, as rmmod does: EAGAIN while it is in use."""
    changed = loading.unloaded(state, module)
    return Change(changed, changed.bus.modules)


def set_unbind_lock(state: NodeState, function: str, *, locked: bool) -> Change[bool]:
    """Ask the NVIDIA driver to refuse new users (`unbindLock`); the value says whether it does: not with users."""
    address = presence.require(state, function)
    present = state.bus.functions[address]
    if present.driver != "nvidia":
        raise KernelRefused(errno.ENOENT, f"{function} is not on the NVIDIA driver")
    changed = replace(present, unbind_locked=locked and not binding.holders(state, address))
    return Change(binding.with_function(state, address, changed), changed.unbind_locked)


def open_gpu(state: NodeState, function: str, pid: int) -> Change[None]:
    """Open /dev/nvidia<minor> in a process: ENOENT off the NVIDIA driver, ENODEV while it is locked or leaving."""
    address = presence.require(state, function)
    present = state.bus.functions[address]
    if present.driver != "nvidia":
        raise KernelRefused(errno.ENOENT, f"{function} is not on the NVIDIA driver: it has no device node")
    if present.unbind_locked or present.leaving:
        raise KernelRefused(errno.ENODEV, f"{function} is locked for unbinding or leaving: no new users")
    key = f"gpu/{address}"
    pids = state.bus.holders.get(key, frozenset()) | {pid}
    return Change(replace(state, bus=replace(state.bus, holders={**state.bus.holders, key: pids})), None)


def open_vfio_group(state: NodeState, group: int, pid: int) -> Change[None]:
    """Open /dev/vfio/<group> and its devices in a process, as a virtual machine does: EBUSY, EPERM (not viable)."""
    opened = vfio.container_set(vfio.group_opened(state, group, pid), group, pid)
    for number in vfio.group_devices(state, group):
        opened = vfio.device_opened(opened, number, pid)
    return Change(opened, None)


def open_vfio_device(state: NodeState, device: int, pid: int) -> Change[None]:
    """Open /dev/vfio/devices/vfio<device> in a process and bind it to an IOMMUFD."""
    return Change(vfio.device_bound(state, device, pid), None)


def close_devices(state: NodeState, pid: int) -> Change[None]:
    """Close what a process has opened by `open_gpu`, `open_vfio_group` and `open_vfio_device`."""
    return Change(vfio.released(state, pid), None)


def loaded_driver(state: NodeState, driver: str) -> DriverSpec:
    """Return a registered driver; KernelRefused ENOENT (its folder does not exist) lists the others."""
    spec = DRIVERS.get(driver)
    if spec is None or not binding.is_loaded(state, spec):
        known = ", ".join(name for name, each in DRIVERS.items() if binding.is_loaded(state, each))
        raise KernelRefused(errno.ENOENT, f"no driver {driver!r} is loaded; loaded: {known}")
    return spec


def _with(state: NodeState, address: PciAddress) -> Change[BusFunction | None]:
    return Change(state, state.bus.functions.get(address))


def _attached_if_possible(state: NodeState, address: PciAddress, spec: DriverSpec) -> NodeState:
    try:
        return binding.attach(state, address, spec)
    except KernelRefused:
        return state


def _same_ids(asked: PciId, known: PciId) -> bool:
    """Compare as remove_id_store does: what was not given matches anything."""
    return (asked.vendor, asked.device) == (known.vendor, known.device) and all(
        mine in (0xFFFFFFFF, theirs)
        for mine, theirs in (
            (asked.subsystem_vendor, known.subsystem_vendor),
            (asked.subsystem_device, known.subsystem_device),
        )
    )


OPERATIONS = (
    set_driver_override,
    bind,
    unbind,
    move_to_driver,
    probe,
    remove,
    pull,
    rescan,
    reset,
    set_numa_node,
    set_virtual_functions,
    set_virtual_autoprobe,
    set_autoprobe,
    add_dynamic_id,
    remove_dynamic_id,
    load_module,
    unload_module,
    set_unbind_lock,
    open_gpu,
    open_vfio_group,
    open_vfio_device,
    close_devices,
)

"""SR-IOV: virtual functions come and go by number (drivers/pci/iov.c)."""

from __future__ import annotations

import errno
from dataclasses import replace

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.model.bus import binding, presence
from claimwright.emulator.model.bus.drivers import DRIVERS
from claimwright.emulator.model.pci import Bar, FunctionKind, PciAddress, PciFunction, Sriov
from claimwright.emulator.model.state import NodeState


def with_count(state: NodeState, address: PciAddress, number: int) -> NodeState:
    """Set the number of virtual functions, with the checks of sriov_numvfs_store in its order."""
    function, present = state.function(address), state.bus.functions[address]
    sriov = capability(function)
    if number > sriov.total:
        raise KernelRefused(errno.ERANGE, f"{number} virtual functions; {address} has at most {sriov.total}")
    if number == present.virtual_functions:
        return state
    if present.driver is None or not _configures(state, present.driver):
        who = f"its driver {present.driver}" if present.driver else "no driver is bound, which"
        raise KernelRefused(errno.ENOENT, f"{address}: {who} cannot configure SR-IOV")
    if number and present.virtual_functions:
        raise KernelRefused(
            errno.EBUSY, f"{address} has {present.virtual_functions} virtual functions; set 0 first"
        )
    return _enabled(state, function, number) if number else disabled(state, address)


def capability(function: PciFunction) -> Sriov:
    """Return the SR-IOV capability; KernelRefused ENOENT where the function has none."""
    if function.sriov is None:
        raise KernelRefused(errno.ENOENT, f"{function.address} has no SR-IOV capability")
    return function.sriov


def disabled(state: NodeState, address: PciAddress) -> NodeState:
    """Remove every virtual function; one in use goes when its last user does, and the writer waits (Linux 6.12)."""
    for each in virtual_functions_of(state, address):
        state = presence.removed(state, each)
    present = state.bus.functions[address]
    return binding.with_function(state, address, replace(present, virtual_functions=0))


def virtual_functions_of(state: NodeState, address: PciAddress) -> tuple[PciAddress, ...]:
    """Return the virtual functions of a physical one, VF 0 first."""
    return tuple(each.address for each in state.functions if each.physical == address)


def _configures(state: NodeState, driver: str) -> bool:
    if driver == "vfio-pci":  # vfio_pci_sriov_configure: only with the module's parameter enable_sriov
        return state.bus.parameters.get(("vfio_pci", "enable_sriov")) == "Y"
    return DRIVERS[driver].sriov


def _enabled(state: NodeState, physical: PciFunction, number: int) -> NodeState:
    present = state.bus.functions[physical.address]
    counted = binding.with_function(state, physical.address, replace(present, virtual_functions=number))
    taken = max((each.isolation for each in state.functions if each.isolation is not None), default=-1)
    new = (_virtual(physical, index, taken + 1 + index) for index in range(number))
    # vfio_pci_bus_notifier: no other driver shall see what the user of a physical function on vfio-pci controls.
    override = present.driver if present.driver == "vfio-pci" else None
    return presence.added(counted, new, probe=present.virtual_autoprobe, override=override)


def _virtual(physical: PciFunction, index: int, isolation: int) -> PciFunction:
    sriov = capability(physical)
    at = physical.address
    routing = (at.bus << 8 | at.device << 3 | at.function) + sriov.offset + sriov.stride * index
    address = PciAddress(at.domain, routing >> 8, routing >> 3 & 0x1F, routing & 7)
    return replace(
        physical,
        address=address,
        kind=FunctionKind.VIRTUAL,
        identity=replace(physical.identity, device=sriov.device),
        path=(*physical.path[:-1], str(address)),
        bars=tuple(
            Bar(bar.index, bar.start + index * bar.size_bytes, bar.size_bytes, bar.flags)
            for bar in sriov.bars
        ),
        isolation=None if physical.isolation is None else isolation,
        irq=0,
        sriov=None,
        physical=at,
    )

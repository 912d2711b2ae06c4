"""Stores of a PCI function's own files (drivers/pci/pci-sysfs.c, drivers/pci/iov.c, drivers/base/driver.c)."""

from __future__ import annotations

import errno

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.files.acting.parsing import boolean, signed, unsigned
from claimwright.emulator.files.acting.stores import PAGE_BYTES, Store, present, with_changed
from claimwright.emulator.model import NodeState
from claimwright.emulator.model.bus import presence
from claimwright.emulator.model.operations import bus

_RESET_METHODS = ("flr", "bus")  # what the emulated functions have; the kernel knows more names
_KNOWN_METHODS = {"device_specific", "acpi", "flr", "af_flr", "pm", "bus", "cxl_bus"}


def _driver_override(state: NodeState, subject: str, text: str) -> NodeState:
    if len(text) >= PAGE_BYTES - 1:
        raise KernelRefused(errno.EINVAL, f"a driver name of {len(text)} bytes does not fit into a page")
    return bus.set_driver_override(state, subject, text.split("\n", maxsplit=1)[0]).state


def _numa_node(state: NodeState, subject: str, text: str) -> NodeState:
    return bus.set_numa_node(state, subject, signed(text)).state


def _enable(state: NodeState, subject: str, text: str) -> NodeState:
    value, function = unsigned(text), present(state, subject)
    if function.driver is not None:
        raise KernelRefused(errno.EBUSY, f"{subject} is enabled by its driver {function.driver}")
    if not value and not function.enable_count:
        raise KernelRefused(errno.EIO, f"{subject} is not enabled")
    return with_changed(state, subject, enable_count=function.enable_count + (1 if value else -1))


def _remove(state: NodeState, subject: str, text: str) -> NodeState:
    return bus.remove(state, subject).state if unsigned(text) else state


def _rescan(state: NodeState, subject: str, text: str) -> NodeState:
    """Scan the function's own bus: for a bridge, what is behind it; for an endpoint, its siblings."""
    if not unsigned(text):
        return state
    function = state.function(presence.require(state, subject))
    below = subject if function.secondary_bus is not None else function.path[-2]
    return bus.rescan(state, below).state


def _reset(state: NodeState, subject: str, text: str) -> NodeState:
    if (value := unsigned(text)) != 1:
        raise KernelRefused(errno.EINVAL, f"reset takes 1, not {value}")
    return bus.reset(state, subject).state


def _reset_method(state: NodeState, subject: str, text: str) -> NodeState:
    """Choose the methods and their order; nothing disables all, `default` brings them back."""
    words = tuple(text.split())
    if words == ("default",):
        return with_changed(state, subject, reset_methods=_RESET_METHODS)
    for word in words:
        if word not in _KNOWN_METHODS or word not in _RESET_METHODS:
            raise KernelRefused(errno.EINVAL, f"{word!r} is no reset method of {subject}: {_RESET_METHODS}")
    return with_changed(state, subject, reset_methods=words)


def _broken_parity(state: NodeState, subject: str, text: str) -> NodeState:
    return with_changed(state, subject, broken_parity=bool(unsigned(text)))


def _d3cold(state: NodeState, subject: str, text: str) -> NodeState:
    return with_changed(state, subject, d3cold_allowed=bool(unsigned(text)))


def _msi(state: NodeState, subject: str, text: str) -> NodeState:
    return with_changed(state, subject, msi_allowed=bool(unsigned(text)))


def _number_of_virtual_functions(state: NodeState, subject: str, text: str) -> NodeState:
    try:
        number = unsigned(text, 16)
    except (
        KernelRefused
    ) as refused:  # kstrtou16 fails with ERANGE beyond 16 bits; the store says EINVAL for both
        raise KernelRefused(errno.EINVAL, refused.said) from None
    return bus.set_virtual_functions(state, subject, number).state


def _virtual_autoprobe(state: NodeState, subject: str, text: str) -> NodeState:
    return bus.set_virtual_autoprobe(state, subject, enabled=boolean(text)).state


def _virtual_msix(_state: NodeState, subject: str, text: str) -> NodeState:
    if signed(text) < 0:
        raise KernelRefused(errno.EINVAL, f"{text.strip()} interrupt vectors")
    raise KernelRefused(
        errno.EOPNOTSUPP, f"the driver of {subject} cannot set the vectors of a virtual function"
    )


STORES: dict[str, Store] = {
    "driver_override": _driver_override,
    "numa_node": _numa_node,
    "enable": _enable,
    "remove": _remove,
    "rescan": _rescan,
    "reset": _reset,
    "reset_method": _reset_method,
    "broken_parity_status": _broken_parity,
    "d3cold_allowed": _d3cold,
    "msi_bus": _msi,
    "sriov_numvfs": _number_of_virtual_functions,
    "sriov_drivers_autoprobe": _virtual_autoprobe,
    "sriov_vf_msix_count": _virtual_msix,
}

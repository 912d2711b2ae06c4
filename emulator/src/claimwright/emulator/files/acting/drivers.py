"""Stores of drivers and of the bus itself (drivers/base/bus.c, drivers/pci/pci-driver.c)."""

from __future__ import annotations

import errno

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.files.acting.parsing import hexadecimals, name, unsigned
from claimwright.emulator.files.acting.stores import Store
from claimwright.emulator.model import NodeState
from claimwright.emulator.model.bus import ANY, DRIVERS, PciId
from claimwright.emulator.model.operations import bus

_FIELDS = 7
_ACTIONS = {"add", "remove", "change", "move", "online", "offline", "bind", "unbind"}


def _bind(state: NodeState, subject: str, text: str) -> NodeState:
    return bus.bind(state, name(text), subject).state


def _unbind(state: NodeState, subject: str, text: str) -> NodeState:
    return bus.unbind(state, name(text), subject).state


def _new_id(state: NodeState, subject: str, text: str) -> NodeState:
    identity = _identity(text, _FIELDS)
    if identity.driver_data and identity.driver_data not in {
        each.driver_data for each in DRIVERS[subject].ids
    }:
        raise KernelRefused(errno.EINVAL, f"driver_data {identity.driver_data:x} is in no entry of {subject}")
    return bus.add_dynamic_id(state, subject, identity).state


def _remove_id(state: NodeState, subject: str, text: str) -> NodeState:
    return bus.remove_dynamic_id(state, subject, _identity(text, _FIELDS - 1)).state


def _identity(text: str, most: int) -> PciId:
    """Read `vendor device [subvendor subdevice class class_mask driver_data]`, all hexadecimal."""
    fields = hexadecimals(text, most)
    if len(fields) < 2:
        raise KernelRefused(errno.EINVAL, f"{text.strip()!r}: expected at least a vendor and a device id")
    return PciId(*(*fields, *(0, 0, ANY, ANY, 0, 0, 0)[len(fields) :]))


def _probe(state: NodeState, _subject: str, text: str) -> NodeState:
    return bus.probe(state, name(text)).state


def _autoprobe(state: NodeState, _subject: str, text: str) -> NodeState:
    return bus.set_autoprobe(state, enabled=not text.startswith("0")).state


def _rescan(state: NodeState, _subject: str, text: str) -> NodeState:
    return bus.rescan(state).state if unsigned(text) else state


def _uevent(state: NodeState, _subject: str, text: str) -> NodeState:
    """Take a synthetic event (kobject_synth_uevent); nobody listens on an emulated node."""
    if not text.split() or text.split(maxsplit=1)[0] not in _ACTIONS:
        raise KernelRefused(
            errno.EINVAL, f"{text.strip()!r} is no action; expected one of {sorted(_ACTIONS)}"
        )
    return state


STORES: dict[str, Store] = {
    "bind": _bind,
    "unbind": _unbind,
    "new_id": _new_id,
    "remove_id": _remove_id,
    "drivers_probe": _probe,
    "drivers_autoprobe": _autoprobe,
    "bus_rescan": _rescan,
    "uevent": _uevent,
}

"""Stores of mediated devices and of vendor-specific vGPU files."""

from __future__ import annotations

import errno

from claimwright.emulator.errors import KernelRefused
from claimwright.emulator.files.acting.parsing import name, unsigned
from claimwright.emulator.files.acting.stores import Store
from claimwright.emulator.model import NodeState
from claimwright.emulator.model.bus import mdev_life, mediating, presence
from claimwright.emulator.model.operations import vgpu


def _create(state: NodeState, subject: str, text: str) -> NodeState:
    parent, _, type_id = subject.rpartition("/")
    return mediating.mdev_created(state, presence.require(state, parent), int(type_id), text)


def _remove(state: NodeState, subject: str, text: str) -> NodeState:
    return mdev_life.removed(state, subject) if unsigned(text) else state


def _bind(_state: NodeState, subject: str, text: str) -> NodeState:
    """Refuse: mdev_match() says no to everything, a driver gets a mediated device only when that is made."""
    raise KernelRefused(errno.ENODEV, f"{subject} does not match {name(text)!r}: nothing is bound by hand")


def _unbind(state: NodeState, _subject: str, text: str) -> NodeState:
    return mdev_life.unbound(state, name(text))


def _current_type(state: NodeState, subject: str, text: str) -> NodeState:
    return mediating.type_assigned(state, presence.require(state, subject), unsigned(text, 32))


def _place(state: NodeState, subject: str, text: str) -> NodeState:
    """Move the vGPU of a virtual function: EINVAL where it cannot be, EBUSY while a machine runs on it."""
    return vgpu.place_vgpu(state, subject, unsigned(text, 32)).state


def _fixed(_state: NodeState, subject: str, text: str) -> NodeState:
    """Refuse what this node decides by itself: GPU instances are chosen when a type is assigned."""
    raise KernelRefused(errno.EOPNOTSUPP, f"{subject}: {text.strip()!r} cannot be chosen on an emulated node")


STORES: dict[str, Store] = {
    "mdev_create": _create,
    "mdev_remove": _remove,
    "mdev_bind": _bind,
    "mdev_unbind": _unbind,
    "current_vgpu_type": _current_type,
    "placement_id": _place,
    "vgpu_setting": _fixed,
    "vgpu_params": _fixed,
}

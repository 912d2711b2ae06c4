"""The shape of a store, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from claimwright.emulator.model import NodeState
from claimwright.emulator.model.bus import BusFunction, binding, presence
from claimwright.emulator.model.pci import PciAddress

PAGE_BYTES = 4096
Store = Callable[[NodeState, str, str], NodeState]  # state, subject, text
Waits = PciAddress | str | None  # a function, or a mediated device by its UUID


def with_changed(state: NodeState, subject: str, **changes: Any) -> NodeState:  # noqa: ANN401 - fields of a value
    """Return the state with fields of one function replaced; KernelRefused ENODEV when it is gone."""
    address = presence.require(state, subject)
    return binding.with_function(state, address, replace(state.bus.functions[address], **changes))


def present(state: NodeState, subject: str) -> BusFunction:
    """Return a function by name; KernelRefused ENODEV when it is gone."""
    return state.bus.functions[presence.require(state, subject)]

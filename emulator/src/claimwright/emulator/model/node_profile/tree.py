"""Reads a PCI tree as profiles write it: `ADDRESS DEVICE: what is behind a bridge, or settings`.

    40:01.1 root-port:
      41:00.0 l4: {module_id: 1}

Addresses are in the root's domain. DEVICE is a name under `devices`, or the key of a board: a GPU. Bridges open the
bus that the addresses behind them are on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar, assert_never

from claimwright.emulator.model.node_profile.devices import (
    AudioDevice,
    BridgeDevice,
    Device,
    GpuSettings,
    NicDevice,
    NicSettings,
    NoSettings,
    NvSwitchDevice,
    NvSwitchSettings,
)
from claimwright.emulator.model.node_profile.slots import (
    AudioSlot,
    BridgeSlot,
    GpuSlot,
    NicSlot,
    NvSwitchSlot,
    Slot,
)
from claimwright.emulator.model.profile_text import Place, Profile, said
from claimwright.emulator.model.rules import JsonValue

Branches = Mapping[str, JsonValue]
SettingsT = TypeVar("SettingsT", bound=Profile)

_KEY = re.compile(r"(?P<at>[0-9a-f]{2}:[01][0-9a-f]\.[0-7]) (?P<device>[a-z0-9][a-z0-9-]*)")

_EXPECTED = "expected `ADDRESS DEVICE`, such as `53:00.0 l4` (lower-case hex)"


class _FaultyError(Exception):
    """What is wrong at one place; what stands beside it can be read all the same."""

    def __init__(self, found: list[tuple[Place, str]]) -> None:
        super().__init__()
        self.found = found


@dataclass(slots=True)
class TreeReader:
    """Reads trees against the devices of one profile, and keeps every fault found with its place."""

    devices: Mapping[str, Device]
    faults: list[tuple[Place, str]] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)
    _buses: set[str] = field(default_factory=set)

    def claim_bus(self, bus: str, place: Place) -> None:
        """Note the bus of a root."""
        if bus in self._buses:
            self.faults.append((place, f"bus {bus} is opened twice"))
        self._buses.add(bus)

    def read(self, branches: Branches, bus: str, place: Place) -> tuple[Slot, ...]:
        """Return what is on one bus, leaving out what is faulty."""
        slots: list[Slot] = []
        for key, value in branches.items():
            try:
                slots.append(self._slot(key, value, bus, (*place, key)))
            except _FaultyError as faulty:
                self.faults.extend(faulty.found)
        return tuple(slots)

    def _slot(self, key: str, value: JsonValue, bus: str, place: Place) -> Slot:
        parsed = _KEY.fullmatch(key)
        if parsed is None:
            raise _fault(place, _EXPECTED)
        at = f"{bus[:5]}{parsed['at']}"
        if at[:7] != bus:
            raise _fault(place, f"{at} is not on bus {bus}, where this is")
        if at in self._taken:
            raise _fault(place, f"{at} is taken twice")
        self._taken.add(at)
        if not isinstance(value, dict | None):
            raise _fault(place, "expected what is behind it, or settings such as {module_id: 1}")
        return self._placed(at, parsed["device"], value or {}, place)

    def _placed(self, at: str, name: str, value: Branches, place: Place) -> Slot:
        device = self.devices.get(name)
        match device:
            case None:
                return _gpu(at, name, value, place)
            case BridgeDevice():
                return self._bridge(at, device, value, place)
            case NicDevice():
                facts = {name: value for name, value in device.values().items() if name != "kind"}
                return NicSlot(at=at, name=_settings(NicSettings, value, place).name, **facts)
            case NvSwitchDevice():
                chip = _settings(NvSwitchSettings, value, place)
                return NvSwitchSlot(at, device.device, chip.physical_id)
            case AudioDevice():
                return self._audio(at, device, value, place)
            case _:
                assert_never(device)

    def _bridge(self, at: str, device: BridgeDevice, value: Branches, place: Place) -> BridgeSlot:
        if not value:
            raise _fault(place, "a bridge needs something behind it")
        key = next(iter(value))
        first = _KEY.fullmatch(key)
        if first is None:
            raise _fault((*place, key), _EXPECTED)
        behind = f"{at[:5]}{first['at'][:2]}"
        if behind in self._buses or behind <= at[:7]:
            raise _fault(place, f"bus {behind} must be new and above {at[:7]}")
        self._buses.add(behind)
        slots = self.read(value, behind, place)
        return BridgeSlot(at, device.vendor, device.device, device.link_generation, slots)

    def _audio(self, at: str, device: AudioDevice, value: Branches, place: Place) -> AudioSlot:
        if at.endswith(".0") or f"{at[:-1]}0" not in self._taken:
            raise _fault(place, "a sound function comes after the GPU it is part of, at function 1 to 7")
        _settings(NoSettings, value, place)
        return AudioSlot(at, device.device)


def _gpu(at: str, board: str, value: Branches, place: Place) -> GpuSlot:
    if any(_KEY.fullmatch(key) for key in value):
        raise _fault(place, f"{board!r} is not listed under devices, so nothing can be behind it")
    return GpuSlot(at=at, board=board, **_settings(GpuSettings, value, place).values())


def _settings(kind: type[SettingsT], value: Branches, place: Place) -> SettingsT:
    from pydantic import ValidationError  # noqa: PLC0415 - slow to load, and a node process reads no profile

    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _FaultyError([((*place, *fault["loc"]), said(fault)) for fault in error.errors()]) from None


def _fault(place: Place, sentence: str) -> _FaultyError:
    return _FaultyError([(place, sentence)])

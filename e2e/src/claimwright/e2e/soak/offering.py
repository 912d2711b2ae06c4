"""What a claim of the soak asks for: one of the devices that the scheduler could give, with a config of its kind."""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from claimwright.dra.slices import CounterSet, Device, Slice
from claimwright.driver.configs import KINDS
from claimwright.driver.testing.crashes import CONFIGS
from claimwright.e2e.driven_node import DrivenNode, is_whole
from claimwright.e2e.soak.reckoning import BUS

_CONFIG_KINDS: Final = {
    "gpu": "GpuConfig",
    "mig": "MigDeviceConfig",
    "vfio": "VfioDeviceConfig",
    "vgpu": "VgpuDeviceConfig",
}
_REPELLING: Final = ("NoSchedule", "NoExecute")


class Offering:
    """The last whole pool of a node's driver; `closed` are GPUs, by PCI address, of which no claim is to have any."""

    def __init__(self, node: DrivenNode, chance: random.Random) -> None:
        self._node = node
        self._chance = chance
        self._slices: Sequence[Slice] = ()
        self._devices: dict[str, Device] = {}
        self.sets: Mapping[str, CounterSet] = {}

    def devices(self) -> dict[str, Device]:
        """Return the devices; while slices are being replaced, those of before."""
        slices = self._node.slices()
        if slices and slices != self._slices and is_whole(slices):
            self._slices = slices
            self._devices = {device.name: device for found in slices for device in found.devices}
            self.sets = {each.name: each for found in slices for each in found.shared_counters}
        return self._devices

    def choose(self, closed: Collection[str] = ()) -> Device:
        """Choose a kind, a GPU and then a device, so that kinds with many devices do not crowd out the others."""
        chance = self._chance
        devices = [each for each in self.devices().values() if _open(each, closed)]
        kind = chance.choice(sorted({str(device.attributes["type"]) for device in devices}))
        same = [device for device in devices if device.attributes["type"] == kind]
        bus = chance.choice(sorted({str(device.attributes.get(BUS)) for device in same}))
        return chance.choice([device for device in same if str(device.attributes.get(BUS)) == bus])

    def config(self, device: Device) -> list[Mapping[str, Any]]:
        """Choose a config of the device's kind, or none."""
        kind = _CONFIG_KINDS.get(str(device.attributes["type"]), "")
        chosen = self._chance.choice([None, *CONFIGS.get(kind, {}).values()])
        version = KINDS[kind].api_version if kind else ""
        return [] if chosen is None else [{"apiVersion": version, "kind": kind, **chosen}]


def allocation(device: Device) -> dict[str, Any]:
    """Return what the scheduler adds to the result of an allocation: shares of one device have ids."""
    return {"shareID": str(uuid.uuid4())} if device.allow_multiple_allocations else {}


def _open(device: Device, closed: Collection[str]) -> bool:
    repels = any(taint.effect in _REPELLING for taint in device.taints)
    return not repels and str(device.attributes.get(BUS)) not in closed

"""What partitions have in common, whoever makes them: name, description, and how containers get in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Attribute, CounterConsumption, Device
from claimwright.driver.counters import capacities, engines
from claimwright.driver.inventory import Gpu, Inventory
from claimwright.driver.ports import PartitionProfile, Placement
from claimwright.driver.recipes.gpu_attributes import gpu_attributes

TYPE: Final = "mig"
CONFIG: Final = "MigDeviceConfig"


@dataclass(frozen=True)
class MigDevice:
    """One place of one GPU for a partition of one profile; `uuid` is None until the partition is made."""

    gpu: Gpu
    profile: PartitionProfile
    placement: Placement
    uuid: str | None = None

    @property
    def name(self) -> str:
        """The device's name, `gpu-0-mig-1g10gb-19-0`, from which the community driver reads it back."""
        profile = re.sub(r"[^a-z0-9-]", "-", self.profile.name.lower().replace(".", "")).strip("-")
        return f"{self.gpu.device_name}-mig-{profile}-{self.profile.profile_id}-{self.placement.start}"

    @property
    def parts(self) -> frozenset[str]:
        """The memory slices, which no two partitions share."""
        return frozenset(f"memory-slice-{number}" for number in self.placement.slices)


def describe(
    device: MigDevice,
    inventory: Inventory,
    *,
    list_numa: bool,
    consumes: tuple[CounterConsumption, ...] = (),
) -> Device:
    """Return the device as it is published; one that exists already has a uuid and says its slices."""
    attributes: dict[str, Attribute] = {
        **gpu_attributes(device.gpu, inventory, list_numa=list_numa),
        "type": TYPE,
        "parentUUID": device.gpu.uuid,
        "profile": device.profile.name,
    }
    del attributes["uuid"]
    if device.uuid is not None:
        attributes["uuid"] = device.uuid
    return Device(
        name=device.name, attributes=attributes, capacity=_capacity(device), consumes_counters=consumes
    )


def _capacity(device: MigDevice) -> dict[str, Quantity]:
    capacity = capacities(engines(device.profile))
    if device.uuid is not None:
        one = Quantity.parse("1")
        capacity |= {f"memorySlice{number}": one for number in device.placement.slices}
    return capacity

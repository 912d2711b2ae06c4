"""vGPUs on mediated devices: boards up to Turing, and newer ones with older drivers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from claimwright.dra.claims import ClaimUid
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Inventory
from claimwright.driver.inventory.vgpus import MDEV_DEVICES
from claimwright.driver.recipes.recipe import Given, Offer, Preparation, Wanted
from claimwright.driver.recipes.vgpu_device import (
    CONFIG,
    GATE,
    TYPE,
    VgpuDevice,
    access,
    check_sizes,
    describe,
    devices_of,
    steps_before,
)
from claimwright.driver.steps import Step
from claimwright.driver.tools.mdev import mdev, mdev_uuid

if TYPE_CHECKING:
    from claimwright.driver.configs import VgpuDeviceConfig


class MdevVgpus:
    """Offers the types of each GPU, and makes a mediated device for each claim; `mdevUUID` tells it to the consumer."""

    type = TYPE
    config = CONFIG

    def __init__(self, gates: FeatureGates) -> None:
        self._enabled = gates[GATE]
        self._list_numa = gates["DRAListTypeAttributes"]

    def discover(self, inventory: Inventory) -> Iterable[Offer[VgpuDevice]]:
        """Offer them by GPU and name."""
        for gpu in inventory.gpus if self._enabled else ():
            for device in devices_of(gpu, on_functions=False):
                described = describe(device, inventory, list_numa=self._list_numa)
                yield Offer(described, self, gpu.pci_bus_id, device, device.parts)

    def prepare(
        self,
        claim: ClaimUid,  # noqa: ARG002  the name of the CDI device holds it
        group: Sequence[Wanted[VgpuDevice]],
        config: VgpuDeviceConfig | None,
    ) -> Preparation:
        """Make them, then let the virtual machine in."""
        for wanted in group:
            check_sizes(wanted.offer.source, config)
        return Preparation(
            given=tuple(_given(wanted, config) for wanted in group),
            steps=tuple(step for wanted in group for step in _steps(wanted)),
        )


def _given(wanted: Wanted[VgpuDevice], config: VgpuDeviceConfig | None) -> Given:
    name = mdev_uuid(wanted.cdi_name)
    return Given(edits=(access(MDEV_DEVICES / name, config),), metadata={"mdevUUID": name})


def _steps(wanted: Wanted[VgpuDevice]) -> Iterator[Step]:
    device = wanted.offer.source
    yield from steps_before(device.gpu)
    yield mdev(device.gpu.uuid, device.gpu.pci_bus_id, device.kind.type_id, mdev_uuid(wanted.cdi_name))

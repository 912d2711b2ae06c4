"""vGPUs on virtual functions: newer boards with newer drivers (NVIDIA's vendor-specific VFIO framework)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from claimwright.dra.claims import ClaimUid
from claimwright.driver.errors import StepFailed
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.free_functions import FreeFunctions
from claimwright.driver.inventory import PCI_DEVICES, Inventory
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
from claimwright.driver.tools.sriov_functions import sriov_functions
from claimwright.driver.tools.vgpu_type import vgpu_type

if TYPE_CHECKING:
    from claimwright.driver.configs import VgpuDeviceConfig


class SriovVgpus:
    """Offers the types of each GPU; a claim gets a virtual function, whose address tells it to the consumer."""

    type = TYPE
    config = CONFIG

    def __init__(self, gates: FeatureGates, functions: FreeFunctions | None = None) -> None:
        self._enabled = gates[GATE]
        self._list_numa = gates["DRAListTypeAttributes"]
        self._functions = functions

    def discover(self, inventory: Inventory) -> Iterable[Offer[VgpuDevice]]:
        """Offer them by GPU and name."""
        for gpu in inventory.gpus if self._enabled else ():
            for device in devices_of(gpu, on_functions=True):
                described = describe(device, inventory, list_numa=self._list_numa)
                yield Offer(described, self, gpu.pci_bus_id, device, device.parts)

    def prepare(
        self, claim: ClaimUid, group: Sequence[Wanted[VgpuDevice]], config: VgpuDeviceConfig | None
    ) -> Preparation:
        """Choose functions, switch them on, give them their types, then let the virtual machine in."""
        if self._functions is None:
            raise StepFailed("virtual functions are chosen by the running plugin only")
        for wanted in group:
            check_sizes(wanted.offer.source, config)
        chosen = self._functions.choose(claim, [(each.cdi_name, each.offer.source.gpu) for each in group])
        return Preparation(
            given=tuple(_given(function, config) for function in chosen),
            steps=tuple(
                step
                for wanted, function in zip(group, chosen, strict=True)
                for step in _steps(wanted.offer.source, function)
            ),
        )


def _given(function: str, config: VgpuDeviceConfig | None) -> Given:
    return Given(
        edits=(access(PCI_DEVICES / function, config),),
        metadata={"resource.kubernetes.io/pciBusID": function},
    )


def _steps(device: VgpuDevice, function: str) -> Iterator[Step]:
    placement = None if device.place is None else device.place.start
    yield from steps_before(device.gpu)
    yield sriov_functions(device.gpu.pci_bus_id)
    yield vgpu_type(device.gpu.uuid, function, device.kind.type_id, placement)

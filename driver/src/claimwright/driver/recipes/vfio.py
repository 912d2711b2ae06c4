"""Passthrough: a whole GPU for a virtual machine, whichever driver holds it now."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from claimwright.dra.claims import ClaimUid
from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Attribute, Device
from claimwright.driver import counters
from claimwright.driver.edits.vfio_node import vfio_node
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Gpu, Inventory, LeftOut, PciFunction
from claimwright.driver.inventory.viability import obstacle
from claimwright.driver.recipes.fabric_attributes import fabric_attributes
from claimwright.driver.recipes.iommu_interface import iommu_interface
from claimwright.driver.recipes.recipe import Given, Offer, Preparation, Wanted
from claimwright.driver.steps import Step
from claimwright.driver.tools.persistence import persistence_off
from claimwright.driver.tools.vfio_bind import vfio_bind

if TYPE_CHECKING:
    from claimwright.driver.configs import VfioDeviceConfig

TYPE: Final = "vfio"
_UNKNOWN_PRODUCT: Final = "UNKNOWN_DEVICE"


@dataclass(frozen=True)
class VfioDevice:
    """One GPU on the PCI bus; `number` counts them by address."""

    number: int
    function: PciFunction

    @property
    def name(self) -> str:
        """The device's name in the ResourceSlice."""
        return f"gpu-vfio-{self.number}"


class VfioGpus:
    """Offers each GPU for passthrough, beside whatever else is offered of it.

    It takes all of the GPU's counters, so the scheduler gives either it or another device of the same GPU. A GPU with
    partitions that somebody else made is not offered, nor one that the node cannot pass through.
    """

    type = TYPE
    config = "VfioDeviceConfig"

    def __init__(self, gates: FeatureGates) -> None:
        self._enabled = gates["PassthroughSupport"]
        self._list_numa = gates["DRAListTypeAttributes"]

    def discover(self, inventory: Inventory) -> Iterable[Offer[VfioDevice]]:
        """Offer them by address."""
        for device in self._devices(inventory):
            if _obstacle(device, inventory) is None:
                described = describe(device, inventory, list_numa=self._list_numa)
                yield Offer(described, self, hardware=device.function.address, source=device)

    def withheld(self, inventory: Inventory) -> Iterable[LeftOut]:
        """Tell which GPUs are not offered for passthrough, and why."""
        for device in self._devices(inventory):
            reason = _obstacle(device, inventory)
            if reason is not None:
                yield LeftOut(f"{device.name} ({device.function.address})", reason)

    def prepare(
        self,
        claim: ClaimUid,  # noqa: ARG002  no step of a whole GPU names its claim
        group: Sequence[Wanted[VfioDevice]],
        config: VfioDeviceConfig | None,
    ) -> Preparation:
        """Move each GPU to its VFIO driver; a container gets its node, and its metadata file the PCI address."""
        _refuse_admins(group)
        functions = [wanted.offer.source.function for wanted in group]
        interface = iommu_interface(None if config is None else config.iommu)
        return Preparation(
            given=tuple(
                Given(
                    edits=(vfio_node(each.address, **interface),),
                    metadata=_location(each, list_numa=self._list_numa),
                )
                for each in functions
            ),
            steps=tuple(step for each in functions for step in _steps(each)),
        )

    def _devices(self, inventory: Inventory) -> Iterator[VfioDevice]:
        if self._enabled:
            for number, function in enumerate(inventory.functions):
                yield VfioDevice(number, function)


def _refuse_admins(group: Sequence[Wanted[VfioDevice]]) -> None:
    """Refuse to look on: a GPU that changes its driver is taken from whoever has it, which no monitor may do."""
    for wanted in group:
        if wanted.result.admin_access:
            raise ClaimRefused(
                f"request {wanted.result.request}: admin access to {wanted.offer.name} would take the GPU from who has "
                "it; ask for admin access to the whole GPU (DeviceClass gpu.nvidia.com)"
            )


def describe(device: VfioDevice, inventory: Inventory, *, list_numa: bool) -> Device:
    """Return the device as it is published: what the PCI bus knows, since NVML may not see the GPU."""
    function = device.function
    gpu = inventory.gpu_at(function.address)
    attributes: dict[str, Attribute] = {
        "type": TYPE,
        "uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, function.address)),
        "productName": function.product or _UNKNOWN_PRODUCT,
        "deviceID": f"0x{function.device:04x}",
        "vendorID": f"0x{function.vendor:04x}",
        "iommuFDEnabled": inventory.iommu.iommufd,
        **_location(function, list_numa=list_numa),
        **fabric_attributes(gpu, inventory),
    }
    capacity = {"addressableMemory": Quantity.of_bytes(_addressable(function))} if function.bars else {}
    consumes = () if gpu is None else counters.whole(gpu)
    return Device(device.name, attributes, capacity, consumes_counters=consumes)


def _location(function: PciFunction, *, list_numa: bool) -> Mapping[str, Attribute]:
    """Return where the GPU is: the same in the slice and in the metadata file of a virtual machine."""
    numa = (function.numa_node,) if list_numa and function.numa_node is not None else function.numa_node
    known: dict[str, Attribute | None] = {
        "resource.kubernetes.io/pciBusID": function.address,
        "resource.kubernetes.io/pcieRoot": function.pcie_root,
        "resource.kubernetes.io/numaNode": numa,
    }
    return {name: value for name, value in known.items() if value is not None}


def _steps(function: PciFunction) -> Iterator[Step]:
    yield persistence_off(function.address)
    yield vfio_bind(function.address)


def _addressable(function: PciFunction) -> int:
    """Return the room that the GPU's memory regions take in a guest, which aligns it to a power of two."""
    return 1 << (sum(function.bars) - 1).bit_length()


def _obstacle(device: VfioDevice, inventory: Inventory) -> str | None:
    gpu: Gpu | None = inventory.gpu_at(device.function.address)
    if gpu is not None and gpu.foreign:
        return f"{gpu.device_name} has partitions that this driver did not make"
    if gpu is not None and gpu.carries_foreign_vgpus:
        return f"{gpu.device_name} carries vGPUs that this driver did not make"
    return obstacle(device.function, inventory.iommu)

"""Whole GPUs: how one is described in a ResourceSlice, and what preparing it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from claimwright.dra.claims import ClaimUid
from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Attribute, Device, Version
from claimwright.driver.edits.driver_files import driver_files
from claimwright.driver.edits.gpu_node import gpu_node
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Gpu, Inventory, semantic_version
from claimwright.driver.recipes.recipe import Given, Offer, Preparation, Wanted
from claimwright.driver.steps import Step
from claimwright.driver.strategies import MPS, TIME_SLICING
from claimwright.driver.tools.time_slice import time_slice

if TYPE_CHECKING:
    from claimwright.driver.configs import GpuConfig


class FullGpus:
    """Offers every GPU that is not partitioned as a whole."""

    type = "gpu"
    config = "GpuConfig"

    def __init__(self, gates: FeatureGates) -> None:
        self._gates = gates

    def discover(self, inventory: Inventory) -> Iterable[Offer[Gpu]]:
        """Offer the GPUs by minor number."""
        for gpu in inventory.gpus:
            yield Offer(describe(gpu, inventory, self._gates), self, hardware=gpu.pci_bus_id, source=gpu)

    def prepare(self, claim: ClaimUid, group: Sequence[Wanted[Gpu]], config: GpuConfig | None) -> Preparation:  # noqa: ARG002  no step of a whole GPU names its claim
        """Apply the config to each GPU; a claim's containers get its nodes and the driver's files."""
        gpus = [wanted.offer.source for wanted in group]
        return Preparation(
            given=tuple(Given(edits=(gpu_node(gpu),)) for gpu in gpus),
            steps=tuple(step for gpu in gpus for step in _sharing(gpu, config)),
            edits=(driver_files(),),
        )


def describe(gpu: Gpu, inventory: Inventory, gates: FeatureGates) -> Device:
    """Return the device as it is published; what is not known stays out."""
    optional: dict[str, Attribute | None] = {
        "addressingMode": gpu.addressing_mode,
        "resource.kubernetes.io/pcieRoot": gpu.pcie_root,
        "resource.kubernetes.io/numaNode": _numa_node(gpu, gates),
    }
    attributes: dict[str, Attribute] = {
        "type": FullGpus.type,
        "uuid": gpu.uuid,
        "productName": gpu.product_name,
        "brand": gpu.brand,
        "architecture": gpu.architecture,
        "cudaComputeCapability": Version(gpu.cuda_compute_capability),
        "driverVersion": Version(semantic_version(inventory.driver_version)),
        "cudaDriverVersion": Version(inventory.cuda_driver_version),
        "resource.kubernetes.io/pciBusID": gpu.pci_bus_id,
    }
    return Device(
        name=gpu.device_name,
        attributes={**attributes, **{name: value for name, value in optional.items() if value is not None}},
        capacity={} if gpu.memory_bytes is None else {"memory": Quantity.of_bytes(gpu.memory_bytes)},
    )


def _sharing(gpu: Gpu, config: GpuConfig | None) -> Iterator[Step]:
    """Yield the steps that apply `config` to the GPU; no config and no sharing block need none."""
    sharing = None if config is None else config.sharing
    if sharing is None:
        return
    if sharing.strategy == MPS:
        raise ClaimRefused(
            f"{gpu.device_name}: sharing strategy {MPS!r} is not supported by this version of the driver; "
            f"use {TIME_SLICING!r} or leave the sharing block out"
        )
    yield time_slice(gpu.uuid, sharing.time_slice_interval)


def _numa_node(gpu: Gpu, gates: FeatureGates) -> Attribute | None:
    if gpu.numa_node is not None and gates["DRAListTypeAttributes"]:
        return (gpu.numa_node,)
    return gpu.numa_node

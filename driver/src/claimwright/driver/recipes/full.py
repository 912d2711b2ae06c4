"""Whole GPUs: how one is described in a ResourceSlice, and what preparing it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimwright.dra.quantities import Quantity
from claimwright.dra.slices import Attribute, Device, Version
from claimwright.driver.errors import ClaimRefused
from claimwright.driver.feature_gates import FeatureGates
from claimwright.driver.inventory import Gpu, Inventory, semantic_version
from claimwright.driver.recipes.time_slicing import time_slice
from claimwright.driver.steps import Step
from claimwright.driver.strategies import MPS, TIME_SLICING

if TYPE_CHECKING:
    from claimwright.driver.configs import GpuConfig

TYPE = "gpu"


def describe(gpu: Gpu, inventory: Inventory, gates: FeatureGates) -> Device:
    """Return the device as it is published; what is not known stays out."""
    optional: dict[str, Attribute | None] = {
        "addressingMode": gpu.addressing_mode,
        "resource.kubernetes.io/pcieRoot": gpu.pcie_root,
        "resource.kubernetes.io/numaNode": _numa_node(gpu, gates),
    }
    attributes: dict[str, Attribute] = {
        "type": TYPE,
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


def prepare(gpu: Gpu, config: GpuConfig | None) -> tuple[Step, ...]:
    """Return the steps that apply `config` to the GPU; no config and no sharing block need none."""
    if config is None or config.sharing is None:
        return ()
    if config.sharing.strategy == MPS:
        raise ClaimRefused(
            f"{gpu.device_name}: sharing strategy {MPS!r} is not supported by this version of the driver; "
            f"use {TIME_SLICING!r} or leave the sharing block out"
        )
    return (time_slice(gpu.uuid, config.sharing.time_slice_interval),)


def _numa_node(gpu: Gpu, gates: FeatureGates) -> Attribute | None:
    if gpu.numa_node is not None and gates["DRAListTypeAttributes"]:
        return (gpu.numa_node,)
    return gpu.numa_node

"""What devices that are made of a GPU say about it."""

from __future__ import annotations

from typing import Final

from claimwright.dra.slices import Attribute, Version
from claimwright.driver.inventory import Gpu, Inventory, semantic_version

GPU_TYPE: Final = "gpu"
# For facts that neither Kubernetes nor the community driver has a name for; see docs/driver-health.md.
DOMAIN: Final = "claimwright.dev"


def gpu_attributes(gpu: Gpu, inventory: Inventory, *, list_numa: bool) -> dict[str, Attribute]:
    """Return the attributes of a GPU; `list_numa` publishes the NUMA node as a list (DRAListTypeAttributes)."""
    numa_node = (gpu.numa_node,) if list_numa and gpu.numa_node is not None else gpu.numa_node
    nic = gpu.nearest_nic
    optional: dict[str, Attribute | None] = {
        "addressingMode": gpu.addressing_mode,
        "resource.kubernetes.io/pcieRoot": gpu.pcie_root,
        "resource.kubernetes.io/numaNode": numa_node,
        f"{DOMAIN}/nvlinkGroup": gpu.nvlink_group,
        f"{DOMAIN}/clique": gpu.clique,
        f"{DOMAIN}/nearestNic": None if nic is None else nic.pci_bus_id,
        f"{DOMAIN}/nearestNicPath": None if nic is None else nic.path,
    }
    return {
        "type": GPU_TYPE,
        "uuid": gpu.uuid,
        "productName": gpu.product_name,
        "brand": gpu.brand,
        "architecture": gpu.architecture,
        "cudaComputeCapability": Version(gpu.cuda_compute_capability),
        "driverVersion": Version(semantic_version(inventory.driver_version)),
        "cudaDriverVersion": Version(inventory.cuda_driver_version),
        "resource.kubernetes.io/pciBusID": gpu.pci_bus_id,
        **{name: value for name, value in optional.items() if value is not None},
    }

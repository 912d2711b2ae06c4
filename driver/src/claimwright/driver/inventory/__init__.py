"""What this node has, as values, and how it is read.

Names and spellings follow the community driver (`gpu-<minor>`, `0000:65:00.0`), as claims select by them.
"""

from claimwright.driver.inventory.discovery import IsOwn, discover
from claimwright.driver.inventory.functions import (
    PCI_DEVICES,
    Iommu,
    PciFunction,
    driver_of,
    gpu_functions,
    read_function,
)
from claimwright.driver.inventory.gpus import Gpu, Inventory, LeftOut, NearestNic
from claimwright.driver.inventory.keeping import keep_known
from claimwright.driver.inventory.signature import signature
from claimwright.driver.inventory.spellings import pci_address, semantic_version
from claimwright.driver.inventory.vgpus import ExistingVgpu, IsOwnVgpu, VgpuHost

__all__ = [
    "PCI_DEVICES",
    "ExistingVgpu",
    "Gpu",
    "Inventory",
    "Iommu",
    "IsOwn",
    "IsOwnVgpu",
    "LeftOut",
    "NearestNic",
    "PciFunction",
    "VgpuHost",
    "discover",
    "driver_of",
    "gpu_functions",
    "keep_known",
    "pci_address",
    "read_function",
    "semantic_version",
    "signature",
]

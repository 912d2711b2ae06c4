"""What this node has, as values, and how it is read.

Names and spellings follow the community driver (`gpu-<minor>`, `0000:65:00.0`), as claims select by them.
"""

from claimwright.driver.inventory.discovery import PCI_DEVICES, IsOwn, discover
from claimwright.driver.inventory.gpus import Gpu, Inventory, LeftOut
from claimwright.driver.inventory.spellings import pci_address, semantic_version

__all__ = [
    "PCI_DEVICES",
    "Gpu",
    "Inventory",
    "IsOwn",
    "LeftOut",
    "discover",
    "pci_address",
    "semantic_version",
]
